"""The largest value of each window."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from dlkit.lab.exercises.contract import Case, Exercise

Grid = list[list[float]]


def max_pool(image: list[list[float]], size: int, stride: int) -> list[list[float]]:
    rows, columns = len(image), len(image[0])
    return [
        [
            max(image[i + a][j + b] for a in range(size) for b in range(size))
            for j in range(0, columns - size + 1, stride)
        ]
        for i in range(0, rows - size + 1, stride)
    ]


def _with_unfold(image: Grid, size: int, stride: int) -> Any:
    x = torch.tensor(image)
    return x.unfold(0, size, stride).unfold(1, size, stride).amax((-1, -2))


def _rows_then_columns(image: Grid, size: int, stride: int) -> Any:
    def pool(lines: Any) -> Any:
        starts = range(0, len(lines) - size + 1, stride)
        return [[max(v) for v in zip(*lines[i : i + size], strict=True)] for i in starts]

    return list(zip(*pool(list(zip(*pool(image), strict=True))), strict=True))


def _takes_the_mean(image: Grid, size: int, stride: int) -> Any:
    x = torch.tensor(image)
    return x.unfold(0, size, stride).unfold(1, size, stride).mean((-1, -2))


def _starts_from_zero(image: Grid, size: int, stride: int) -> Any:
    return [[max(0.0, value) for value in row] for row in max_pool(image, size, stride)]


def _steps_by_its_size(image: Grid, size: int, stride: int) -> Any:
    return max_pool(image, size, size)


def _keeps_windows_at_the_edge(image: Grid, size: int, stride: int) -> Any:
    rows, columns = len(image), len(image[0])
    return [
        [
            max(max(row[j : j + size]) for row in image[i : i + size])
            for j in range(0, columns, stride)
        ]
        for i in range(0, rows, stride)
    ]


def _gives_the_place(image: Grid, size: int, stride: int) -> Any:
    x = torch.tensor(image)[None, None]
    return F.max_pool2d(x, size, stride, return_indices=True)[1][0, 0]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [[5.0]], 1, 1
    yield [[1.0, 2.0], [3.0, 4.0]], 2, 2
    yield [[-1.0, -2.0], [-3.0, -4.0]], 2, 2
    yield [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]], 2, 2
    yield [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]], 2, 1
    for _ in range(20):
        rows, columns = rng.randrange(3, 7), rng.randrange(3, 7)
        image = [[float(rng.randrange(-20, 20)) for _ in range(columns)] for _ in range(rows)]
        yield image, rng.randrange(1, 4), rng.randrange(1, 4)


def _oracle(image: Grid, size: int, stride: int) -> Any:
    return F.max_pool2d(torch.tensor(image)[None, None], size, stride)[0, 0]


EXERCISE = Exercise(
    level=1,
    reference=max_pool,
    alternatives=(_with_unfold, _rows_then_columns),
    mistakes=(
        _takes_the_mean,
        _starts_from_zero,
        _steps_by_its_size,
        _keeps_windows_at_the_edge,
        _gives_the_place,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "shape": lambda case, got: len(got) == (len(case[0]) - case[1]) // case[2] + 1,
        "there": lambda case, got: all(
            any(abs(value - x) < 1e-6 for line in case[0] for x in line)
            for row in got
            for value in row
        ),
    },
    picture="target",
)
