"""The last batch's loss as the epoch's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlkit.lab.exercises.contract import Case, Exercise


def broken(losses: list[float], sizes: list[int]) -> float:
    for loss, _size in zip(losses, sizes, strict=True):
        last = loss
    return last


def last_loss(losses: list[float], sizes: list[int]) -> float:
    total = sum(loss * size for loss, size in zip(losses, sizes, strict=True))
    return total / sum(sizes)


def _by_numpy(losses: list[float], sizes: list[int]) -> Any:
    return np.average(losses, weights=sizes)


def _as_it_goes(losses: list[float], sizes: list[int]) -> Any:
    mean, seen = 0.0, 0
    for loss, size in zip(losses, sizes, strict=True):
        seen += size
        mean += (loss - mean) * size / seen
    return mean


def _mean_of_means(losses: list[float], sizes: list[int]) -> Any:
    return sum(losses) / len(losses)


def _sum_over_batches(losses: list[float], sizes: list[int]) -> Any:
    return sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / len(sizes)


def _exponential_average(losses: list[float], sizes: list[int]) -> Any:
    average = losses[0]
    for loss in losses[1:]:
        average = 0.9 * average + 0.1 * loss
    return average


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [2.0, 1.0], [1, 1]
    yield [1.0, 4.0], [4, 2]
    yield [rng.uniform(0, 3) for _ in range(5)], [8, 8, 8, 8, 3]


def _oracle(losses: list[float], sizes: list[int]) -> float:
    return float(np.average(losses, weights=sizes))


EXERCISE = Exercise(
    level=1,
    reference=last_loss,
    broken=broken,
    alternatives=(_by_numpy, _as_it_goes),
    mistakes=(broken, _mean_of_means, _sum_over_batches, _exponential_average),
    cases=_cases,
    oracle=_oracle,
)
