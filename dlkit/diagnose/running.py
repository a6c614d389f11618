"""Run a loader for a while, and say what it delivered.

loader --first batch--> fill the pipeline --> steady state, timed --> Measured
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch


class StoppedError(Exception):
    """Somebody has asked for an end, through `stop`."""


@dataclass(frozen=True)
class Measured:
    """What a loader delivered.

    Attributes:
        throughput: samples/s in its steady state.
        wait_share: share of that time in which the training loop waited for batches, 0 to 1.
        first_batch: seconds from `iter(loader)` to the first batch.
        next_first_batch: the same for the epoch after that, where workers may live on; None if it
            was not tried.
        batches: how many were timed.
        seconds: how long that took.
    """

    throughput: float
    wait_share: float
    first_batch: float
    next_first_batch: float | None
    batches: int
    seconds: float

    def epoch_seconds(self, samples: int) -> float:
        """Return how long an epoch of so many samples takes, with its turn-over."""
        start = self.first_batch if self.next_first_batch is None else self.next_first_batch
        return start + samples / self.throughput


def run_for(
    loader: Any,
    seconds: float,
    step: Callable[[Any], Any] | None = None,
    stop: threading.Event | None = None,
    again: bool = False,
) -> Measured:
    """Run a loader for about so many seconds of its steady state, then end its workers.

    Epochs follow each other as long as there is time, and are timed with their turn-over.

    Args:
        loader: dlkit's or PyTorch's.
        seconds: how long to time it; a run of fewer than three batches goes on.
        step: what training does with a batch.
        stop: set it from another thread to end this early.
        again: whether to begin a second epoch, to time its first batch.

    Raises:
        StoppedError: if `stop` was set.
        ValueError: if the loader yields nothing.
    """
    with ended(loader) as own:
        began = time.perf_counter()
        batch = own.next(loader)
        first = time.perf_counter() - began
        filling = loader.num_workers * (loader.prefetch_factor or 2)
        if step is not None:
            step(batch)  # its first call is not like the others
        for _ in range(filling):
            batch = own.next(loader, stop)
            if step is not None:
                step(batch)
        samples = batches = 0
        waited = 0.0
        start = now = time.perf_counter()
        while batches < 3 or now - start < seconds:
            batch = own.next(loader, stop)
            delivered = time.perf_counter()
            if step is not None:
                step(batch)
            waited += delivered - now
            samples += samples_in(batch)
            batches += 1
            now = time.perf_counter()
        turn_over = own.first_of_next_epoch(loader) if again else None
    took = max(now - start, 1e-9)
    return Measured(samples / took, waited / took, first, turn_over, batches, took)


class _Endless:
    """The batches of a loader, epoch after epoch."""

    def __init__(self) -> None:
        self.batches: Any = None

    def next(self, loader: Any, stop: threading.Event | None = None) -> Any:
        if stop is not None and stop.is_set():
            raise StoppedError("stopped before the end")
        if self.batches is not None:
            for batch in self.batches:
                return batch
        self.batches = iter(loader)
        for batch in self.batches:
            return batch
        raise ValueError("loader must yield at least one batch, but yields none")

    def first_of_next_epoch(self, loader: Any) -> float:
        self.batches = None  # workers that do not live on end here, as at the end of an epoch
        began = time.perf_counter()
        self.next(loader)
        return time.perf_counter() - began


@contextmanager
def ended(loader: Any) -> Iterator[_Endless]:
    """Give the batches of a loader, and leave no worker behind, whatever happens."""
    own = _Endless()
    try:
        yield own
    finally:
        end_workers(loader, own.batches)


def end_workers(loader: Any, batches: Any) -> None:
    """End the workers of a loader and of an iterator of it, now and not when it is forgotten."""
    for pool in (getattr(batches, "pool", None), getattr(loader, "_pool", None)):
        if pool is not None:
            pool.close()
    # PyTorch's iterators; a loader keeps the one whose workers live on.
    for iterator in (batches, getattr(loader, "_iterator", None)):
        shutdown = getattr(iterator, "_shutdown_workers", None)
        if shutdown is not None:
            shutdown()


def samples_in(batch: Any) -> int:
    """Return how many samples a batch holds: the length of the first thing in it that has one.

    Example:
        >>> samples_in({"text": [torch.zeros(3, 2), 1]}), samples_in(["a", "b"]), samples_in(7)
        (3, 2, 1)
    """
    if isinstance(batch, torch.Tensor):
        return len(batch) if batch.dim() else 1
    if isinstance(batch, Mapping):
        return max(map(samples_in, batch.values()), default=0)
    if isinstance(batch, list | tuple) and batch:
        if isinstance(batch[0], torch.Tensor | Mapping | list | tuple):
            return samples_in(batch[0])
        return len(batch)
    return 1
