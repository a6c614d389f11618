"""Noting single samples: a dataset in front of another one, which it resembles in all else.

    fetch --> TimedSamples[index] --> dataset[index]
                     +--> the recorder of this thread: index, start, end, time on a core

The end is earlier by as long as the thread was ready to run but had no core.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import thread_time_ns
from typing import Any

from torch.utils.data import IterableDataset

from dlkit.trace.recorder import here
from dlkit.trace.spans import clock


def timed_samples(dataset: Any) -> Any:
    """Return a dataset that reads as another one does, and notes each sample.

    Example:
        >>> timed = timed_samples(["a", "b"])
        >>> timed[1], len(timed)
        ('b', 2)
    """
    if not isinstance(dataset, IterableDataset):
        return TimedSamples(dataset)
    return SizedTimedStream(dataset) if hasattr(dataset, "__len__") else TimedStream(dataset)


_LONG = 1_000_000  # nanoseconds; a sample that took less was not kept from a core for long


class Queueing(threading.local):
    """For how long the samples of a thread were held up, because it was ready but had no core.

    A sample is not slow because the machine is busy with something else. Linux counts the queueing
    (`/proc/<pid>/task/<tid>/schedstat`); elsewhere the answer is 0. Reading the count takes ten
    microseconds, so it is read around long samples only: after each, and before the next sample.
    Whatever is queued between two readings then counts for the long sample that ends with the
    second. That is right, since a sample that has to wait for a core becomes a long one.
    """

    def __init__(self) -> None:
        self._after_long = False
        self._count: int | None = None  # nanoseconds, when it was read last

    def before(self) -> None:
        """A sample will begin."""
        if self._after_long:
            self._count = queued_by_now()

    def within(self, start: int, end: int) -> int:
        """Return how many nanoseconds of a sample were queueing."""
        self._after_long = end - start >= _LONG
        if not self._after_long:
            return 0
        before, self._count = self._count, queued_by_now()
        if before is None or self._count is None:
            return 0
        return min(max(0, self._count - before), end - start)


def queued_by_now() -> int | None:
    """Return how many nanoseconds this thread has queued for a core; None if nobody counts."""
    try:
        text = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text()
    except OSError:
        return None
    return int(text.split()[1])


queueing = Queueing()


class InFront:
    """Reaches what another object has, attributes and methods, through this one."""

    def __init__(self, behind: Any) -> None:
        self.__dict__["behind"] = behind

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked for by copy and pickle, before there is anything behind
            raise AttributeError(name)
        return getattr(self.__dict__["behind"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.behind, name, value)


class TimedSamples(InFront):
    """A map-style dataset."""

    def __getitem__(self, index: Any) -> Any:
        queueing.before()
        before = thread_time_ns()
        start = clock()
        sample = self.behind[index]
        end = clock()
        cpu = thread_time_ns() - before
        here.recorder.note_sample(index, start, end - queueing.within(start, end), cpu)
        return sample

    def __len__(self) -> int:
        return len(self.behind)


class TimedStream(InFront, IterableDataset[Any]):
    """An iterable dataset; its samples have the numbers 0, 1, 2, ... of its worker."""

    def __iter__(self) -> Iterator[Any]:
        samples, number = iter(self.behind), 0
        while True:
            queueing.before()
            before = thread_time_ns()
            start = clock()
            try:
                sample = next(samples)
            except StopIteration:
                return
            end = clock()
            cpu = thread_time_ns() - before
            here.recorder.note_sample(number, start, end - queueing.within(start, end), cpu)
            number += 1
            yield sample


class SizedTimedStream(TimedStream):
    """An iterable dataset that knows its length."""

    def __len__(self) -> int:
        return len(self.behind)


class TimedTransform:
    """A transform; each call is noted under its number among the transforms of a dataset.

    Args:
        transform: what is called.
        number: from 0.
    """

    def __init__(self, transform: Callable[..., Any], number: int) -> None:
        self.transform = transform
        self.number = number

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Return what the transform returns."""
        start = clock()
        output = self.transform(*inputs, **options)
        here.recorder.note_part(self.number, start, clock())
        return output

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__dict__["transform"], name)
