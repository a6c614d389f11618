"""Storage formats: samples/s in order and shuffled, cold and warm, opening, size, memory, peers.

    python -m benchmarks.storage [--rounds 5] [--json FILE] [--only WORD] [--quick]

Each format is read by dlkit's loader, with its vectorised reader, and by PyTorch's loader with the
format's own library, one sample at a time: the baseline. Small samples are 28x28 uint8 in batches
of 256, large ones 224x224x3, as JPEG bytes and raw, in batches of 32, each with a label. Cold means
that the file's pages were dropped from the page cache (`posix_fadvise`) before each pass, which
opens the file too. Memory is what reading adds to a fresh process (sum of PSS without the file's
own pages). Peers read the same samples, from the same file where they can.

`--quick` takes tiny sizes and one round: everything runs, and the figures mean nothing.
"""

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils import data as torch_data

import dlkit
from benchmarks.measure import TORCH, Row, compare, machine, one_pass, ratios, report, take_turns
from benchmarks.processes import can_measure_memory, in_fresh_process
from benchmarks.samples import write_jpegs
from benchmarks.storage_peers import PEERS, Samples, is_installed
from benchmarks.storage_readers import READERS
from dlkit.storage import FORMATS, convert, open_dataset
from dlkit.storage.throughput import bytes_on_disk

PLAIN, OURS = f"{TORCH}, per sample", "dlkit, vectorised"
KINDS = {  # shape of an image, batch size, samples of the dataset, samples of a pass
    "small": ((28, 28), 256, 60_000, 2_560),
    "raw": ((224, 224, 3), 32, 1_000, 512),
    "jpeg": (None, 32, 2_000, 512),
}
QUICK = {"small": 512, "raw": 64, "jpeg": 64}
SECONDS = 0.25  # of a turn, so that all of it takes some eight minutes
BARS = {("memmap", "small", "shuffled"): 5.0, ("arrow", "small", "shuffled"): 5.0}


def samples_of(kind: str, count: int, folder: Path) -> Any:
    """Return a dataset of images of a kind, with labels."""
    shape = KINDS[kind][0]
    labels = torch.arange(count) % 10
    if shape is None:
        jpegs = folder / "jpegs"
        jpegs.mkdir()
        write_jpegs(str(jpegs), count, side=224)
        contents = [path.read_bytes() for path in sorted(jpegs.glob("*.jpg"))]
        return list(zip(contents, labels, strict=True))
    images = torch.randint(0, 256, (count, *shape), dtype=torch.uint8)
    return dlkit.TensorDataset(images, labels)


class Files:
    """The files of all formats, each written when it is first asked for."""

    def __init__(self, folder: Path, quick: bool) -> None:
        self.folder, self.quick = folder, quick
        self._samples: dict[str, Any] = {}

    def count(self, kind: str) -> int:
        """Return how many samples a dataset has."""
        return QUICK[kind] if self.quick else KINDS[kind][2]

    def samples(self, kind: str) -> Any:
        """Return the samples in memory."""
        if kind not in self._samples:
            self._samples = {kind: samples_of(kind, self.count(kind), self.folder)}
        return self._samples[kind]

    def path(self, format: str, kind: str) -> Path:
        """Return the file of a format."""
        path = self.folder / f"{kind}.{format}"
        if not path.exists():
            convert(self.samples(kind), path, format, progress=False)
        return path

    def order(self, kind: str, order: str) -> list[int]:
        """Return the indices of one pass."""
        count = self.count(kind)
        drawn = np.random.default_rng(0).permutation(count) if order == "shuffled" else range(count)
        return [int(index) for index in drawn[: KINDS[kind][3]]]


def throughput(files: Files, format: str, kind: str, order: str, rounds: int) -> list[Row]:
    """Compare dlkit's reader with the format's plain one, warm."""
    shape, batch_size = KINDS[kind][:2]
    path, indices = files.path(format, kind), files.order(kind, order)
    plain = READERS[format](path, files.count(kind), shape)
    stored = open_dataset(path, trusted=True)
    settings: dict[str, Any] = {"batch_size": batch_size, "sampler": indices}
    bar = BARS.get((format, kind, order))
    return compare(
        f"{format}, {kind} samples, {order}, batch {batch_size}",
        {
            PLAIN: one_pass(torch_data.DataLoader(plain, **settings), len(indices)),
            OURS: one_pass(dlkit.DataLoader(stored, **settings), len(indices)),
        },
        rounds=rounds,
        bars={} if bar is None else {OURS: bar},
        seconds=0.01 if files.quick else SECONDS,
    )


def drop_pages(path: Path) -> None:
    """Ask the system to forget a file's pages; those that are mapped somewhere it keeps."""
    for file in path.iterdir() if path.is_dir() else [path]:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def cold(files: Files, kind: str, order: str, rounds: int) -> list[Row]:
    """Compare formats with each other: opening and one pass, from the disk and from memory."""
    batch_size, indices = KINDS[kind][1], files.order(kind, order)

    def rate(format: str, drop: bool) -> float:
        path = files.path(format, kind)
        if drop:
            drop_pages(path)
        start = time.perf_counter()
        stored = open_dataset(path, trusted=True)
        for _ in dlkit.DataLoader(stored, batch_size, sampler=indices):
            pass
        return len(indices) / (time.perf_counter() - start)

    rows = []
    for state in ("cold", "warm") if hasattr(os, "posix_fadvise") else ("warm",):
        turns = {name: partial(rate, name, state == "cold") for name in FORMATS}
        figures = take_turns(turns, rounds)
        rows += ratios(f"{kind} samples, {order}, {state}, opening included", figures)
    return rows


