"""The workloads: each runs its candidates in this process, in turn, and returns rows.

`benchmarks.workers` calls every function here in a process of its own, which takes all workers and
memory of a workload with it. Within one, the workers of all candidates live on from epoch to epoch
(`persistent_workers=True`), and those whose turn it is not wait and use no CPU. Threads come last:
forking a process with threads is best avoided. What starting costs is measured in `starting`.
"""

import mmap
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor
from torch.utils import data as torch_data

import dlkit
from benchmarks import processes, samples
from benchmarks.measure import (
    PROCESSES,
    THREADS,
    TORCH,
    Row,
    compare,
    one_pass,
    rates,
    ratios,
    take_turns,
)

BARE = "two processes stacking, no transport"
SECONDS = 1.0  # of a turn


def make_loader(candidate: str, dataset: Any, **settings: Any) -> Any:
    """Make the loader that a candidate's name says, with two workers that live on."""
    settings = {"num_workers": 2, "persistent_workers": True, **settings}
    if candidate == TORCH:
        return torch_data.DataLoader(dataset, **settings)
    method = "thread" if candidate == THREADS else "process"
    return dlkit.DataLoader(dataset, worker_method=method, **settings)


def cheap_samples(batch_size: int, rounds: int, quick: bool) -> list[Row]:
    """Compare where all the work is moving bytes: 3x224x224 float32 that is in memory already."""
    length = (4 if quick else 6_400 // batch_size) * batch_size
    dataset = samples.Rows(8 if quick else 128, (3, 224, 224), length)
    passes: dict[str, Callable[[], int]] = {
        name: one_pass(make_loader(name, dataset, batch_size=batch_size), length)
        for name in (TORCH, PROCESSES)
    }
    passes[BARE] = _bare_stacking(dataset.rows, batch_size, length // batch_size)
    figures = rates(passes, rounds=rounds, seconds=0 if quick else SECONDS)
    share = {name: figures[name] for name in (BARE, PROCESSES)}
    return [
        *ratios(f"cheap samples, 3x224x224 float32, batch {batch_size}", figures,
                bars={PROCESSES: 4}),
        *ratios(f"share of the bare memory limit, batch {batch_size}", share,
                bars={PROCESSES: 0.6}),
    ]  # fmt: skip


def _bare_stacking(rows: list[Tensor], batch_size: int, batches: int) -> Callable[[], int]:
    """Return the work of two processes that stack batches into shared memory made before."""
    fork = get_context("fork")
    pipes = []
    for _ in range(2):
        ours, theirs = fork.Pipe()
        fork.Process(target=_stack, args=(rows, batch_size, theirs), daemon=True).start()
        pipes.append(ours)

    def run() -> int:
        for pipe in pipes:
            pipe.send(batches // 2)
        for pipe in pipes:
            pipe.recv()
        return batches // 2 * 2 * batch_size

    return run


def _stack(rows: list[Tensor], batch_size: int, pipe: Connection) -> None:
    torch.set_num_threads(1)
    row = rows[0]
    memory = mmap.mmap(-1, batch_size * row.numel() * row.element_size())
    batch = torch.frombuffer(memory, dtype=row.dtype).view(batch_size, *row.shape)
    batch.zero_()  # so that every page is there before the first turn
    turns = [
        [rows[index % len(rows)] for index in range(start, start + batch_size)]
        for start in range(0, len(rows), batch_size)
    ]
    while True:
        for number in range(pipe.recv()):
            torch.stack(turns[number % len(turns)], out=batch)
        pipe.send(True)


def in_memory(rounds: int, quick: bool) -> list[Row]:
    """Compare on small images in memory, where the price of a batch is its overhead."""
    length = 640 if quick else 60_000
    return compare(
        f"in memory, uint8 {length:,}x1x28x28, shuffled, batch 64",
        {name: one_pass(_small_images(name, length), length) for name in (TORCH, PROCESSES)},
        rounds=rounds,
        bars={PROCESSES: 3},
        seconds=0 if quick else SECONDS,
    )


def _small_images(candidate: str, length: int, num_workers: int = 2) -> Any:
    images = torch.randint(0, 256, (length, 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(0, 10, (length,))
    kind = torch_data.TensorDataset if candidate == TORCH else dlkit.TensorDataset
    return make_loader(
        candidate, kind(images, labels), batch_size=64, shuffle=True, num_workers=num_workers
    )


def jpegs(folder: str, rounds: int, quick: bool) -> list[Row]:
    """Compare on files that are decoded, which leaves the interpreter's lock alone."""
    dataset = samples.JpegFiles(folder)
    return compare(
        f"{len(dataset):,} JPEGs 256x256, decoded and resized to 224, batch 32",
        {
            name: one_pass(make_loader(name, dataset, batch_size=32), len(dataset))
            for name in (TORCH, PROCESSES, THREADS)
        },
        rounds=rounds,
        bars={THREADS: 1.35, PROCESSES: 1.1},
        seconds=0 if quick else SECONDS,
    )


def jpeg_cpu(folder: str, rounds: int, quick: bool) -> list[Row]:
    """Compare the CPU time of a pass over these files, which bounds what speed can gain."""
    dataset = samples.JpegFiles(folder)

    def cpu_of_a_pass(loader: Any) -> float:
        before = processes.cpu_seconds()
        for _ in loader:
            pass
        return processes.cpu_seconds() - before

    loaders = {
        name: make_loader(name, dataset, batch_size=32) for name in (TORCH, PROCESSES, THREADS)
    }
    for loader in loaders.values():
        cpu_of_a_pass(loader)  # starts the workers, which stay
    candidates = {name: partial(cpu_of_a_pass, loader) for name, loader in loaders.items()}
    return ratios(
        f"{len(dataset):,} JPEGs, batch 32: CPU of all processes",
        take_turns(candidates, rounds),
        unit="seconds",
        at_most=True,
    )


def busy_samples(rounds: int, quick: bool) -> list[Row]:
    """Compare where the dataset's own Python is all the work."""
    dataset = samples.Busy(64 if quick else 1_024, 0.001)
    return compare(
        "Python-heavy samples, 1 ms each, batch 32",
        {
            name: one_pass(make_loader(name, dataset, batch_size=32), len(dataset))
            for name in (TORCH, PROCESSES)
        },
        rounds=rounds,
        bars={PROCESSES: 1.0},
        seconds=0 if quick else SECONDS,
    )


def variable_lengths(kind: str, rounds: int, quick: bool) -> list[Row]:
    """Compare on dictionaries of sequences that are padded, `kind` being Texts or Speech."""
    dataset = getattr(samples, kind)(128 if quick else 6_400)
    pads = {TORCH: samples.pad_by_hand, PROCESSES: dlkit.pad_collate}
    return compare(
        f"variable-length dictionaries, {kind.lower()}, padded, batch 32",
        {
            name: one_pass(
                make_loader(name, dataset, batch_size=32, shuffle=True, collate_fn=pad),
                len(dataset),
            )
            for name, pad in pads.items()
        },
        rounds=rounds,
        bars={PROCESSES: 1.5},
        seconds=0 if quick else SECONDS,
    )


def jpeg_memory(candidate: str, method: str, folder: str) -> dict[str, float]:
    """Return the proportional memory in MB of one candidate that reads all files twice.

    Returns:
        What the process held before its loader was made, and the largest sum while it loads.
    """
    dataset = samples.JpegFiles(folder)
    dataset[0]  # loads what decoding needs
    before = processes.proportional_memory()
    start = {} if candidate == THREADS else {"multiprocessing_context": method}
    loader = make_loader(candidate, dataset, batch_size=32, **start)
    largest = 0
    for _ in range(2):
        for number, _ in enumerate(loader):
            if number % 8 == 0:
                largest = max(largest, processes.proportional_memory())
    return {"before": before / 1e6, "largest": largest / 1e6}


def endurance(candidate: str, num_workers: int, batches: int) -> dict[str, float]:
    """Return what a long run of small batches costs in one candidate.

    Returns:
        CPU seconds of the process and its workers for 1,000 batches, the largest proportional
        memory in MB, and the fewest and most open file descriptors.
    """
    per_epoch = min(1_000, batches)
    loader = _small_images(candidate, 64 * per_epoch, num_workers)
    for _ in loader:  # starts the workers, which are not what this measures
        pass
    before = processes.cpu_seconds()
    watching, memory, open_descriptors = 0.0, [], []
    for _ in range(batches // per_epoch):
        for number, _ in enumerate(loader):
            if number % 100 == 50 % per_epoch:
                began = time.thread_time()
                open_descriptors.append(processes.descriptors())
                if number % 500 == 50 % per_epoch:
                    memory.append(processes.proportional_memory())
                watching += time.thread_time() - began
    used = processes.cpu_seconds() - before - watching
    return {
        "cpu": 1e3 * used / batches,
        "memory": max(memory) / 1e6,
        "fewest": min(open_descriptors),
        "most": max(open_descriptors),
    }
