"""A class that PyTorch never had."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def broken(read: Callable[[int], int], n: int, epochs: int) -> list[list[int]]:
    from torch.utils.data import CacheDataset

    cached = CacheDataset([read(index) for index in range(n)])
    return [[cached[index] for index in range(n)] for _ in range(epochs)]


def cache_dataset(read: Callable[[int], int], n: int, epochs: int) -> list[list[int]]:
    cache: dict[int, int] = {}

    def cached(index: int) -> int:
        if index not in cache:
            cache[index] = read(index)
        return cache[index]

    return [[cached(index) for index in range(n)] for _ in range(epochs)]


def _by_functools(read: Callable[[int], int], n: int, epochs: int) -> Any:
    cached = functools.cache(read)
    return [[cached(index) for index in range(n)] for _ in range(epochs)]


def _all_at_first(read: Callable[[int], int], n: int, epochs: int) -> Any:
    samples = [read(index) for index in range(n)] if epochs else []
    return [list(samples) for _ in range(epochs)]


def _reads_each_time(read: Callable[[int], int], n: int, epochs: int) -> Any:
    return [[read(index) for index in range(n)] for _ in range(epochs)]


def _keeps_the_last_one(read: Callable[[int], int], n: int, epochs: int) -> Any:
    cached = functools.lru_cache(maxsize=1)(read)
    return [[cached(index) for index in range(n)] for _ in range(epochs)]


def _one_key_for_all(read: Callable[[int], int], n: int, epochs: int) -> Any:
    cache: dict[str, int] = {}
    return [[cache.setdefault("sample", read(index)) for index in range(n)] for _ in range(epochs)]


def _drive(answer: Any, n: int, epochs: int) -> dict[str, Any]:
    reads: list[int] = []

    def read(index: int) -> int:
        reads.append(index)
        return 10 * index

    samples = answer(read, n, epochs)
    return {"samples": samples, "reads": sorted(reads)}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield from ((n, epochs) for n in (1, 2, 3) for epochs in (1, 2))
    yield 8, 3


def _oracle(n: int, epochs: int) -> dict[str, Any]:
    samples = [10 * index for index in range(n)]
    return {"samples": [samples] * epochs, "reads": list(range(n))}


EXERCISE = Exercise(
    level=1,
    reference=cache_dataset,
    broken=broken,
    alternatives=(_by_functools, _all_at_first),
    mistakes=(broken, _reads_each_time, _keeps_the_last_one, _one_key_for_all),
    cases=_cases,
    oracle=_oracle,
    drive=_drive,
)