def opening(files: Files, kind: str, rounds: int) -> list[Row]:
    """Compare the time from a path to the first sample, and the size on the disk."""

    def milliseconds(format: str) -> float:
        path = files.path(format, kind)
        start = time.perf_counter()
        open_dataset(path, trusted=True)[0]
        return (time.perf_counter() - start) * 1e3

    def megabytes(format: str) -> list[float]:
        return [bytes_on_disk(open_dataset(files.path(format, kind), trusted=True)) / 1e6]

    times = take_turns({name: partial(milliseconds, name) for name in FORMATS}, rounds)
    sizes = {name: megabytes(name) for name in FORMATS}
    return [
        *ratios(f"{kind} samples: opening and the first one", times, unit="ms", at_most=True),
        *ratios(f"{kind} samples: size on the disk", sizes, unit="MB", at_most=True),
    ]


def memory(files: Files, kind: str) -> list[Row]:
    """Compare what reading a shuffled pass adds to a process of its own."""
    names = list(FORMATS)[:: 6 if files.quick else 1]  # a fresh process takes seconds
    indices = files.order(kind, "shuffled")
    figures = {
        name: [
            in_fresh_process(
                "benchmarks.storage",
                "memory_of_a_pass",
                path=str(files.path(name, kind)),
                indices=indices,
            )
        ]
        for name in names
    }
    return ratios(f"{kind} samples: memory of a pass", figures, unit="MB", at_most=True)


def memory_of_a_pass(path: str, indices: list[int]) -> float:
    """Return how many megabytes of anonymous memory reading a file takes, at its end."""
    warm = dlkit.DataLoader(dlkit.TensorDataset(torch.arange(64)), 32)
    list(warm)
    before = _anonymous()
    stored = open_dataset(path, trusted=True)
    for _ in dlkit.DataLoader(stored, 32, sampler=indices):
        pass
    return max(0.1, (_anonymous() - before) / 1e6)


def _anonymous() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


def peers(files: Files, kind: str, rounds: int) -> list[Row]:
    """Compare with the loaders of other projects, in order, as shards are read."""
    shape, batch_size = KINDS[kind][:2]
    indices = files.order(kind, "in order")
    rows = []
    for name, (_, format, make) in PEERS.items():
        if not is_installed(name):
            print(f"{name} is not installed: not compared")
            continue
        pairs = [files.samples(kind)[index] for index in indices]
        shard = files.path("tar", kind)
        theirs = make(Samples(files.folder, kind, shape, pairs, shard, batch_size))
        stored = open_dataset(files.path(format, kind))
        ours = dlkit.DataLoader(stored, batch_size, sampler=indices)
        rows += compare(
            f"{name} and dlkit's {format}, {kind} samples in order, batch {batch_size}",
            {name: theirs, OURS: one_pass(ours, len(indices))},
            rounds=rounds,
            bars={OURS: 1.0},
            seconds=0.01 if files.quick else SECONDS,
        )
    return rows


# ---- all of it ----------------------------------------------------------------------------------


def table(files: Files, rounds: int) -> dict[str, Callable[[], list[Row]]]:
    """Return all workloads by name, in the order of the table."""
    workloads: dict[str, Callable[[], list[Row]]] = {}
    for kind in KINDS:
        for order in ("shuffled", "in order"):
            for format in FORMATS:
                name = f"{format}-{kind}-{order.replace(' ', '-')}"
                workloads[name] = partial(throughput, files, format, kind, order, rounds)
        for order in ("shuffled", "in order"):
            name = f"cold-{kind}-{order.replace(' ', '-')}"
            workloads[name] = partial(cold, files, kind, order, rounds)
        workloads[f"opening-{kind}"] = partial(opening, files, kind, rounds)
        if can_measure_memory():
            workloads[f"memory-{kind}"] = partial(memory, files, kind)
        workloads[f"peers-{kind}"] = partial(peers, files, kind, rounds)
    return workloads


def main() -> None:
    """Measure what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each candidate (5)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--only", default="", help="run the workloads with this in their name")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: see that all of it runs")
    options = parser.parse_args()
    about = machine()
    rows: list[Row] = []
    with TemporaryDirectory() as folder:
        files = Files(Path(folder), options.quick)
        workloads = table(files, 1 if options.quick else options.rounds)
        chosen = [name for name in workloads if options.only in name]
        if not chosen:
            parser.error(f"no workload has {options.only!r} in its name: {', '.join(workloads)}")
        for name in chosen:
            print(f"measuring {name} ...", flush=True)
            rows += workloads[name]()
    report(rows, about, options.json)


if __name__ == "__main__":
    main()
