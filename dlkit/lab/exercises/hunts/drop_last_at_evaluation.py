"""Test samples that are never evaluated."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from dlkit.lab.exercises.contract import Case, Exercise


def broken(right: list[bool], batch_size: int) -> float:
    loader = DataLoader(right, batch_size=batch_size, drop_last=True)
    seen = good = 0
    for batch in loader:
        seen, good = seen + len(batch), good + int(batch.sum())
    return good / seen


def drop_last_at_evaluation(right: list[bool], batch_size: int) -> float:
    loader = DataLoader(right, batch_size=batch_size)
    seen = good = 0
    for batch in loader:
        seen, good = seen + len(batch), good + int(batch.sum())
    return good / seen


def _all_at_once(right: list[bool], batch_size: int) -> Any:
    return next(iter(DataLoader(right, batch_size=len(right)))).float().mean().item()


def _by_hand(right: list[bool], batch_size: int) -> Any:
    return sum(right) / len(right)


def _divides_by_all(right: list[bool], batch_size: int) -> Any:
    kept = right[: len(right) // batch_size * batch_size]
    return sum(kept) / len(right)


def _guards_the_division(right: list[bool], batch_size: int) -> Any:
    kept = right[: len(right) // batch_size * batch_size]
    return sum(kept) / max(len(kept), 1)


def _mean_of_batches(right: list[bool], batch_size: int) -> Any:
    shares = [batch.float().mean().item() for batch in DataLoader(right, batch_size=batch_size)]
    return sum(shares) / len(shares)


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [True], 2
    yield [True, True, False], 2
    yield [rng.random() < 0.5 for _ in range(11)], 4


def _oracle(right: list[bool], batch_size: int) -> float:
    return sum(right) / len(right)


def _same(expected: Any, got: Any) -> bool:
    return abs(expected - float(got)) < 1e-6


EXERCISE = Exercise(
    level=1,
    reference=drop_last_at_evaluation,
    broken=broken,
    alternatives=(_all_at_once, _by_hand),
    mistakes=(broken, _divides_by_all, _guards_the_division, _mean_of_batches),
    cases=_cases,
    oracle=_oracle,
    same=_same,
)
