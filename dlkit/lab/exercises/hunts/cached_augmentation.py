"""A random augmentation behind a cache."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise

Read = Callable[[int], float]
Augment = Callable[[float], float]


def broken(read: Read, augment: Augment, n: int, epochs: int) -> list[list[float]]:
    @functools.cache
    def sample(index: int) -> float:
        return augment(read(index))

    return [[sample(index) for index in range(n)] for _ in range(epochs)]


def cached_augmentation(read: Read, augment: Augment, n: int, epochs: int) -> list[list[float]]:
    cached = functools.cache(read)
    return [[augment(cached(index)) for index in range(n)] for _ in range(epochs)]


def _with_a_dictionary(read: Read, augment: Augment, n: int, epochs: int) -> Any:
    kept: dict[int, float] = {}
    result = []
    for _ in range(epochs):
        for index in range(n):
            if index not in kept:
                kept[index] = read(index)
        result.append([augment(kept[index]) for index in range(n)])
    return result


def _read_first(read: Read, augment: Augment, n: int, epochs: int) -> Any:
    samples = [read(index) for index in range(n)] if epochs else []
    return [list(map(augment, samples)) for _ in range(epochs)]


def _no_cache(read: Read, augment: Augment, n: int, epochs: int) -> Any:
    return [[augment(read(index)) for index in range(n)] for _ in range(epochs)]


def _no_augmentation(read: Read, augment: Augment, n: int, epochs: int) -> Any:
    samples = [read(index) for index in range(n)]
    return [samples for _ in range(epochs)]


def _augmented_again_and_again(read: Read, augment: Augment, n: int, epochs: int) -> Any:
    samples, result = [read(index) for index in range(n)], []
    for _ in range(epochs):
        samples = [augment(sample) for sample in samples]
        result.append(samples)
    return result


def _drive(answer: Any, n: int, epochs: int) -> dict[str, Any]:
    reads, calls = [], itertools.count(1)

    def read(index: int) -> float:
        reads.append(index)
        return 1000.0 * index

    def augment(sample: float) -> float:
        return sample + next(calls)

    samples = [list(epoch) for epoch in answer(read, augment, n, epochs)]
    shifts = [value - 1000 * index for epoch in samples for index, value in enumerate(epoch)]
    return {"reads": sorted(reads), "shifts": sorted(shifts)}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield from ((n, epochs) for n in (1, 2, 3) for epochs in (1, 2, 3))


def _oracle(n: int, epochs: int) -> dict[str, Any]:
    return {"reads": list(range(n)), "shifts": [float(x) for x in range(1, n * epochs + 1)]}


EXERCISE = Exercise(
    level=1,
    reference=cached_augmentation,
    broken=broken,
    alternatives=(_with_a_dictionary, _read_first),
    mistakes=(broken, _no_cache, _no_augmentation, _augmented_again_and_again),
    cases=_cases,
    oracle=_oracle,
    drive=_drive,
)
