"""The workloads of `workers` that measure starting: the time until an epoch's first batch.

loader, workers, first batch      with new workers, by each start method
end of an epoch, first batch      with workers that live on
"""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from benchmarks import processes, samples
from benchmarks.measure import PROCESSES, TORCH, Row, ratios, take_turns
from benchmarks.workloads import make_loader

IMPORTS = "two interpreters that only import torch"


def first_batch(method: str, rounds: int, quick: bool) -> list[Row]:
    """Compare the time from making a loader and its workers to the first batch."""
    starts = 5 if method == "fork" and not quick else 1

    def start(candidate: str) -> Callable[[], float]:
        def milliseconds() -> float:
            return sum(_started(candidate, method) for _ in range(starts)) / starts

        return milliseconds

    candidates = {name: start(name) for name in (TORCH, PROCESSES)}
    if method == "spawn":
        candidates[IMPORTS] = _importing
    return _milliseconds(
        f"time to first batch, 2 workers, {method}", candidates, rounds, bars={PROCESSES: 0.8}
    )


def _importing() -> float:
    """Start two interpreters that import torch and end: what spawned workers do before any work."""
    began = time.perf_counter()
    command = [sys.executable, "-c", "import torch, os; os._exit(0)"]
    for process in [subprocess.Popen(command) for _ in range(2)]:
        process.wait()
    return 1e3 * (time.perf_counter() - began)


def first_batch_twice(candidate: str) -> list[float]:
    """Return the milliseconds to the first batch under forkserver: the first time, and the next.

    In a process of its own, because the server is started once and serves both libraries.
    """
    return [_started(candidate, "forkserver") for _ in range(2)]


def _started(candidate: str, method: str) -> float:
    """Return the milliseconds from making a loader and its workers to the first batch."""
    dataset = samples.Rows(16, (1, 28, 28), 640)
    began = time.perf_counter()
    loader = make_loader(
        candidate,
        dataset,
        batch_size=32,
        persistent_workers=False,
        multiprocessing_context=method,
    )
    batches = iter(loader)
    next(batches)
    milliseconds = 1e3 * (time.perf_counter() - began)
    del loader, batches
    processes.end_of_children()
    return milliseconds


def turn_over(rounds: int, quick: bool) -> list[Row]:
    """Compare the time from the end of an epoch to the next one's first batch."""
    dataset = samples.Rows(16, (1, 28, 28), 64)
    epochs = 2 if quick else 50

    def turn(candidate: str) -> Callable[[], float]:
        loader = make_loader(candidate, dataset, batch_size=8)
        for _ in loader:
            pass

        def milliseconds() -> float:
            total = 0.0
            for _ in range(epochs):
                began = time.perf_counter()
                batches = iter(loader)
                next(batches)
                total += time.perf_counter() - began
                for _ in batches:
                    pass
            return 1e3 * total / epochs

        return milliseconds

    return _milliseconds(
        "epoch turn-over with persistent_workers, 8 small batches an epoch",
        {name: turn(name) for name in (TORCH, PROCESSES)},
        rounds,
        bars={PROCESSES: 0.5},
    )


def _milliseconds(
    workload: str,
    candidates: Mapping[str, Callable[[], float]],
    rounds: int,
    bars: Mapping[str, float],
) -> list[Row]:
    for figure in candidates.values():
        figure()  # warm-up
    return ratios(workload, take_turns(candidates, rounds), bars=bars, unit="ms", at_most=True)
