"""What it costs that a worker makes a batch, beyond making it.

one real worker, a loop that does nothing else --CPU seconds of both--> Crossing
"""

import os
import threading
import time
from itertools import chain, repeat
from typing import Any, NamedTuple

from torch.utils import data as torch_data

from dlkit.diagnose.clocks import cpu_seconds
from dlkit.diagnose.costs import Crossing
from dlkit.diagnose.running import end_workers
from dlkit.diagnose.usage import private_bytes
from dlkit.loader import DataLoader

LARGE = 1 << 18  # bytes of a batch above which copying it, and not its number, is what costs


class Found(NamedTuple):
    """What one worker has shown.

    Attributes:
        crossing: what a batch costs for being made by a worker.
        worker_memory: bytes that the worker takes for itself.
        start_seconds: from asking for the first batch until a worker begins to make it.
    """

    crossing: Crossing
    worker_memory: float = 0.0
    start_seconds: float = 0.0


def measure_crossing(
    loader: Any, tasks: list[Any], method: str, making: float, nbytes: int, seconds: float
) -> Found:
    """Run a loader's batches through one worker, and return what that costs.

    Args:
        loader: dlkit's or PyTorch's; another one with its dataset and `collate_fn` is made.
        tasks: lists of indices, one for each batch.
        method: "process" or "thread".
        making: CPU seconds that fetching and collating a batch take without a worker.
        nbytes: of a batch.
        seconds: how long to run, about.
    """
    threads_before = set(threading.enumerate())
    started = time.perf_counter()
    loader = _with_one_worker(loader, tasks, method)
    batches = iter(loader)
    try:
        next(batches)
        first = time.perf_counter() - started
        worker = _worker_of(batches, threads_before)
        next(batches)
        in_worker, here = cpu_seconds(*worker), time.thread_time()
        count, end = 0, time.perf_counter() + seconds
        for _ in batches:
            count += 1
            if count >= 3 and time.perf_counter() > end:
                break
        here = time.thread_time() - here
        after = cpu_seconds(*worker)
        memory = private_bytes(worker[0]) if method == "process" else 0.0
    finally:
        end_workers(loader, batches)
    started_after = max(0.0, first - making)
    if not count or in_worker is None or after is None:
        return Found(_shared_out(0.0, here / max(count, 1), nbytes), memory, started_after)
    in_worker = max(0.0, (after - in_worker) / count - making)
    return Found(_shared_out(in_worker, here / count, nbytes), memory, started_after)


def _shared_out(worker: float, main: float, nbytes: int) -> Crossing:
    """Put what a worker spends on large batches down to their bytes."""
    if nbytes < LARGE:
        return Crossing(worker_seconds=worker, main_seconds=main)
    return Crossing(worker_seconds_per_byte=worker / nbytes, main_seconds=main)


class _Again(torch_data.Sampler[Any]):
    """The same tasks again and again: a sampler, or a batch sampler where they are lists."""

    def __init__(self, tasks: list[Any]) -> None:
        self.tasks = tasks

    def __iter__(self) -> Any:
        return chain.from_iterable(repeat(self.tasks))

    def __len__(self) -> int:
        return len(self.tasks)


def _with_one_worker(loader: Any, tasks: list[Any], method: str) -> Any:
    """A loader like the given one, with one worker and tasks without end."""
    settings: dict[str, Any] = {
        "collate_fn": loader.collate_fn,
        "num_workers": 1,
        "worker_init_fn": loader.worker_init_fn,
    }
    if isinstance(loader.dataset, torch_data.IterableDataset):
        settings["batch_size"] = loader.batch_size
    elif loader.batch_sampler is not None:
        settings["batch_sampler"] = _Again(tasks)
    else:
        settings |= {"batch_size": None, "sampler": _Again([task[0] for task in tasks])}
    if method == "process":
        settings["multiprocessing_context"] = loader.multiprocessing_context
    if isinstance(loader, DataLoader):
        return DataLoader(loader.dataset, **settings, worker_method=method)
    return torch_data.DataLoader(loader.dataset, **settings)


def _worker_of(batches: Any, threads_before: set[threading.Thread]) -> tuple[int, int | None]:
    """Return the process of the only worker, and its thread if it is one of ours."""
    theirs = getattr(batches, "_workers", None)  # PyTorch's iterator
    if theirs:
        return theirs[0].pid, None
    pids = getattr(batches.pool, "pids", None)
    if pids:
        return pids[0], None
    new = [t for t in threading.enumerate() if t not in threads_before and "worker" in t.name]
    return os.getpid(), new[0].native_id if new else None
