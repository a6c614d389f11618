"""A sampler together with shuffling."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Subset

from dlkit.lab.exercises.contract import Case, Exercise


def broken(indices: list[int], batch_size: int) -> list[list[int]]:
    loader = DataLoader(
        range(100),
        batch_size=batch_size,
        sampler=indices,
        shuffle=True,
    )
    return [batch.tolist() for batch in loader]


def sampler_and_shuffle(indices: list[int], batch_size: int) -> list[list[int]]:
    loader: DataLoader[int] = DataLoader(
        range(100),
        batch_size=batch_size,
        sampler=indices,
    )
    return [batch.tolist() for batch in loader]


def _by_batch_sampler(indices: list[int], batch_size: int) -> Any:
    batches = [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]
    return [batch.tolist() for batch in DataLoader(range(100), batch_sampler=batches)]


def _by_subset(indices: list[int], batch_size: int) -> Any:
    subset = Subset(range(100), indices)
    return [batch.tolist() for batch in DataLoader(subset, batch_size=batch_size)]


def _without_the_sampler(indices: list[int], batch_size: int) -> Any:
    chosen = sorted(indices)
    return [chosen[i : i + batch_size] for i in range(0, len(chosen), batch_size)]


def _ignores_the_sampler(indices: list[int], batch_size: int) -> Any:
    return [batch.tolist() for batch in DataLoader(range(100), batch_size=batch_size)]


def _drops_the_rest(indices: list[int], batch_size: int) -> Any:
    loader: DataLoader[int] = DataLoader(
        range(100), batch_size=batch_size, sampler=indices, drop_last=True
    )
    return [batch.tolist() for batch in loader]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [7], 1
    yield [5, 2, 9], 2
    yield rng.sample(range(100), 11), 4


def _oracle(indices: list[int], batch_size: int) -> list[list[int]]:
    return [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]


EXERCISE = Exercise(
    level=1,
    reference=sampler_and_shuffle,
    broken=broken,
    alternatives=(_by_batch_sampler, _by_subset),
    mistakes=(broken, _without_the_sampler, _ignores_the_sampler, _drops_the_rest),
    cases=_cases,
    oracle=_oracle,
)
