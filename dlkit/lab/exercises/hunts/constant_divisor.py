"""A running loss divided by a constant."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlkit.lab.exercises.contract import Case, Exercise


def broken(losses: list[float], every: int) -> list[float]:
    running, reports = 0.0, []
    for step, loss in enumerate(losses, 1):
        running += loss
        if step % every == 0 or step == len(losses):
            reports.append(running / 2000)
            running = 0.0
    return reports


def constant_divisor(losses: list[float], every: int) -> list[float]:
    running, count, reports = 0.0, 0, []
    for step, loss in enumerate(losses, 1):
        running, count = running + loss, count + 1
        if step % every == 0 or step == len(losses):
            reports.append(running / count)
            running, count = 0.0, 0
    return reports


def _by_slices(losses: list[float], every: int) -> Any:
    parts = [losses[i : i + every] for i in range(0, len(losses), every)]
    return [sum(part) / len(part) for part in parts]


def _by_numpy(losses: list[float], every: int) -> Any:
    return [float(np.mean(losses[i : i + every])) for i in range(0, len(losses), every)]


def _divides_by_every(losses: list[float], every: int) -> Any:
    return [sum(losses[i : i + every]) / every for i in range(0, len(losses), every)]


def _never_starts_anew(losses: list[float], every: int) -> Any:
    ends = [min(i + every, len(losses)) for i in range(0, len(losses), every)]
    return [sum(losses[:end]) / end for end in ends]


def _forgets_the_rest(losses: list[float], every: int) -> Any:
    full = range(every, len(losses) + 1, every)
    return [sum(losses[end - every : end]) / every for end in full]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [3.0], 1
    yield [1.0, 2.0, 3.0, 5.0], 2
    yield [4.0, 2.0, 6.0], 2
    yield [rng.uniform(0, 2) for _ in range(11)], 4


def _oracle(losses: list[float], every: int) -> Any:
    return _by_numpy(losses, every)


EXERCISE = Exercise(
    level=1,
    reference=constant_divisor,
    broken=broken,
    alternatives=(_by_slices, _by_numpy),
    mistakes=(broken, _divides_by_every, _never_starts_anew, _forgets_the_rest),
    cases=_cases,
    oracle=_oracle,
)
