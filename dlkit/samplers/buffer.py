"""Shuffling data that can only be read in order: the shuffle buffer."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch.utils.data import IterableDataset

from dlkit.checks import check_generator, check_positive_int
from dlkit.samplers.base import ResumableOrder


class ShuffleBuffer(IterableDataset[Any], ResumableOrder[Any]):
    """Shuffles a stream through a buffer: each arrival takes the place of a random departure.

    A sample leaves at most `buffer_size - 1` places before its own, however late it may leave. With
    a buffer as large as the stream this is a full shuffle, with a buffer of 1 none at all.

    Args:
        dataset: any iterable; it is read once per epoch.
        buffer_size: samples held in memory.
        generator: source of random numbers; PyTorch's global one by default.

    Raises:
        TypeError: if `dataset` cannot be iterated.
        ValueError: if `buffer_size` is no positive integer.

    Example:
        >>> list(ShuffleBuffer(range(6), 2, generator=torch.Generator().manual_seed(0)))
        [0, 1, 3, 2, 4, 5]
    """

    def __init__(
        self,
        dataset: Iterable[Any],
        buffer_size: int,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        if not hasattr(dataset, "__iter__") and not hasattr(dataset, "__getitem__"):
            raise TypeError(f"dataset must be iterable, but got a {type(dataset).__name__}")
        check_positive_int("buffer_size", buffer_size)
        check_generator(generator)
        self.dataset = dataset
        self.buffer_size = buffer_size
        self.generator = generator

    def __iter__(self) -> Iterator[Any]:
        generator, skip = self._begin()
        samples = self._shuffled(generator)
        for _ in islice(samples, skip):
            pass
        self._rejoin()
        for sample in samples:
            self._position += 1
            yield sample

    def _shuffled(self, generator: torch.Generator) -> Iterator[Any]:
        samples = iter(self.dataset)
        buffer = list(islice(samples, self.buffer_size))
        for sample in samples:
            place = int(torch.randint(len(buffer), (), generator=generator))
            departing, buffer[place] = buffer[place], sample
            yield departing
        for place in torch.randperm(len(buffer), generator=generator).tolist():
            yield buffer[place]

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # only called where it is known

    def _identity(self) -> dict[str, Any]:
        return {"sampler": "ShuffleBuffer", "length": self.buffer_size}
