"""What both caches share: the dataset below, the key, the warning about random transforms.

    cache = MemoryCache(images)         read, decode, resize: the same every epoch, so kept
    train = cache.then(random_crop)     different every epoch, so done after the cache

`then` makes the right order the short one. The other way round, `MemoryCache(augmented)`, every
epoch would see the same crops; that warns.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any

import numpy as np
import torch
from torch.utils import data as torch_data

from dlkit.cache.fingerprint import FingerprintError, fingerprint
from dlkit.cache.random_parts import random_parts
from dlkit.cache.slots import Index
from dlkit.checks import check_bool, check_sized
from dlkit.datasets.base import ArrayIndexed, GathersBatches, Indices, as_index_array, read_samples
from dlkit.datasets.combine import TransformDataset
from dlkit.memory import here
from dlkit.randomness import get_rng_state, set_rng_state

_CHECKED = 3  # samples that are read twice


class RandomTransformWarning(UserWarning):
    """A cache keeps what a random transform has made, so that it is not random any more."""


@dataclass(frozen=True)
class CacheInfo:
    """What a cache holds and what it was asked for, by all processes together.

    Attributes:
        hits: samples that were found.
        misses: samples that had to be read from the dataset.
        samples: samples that are held.
        nbytes: bytes that they take.
        max_bytes: bytes that they may take; None is no limit.
        evicted: samples that had to leave for others.
        refused: samples that were not stored for lack of room.
        damaged: samples whose bytes had changed, and that were read anew.
    """

    hits: int
    misses: int
    samples: int
    nbytes: int
    max_bytes: int | None
    evicted: int = 0
    refused: int = 0
    damaged: int = 0

    @property
    def hit_rate(self) -> float:
        """The share of reads that were hits; 0 before the first."""
        return self.hits / max(1, self.hits + self.misses)


class Cache(ArrayIndexed, GathersBatches, torch_data.Dataset[Any]):
    """A dataset that keeps the samples of another one.

    Args:
        dataset: map-style, with a length; sample `i` must be the same whenever it is read.
        key: names what the samples are, in place of a fingerprint of the dataset.
        check_random: whether to look for random transforms, and read the first samples twice.

    Raises:
        TypeError: if the dataset has no length or cannot be indexed, or `key` is no string.
    """

    def __init__(self, dataset: Any, key: str | None, check_random: bool) -> None:
        if isinstance(dataset, torch_data.IterableDataset) or not hasattr(dataset, "__getitem__"):
            raise TypeError(
                f"dataset must be map-style, but got a {type(dataset).__name__}: a cache finds its "
                "samples by index"
            )
        check_sized("dataset", dataset)
        check_bool("check_random", check_random)
        if key is not None and not isinstance(key, str):
            raise TypeError(f"key must be a string or None, but got {key!r}")
        self.dataset = dataset
        self._given_key = key
        self._to_check = _CHECKED if check_random else 0
        self._length = len(dataset)
        self._watched = _attributes(dataset)
        self.key = self._find_key()
        if check_random and (found := random_parts(dataset)):
            self._warn_of_random(f"{found[0]} is random")

    def __len__(self) -> int:
        return self._length

    def then(
        self,
        transform: Callable[[Any], Any] | None = None,
        *,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> TransformDataset:
        """Return a dataset that passes what this cache holds through a transform at each read.

        Args:
            transform: called with the input of a sample, random or not.
            target_transform: called with the target of a sample.

        Example:
            >>> from dlkit.cache import MemoryCache
            >>> squares = MemoryCache([i * i for i in range(10)], max_bytes=1 << 20)
            >>> squares.then(lambda x: x + 1)[3]
            10
        """
        return TransformDataset(self, transform, target_transform=target_transform)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Indices) -> Sequence[Any]:
        raise NotImplementedError(f"{type(self).__name__} must define __getitems__")

    def info(self) -> CacheInfo:
        """Return what the cache holds and what it was asked for."""
        raise NotImplementedError(f"{type(self).__name__} must define info")

    # ---- the key --------------------------------------------------------------------------------

    def _find_key(self) -> str:
        return fingerprint(self._given_key or self.dataset, self._length)

    def _is_changed(self) -> bool:
        """Whether the dataset, or a transform of it, has other attributes or is another length.

        This is asked for each batch, so it compares objects, not what is in them; only if one was
        exchanged is the key computed anew.
        """
        for attributes, before in self._watched:
            if len(attributes) != len(before) or not all(map(is_, attributes.values(), before)):
                break
        else:
            return False
        self._rewatch()
        before_key, self.key = self.key, self._find_key()
        return self.key != before_key

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_watched"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._rewatch()  # the objects of before were those of another process

    def _rewatch(self) -> None:
        self._watched = _attributes(self.dataset)

    # ---- reading the dataset below --------------------------------------------------------------

    def _indices(self, indices: Indices) -> Index:
        """Return indices as an array of numbers from 0.

        Raises:
            IndexError: if one lies outside the dataset.
        """
        array = as_index_array(indices)
        outside = (array < -self._length) | (array >= self._length)
        if outside.any():
            index = int(array[outside][0])
            raise IndexError(f"index {index} is out of range for {self._length} samples")
        return np.where(array < 0, array + self._length, array)

    def _read(self, indices: list[int]) -> Sequence[Any]:
        """Read samples from the dataset, in ordinary memory."""
        # Memory of the loader's is for the batch, not for what the dataset makes on its way.
        memory, here.memory = here.memory, None
        try:
            samples = read_samples(self.dataset, indices)
            if self._to_check and indices:
                self._read_twice(indices[0], samples[0])
            return samples
        finally:
            here.memory = memory

    def _read_twice(self, index: int, sample: Any) -> None:
        """Warn if a sample is another one when it is read again."""
        self._to_check -= 1
        state = get_rng_state()
        try:
            again = read_samples(self.dataset, [index])[0]
        finally:
            set_rng_state(state)  # the check takes no random numbers from anybody
        if not same(sample, again):
            self._warn_of_random(f"sample {index} was another one when it was read again")

    def _warn_of_random(self, reason: str) -> None:
        self._to_check = 0
        name = type(self).__name__
        warnings.warn(
            f"{name} keeps one outcome of a random transform for all epochs: {reason}. Cache what "
            f"comes before it and transform afterwards, {name}(dataset, ...).then(transform); "
            "check_random=False silences this",
            RandomTransformWarning,
            stacklevel=4,  # the line that makes the cache
        )


def _attributes(dataset: Any) -> list[tuple[dict[str, Any], list[Any]]]:
    """The attributes of a dataset, of the datasets below it and of their transforms.

    Each as the dictionary and what was in it.
    """
    found: list[tuple[dict[str, Any], list[Any]]] = []
    waiting, seen = [dataset], set[int]()
    while waiting and len(found) < 32:
        holder = waiting.pop(0)
        attributes = getattr(holder, "__dict__", None)
        if id(holder) in seen or not attributes or isinstance(holder, type | torch.Tensor):
            continue
        seen.add(id(holder))
        values = list(attributes.values())
        found.append((attributes, values))
        for value in values:
            parts = value if isinstance(value, list | tuple) and len(value) <= 32 else [value]
            waiting += [p for p in parts if hasattr(p, "__getitem__") or callable(p)]
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two samples are equal, NaN included; False where that cannot be told.

    Example:
        >>> same((torch.ones(2), "a"), (torch.ones(2), "a"))
        True
    """
    if type(one) is not type(other):
        return False
    try:
        return one is other or fingerprint(one) == fingerprint(other)
    except FingerprintError:
        return bool(one == other)
