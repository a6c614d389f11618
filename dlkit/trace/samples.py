"""Noting single samples: a dataset in front of another one, which it resembles in all else.

fetch --> TimedSamples[index] --> dataset[index]
                 +--> the recorder of this thread: index, start, end, time on a core
"""

from collections.abc import Callable, Iterator
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


class _InFront:
    """Reaches what another object has, attributes and methods, through this one."""

    def __init__(self, behind: Any) -> None:
        self.__dict__["behind"] = behind

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked for by copy and pickle, before there is anything behind
            raise AttributeError(name)
        return getattr(self.__dict__["behind"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.behind, name, value)


class TimedSamples(_InFront):
    """A map-style dataset."""

    def __getitem__(self, index: Any) -> Any:
        before = thread_time_ns()
        start = clock()
        sample = self.behind[index]
        end = clock()
        here.recorder.note_sample(index, start, end, thread_time_ns() - before)
        return sample

    def __len__(self) -> int:
        return len(self.behind)


class TimedStream(_InFront, IterableDataset[Any]):
    """An iterable dataset; its samples have the numbers 0, 1, 2, ... of its worker."""

    def __iter__(self) -> Iterator[Any]:
        samples, number = iter(self.behind), 0
        while True:
            before = thread_time_ns()
            start = clock()
            try:
                sample = next(samples)
            except StopIteration:
                return
            end = clock()
            here.recorder.note_sample(number, start, end, thread_time_ns() - before)
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
