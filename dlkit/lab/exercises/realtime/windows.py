"""Windows over a series: what a model of a live signal is fed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch

from dlkit.lab.exercises.contract import Case, Exercise


def windows(values: list[float], size: int, step: int) -> list[list[float]]:
    return [values[start : start + size] for start in range(0, len(values) - size + 1, step)]


def _while_loop(values: list[float], size: int, step: int) -> Any:
    found, start = [], 0
    while start + size <= len(values):
        found.append(tuple(values[start : start + size]))
        start += step
    return found


def _one_value_at_a_time(values: list[float], size: int, step: int) -> Any:
    from collections import deque

    held: deque[float] = deque(maxlen=size)
    found = []
    for count, value in enumerate(values, start=1):
        held.append(value)
        if count >= size and (count - size) % step == 0:
            found.append(list(held))
    return found


def _misses_the_last(values: list[float], size: int, step: int) -> Any:
    return [values[i : i + size] for i in range(0, len(values) - size, step)]


def _keeps_short_ones(values: list[float], size: int, step: int) -> Any:
    return [values[i : i + size] for i in range(0, len(values), step)]


def _never_overlap(values: list[float], size: int, step: int) -> Any:
    return [values[i : i + size] for i in range(0, len(values) - size + 1, size)]


def _always_step_by_one(values: list[float], size: int, step: int) -> Any:
    return [values[i : i + size] for i in range(len(values) - size + 1)]


def _fills_up_with_zeros(values: list[float], size: int, step: int) -> Any:
    found = [values[i : i + size] for i in range(0, len(values), step)]
    return [window + [0.0] * (size - len(window)) for window in found]


def _cases(rng: random.Random) -> Iterator[Case]:
    for n in range(6):
        values = [float(i) for i in range(n)]
        yield from ((values, size, step) for size in (1, 2, 3) for step in (1, 2, 3))
    for _ in range(10):
        size = rng.randrange(1, 8)
        yield [rng.random() for _ in range(rng.randrange(30))], size, rng.randrange(1, 8)


def _oracle(values: list[float], size: int, step: int) -> Any:
    if len(values) < size:
        return []
    return torch.tensor(values, dtype=torch.float64).unfold(0, size, step)


EXERCISE = Exercise(
    level=1,
    reference=windows,
    alternatives=(_while_loop, _one_value_at_a_time),
    mistakes=(
        _misses_the_last,
        _keeps_short_ones,
        _never_overlap,
        _always_step_by_one,
        _fills_up_with_zeros,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "full": lambda case, got: all(len(window) == case[1] for window in got),
        "count": lambda case, got: len(got) == max(0, (len(case[0]) - case[1]) // case[2] + 1),
    },
    picture="strip",
)
