"""Accuracy averaged over unequal batches."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlkit.lab.exercises.contract import Case, Exercise


def broken(batches: list[list[bool]]) -> float:
    return sum(sum(batch) / len(batch) for batch in batches) / len(batches)


def uneven_accuracy(batches: list[list[bool]]) -> float:
    return sum(map(sum, batches)) / sum(map(len, batches))


def _flattened(batches: list[list[bool]]) -> Any:
    return float(np.mean([right for batch in batches for right in batch]))


def _weighted(batches: list[list[bool]]) -> Any:
    shares = [sum(batch) / len(batch) for batch in batches]
    return np.average(shares, weights=[len(batch) for batch in batches])


def _drops_the_last(batches: list[list[bool]]) -> Any:
    full = [batch for batch in batches if len(batch) == len(batches[0])]
    return sum(map(sum, full)) / sum(map(len, full))


def _as_if_all_were_full(batches: list[list[bool]]) -> Any:
    return sum(map(sum, batches)) / (len(batches) * len(batches[0]))


def _over_the_batches(batches: list[list[bool]]) -> Any:
    return sum(map(sum, batches)) / len(batches)


def _cases(rng: random.Random) -> Iterator[Case]:
    yield ([[True, True], [False]],)
    yield ([[True, False, True, True], [False, True]],)
    yield ([[rng.random() < 0.7 for _ in range(n)] for n in (8, 8, 8, 3)],)


def _oracle(batches: list[list[bool]]) -> float:
    return float(_flattened(batches))


EXERCISE = Exercise(
    level=1,
    reference=uneven_accuracy,
    broken=broken,
    alternatives=(_flattened, _weighted),
    mistakes=(broken, _drops_the_last, _as_if_all_were_full, _over_the_batches),
    cases=_cases,
    oracle=_oracle,
)
