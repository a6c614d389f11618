"""Normalising with what the test set tells."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from dlkit.lab.exercises.contract import Case, Exercise


def broken(train: list[float], test: list[float]) -> list[float]:
    values = np.array(train + test)
    normalised = (np.array(test) - values.mean()) / values.std()
    return [float(x) for x in normalised]


def statistics_of_the_test(train: list[float], test: list[float]) -> list[float]:
    values = np.array(train)
    normalised = (np.array(test) - values.mean()) / values.std()
    return [float(x) for x in normalised]


def _by_statistics(train: list[float], test: list[float]) -> Any:
    mean, deviation = statistics.fmean(train), statistics.pstdev(train)
    return [(x - mean) / deviation for x in test]


def _by_torch(train: list[float], test: list[float]) -> Any:
    values = torch.tensor(train, dtype=torch.float64)
    return (torch.tensor(test, dtype=torch.float64) - values.mean()) / values.std(correction=0)


def _by_itself(train: list[float], test: list[float]) -> Any:
    values = np.array(test)
    return (values - values.mean()) / (values.std() or 1.0)


def _only_centred(train: list[float], test: list[float]) -> Any:
    return np.array(test) - np.array(train).mean()


def _by_the_variance(train: list[float], test: list[float]) -> Any:
    values = np.array(train)
    return (np.array(test) - values.mean()) / values.var()


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [0.0, 4.0], [4.0]
    yield [1.0, 2.0, 6.0], [0.0, 3.0]
    yield [rng.gauss(5, 2) for _ in range(8)], [rng.gauss(0, 1) for _ in range(3)]


def _oracle(train: list[float], test: list[float]) -> Any:
    return _by_statistics(train, test)


EXERCISE = Exercise(
    level=1,
    reference=statistics_of_the_test,
    broken=broken,
    alternatives=(_by_statistics, _by_torch),
    mistakes=(broken, _by_itself, _only_centred, _by_the_variance),
    cases=_cases,
    oracle=_oracle,
)
