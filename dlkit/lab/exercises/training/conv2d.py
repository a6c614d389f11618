"""A convolution as a network computes it, in plain loops."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from dlkit.lab.exercises.contract import Case, Exercise

Grid = list[list[float]]


def conv2d(
    image: list[list[float]], kernel: list[list[float]], stride: int, padding: int
) -> list[list[float]]:
    width = len(image[0]) + 2 * padding
    padded = [[0.0] * width for _ in range(padding)]
    padded += [[0.0] * padding + list(row) + [0.0] * padding for row in image]
    padded += [[0.0] * width for _ in range(padding)]
    height, (k, m) = len(padded), (len(kernel), len(kernel[0]))
    return [
        [
            sum(kernel[a][b] * padded[i + a][j + b] for a in range(k) for b in range(m))
            for j in range(0, width - m + 1, stride)
        ]
        for i in range(0, height - k + 1, stride)
    ]


def _with_unfold(image: Grid, kernel: Grid, stride: int, padding: int) -> Any:
    x = F.pad(torch.tensor(image), (padding,) * 4)
    w = torch.tensor(kernel)
    patches = x.unfold(0, w.shape[0], stride).unfold(1, w.shape[1], stride)
    return (patches * w).sum((-1, -2))


def _by_shifts(image: Grid, kernel: Grid, stride: int, padding: int) -> Any:
    import numpy as np

    x, w = np.pad(np.array(image), padding), np.array(kernel)
    rows, columns = (np.array(x.shape) - w.shape) // stride + 1
    out = np.zeros((rows, columns))
    for (a, b), factor in np.ndenumerate(w):
        out += factor * x[a : a + stride * rows : stride, b : b + stride * columns : stride]
    return out


def _turns_the_kernel(image: Grid, kernel: Grid, stride: int, padding: int) -> Any:
    return conv2d(image, [row[::-1] for row in kernel[::-1]], stride, padding)


def _forgets_the_padding(image: Grid, kernel: Grid, stride: int, padding: int) -> Any:
    return conv2d(image, kernel, stride, 0)


def _forgets_the_stride(image: Grid, kernel: Grid, stride: int, padding: int) -> Any:
    return conv2d(image, kernel, 1, padding)


def _mixes_rows_and_columns(image: Grid, kernel: Grid, stride: int, padding: int) -> Any:
    return [list(row) for row in zip(*conv2d(image, kernel, stride, padding), strict=True)]


def _takes_the_mean(image: Grid, kernel: Grid, stride: int, padding: int) -> Any:
    size = len(kernel) * len(kernel[0])
    return [[value / size for value in row] for row in conv2d(image, kernel, stride, padding)]


def _misses_the_last_place(image: Grid, kernel: Grid, stride: int, padding: int) -> Any:
    full = conv2d(image, kernel, stride, padding)
    return [row[:-1] for row in full[:-1]]


def _cases(rng: random.Random) -> Iterator[Case]:
    def grid(rows: int, columns: int) -> Grid:
        return [[float(rng.randrange(-3, 4)) for _ in range(columns)] for _ in range(rows)]

    yield [[2.0]], [[3.0]], 1, 0
    yield [[1.0, 2.0]], [[1.0, 0.0]], 1, 0
    yield [[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 0.0]], 1, 0
    yield [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[1.0, 2.0]], 1, 0
    yield [[1.0, 2.0], [3.0, 4.0]], [[1.0]], 2, 0
    yield [[1.0]], [[1.0]], 1, 1
    for _ in range(20):
        image = grid(rng.randrange(3, 7), rng.randrange(3, 7))
        yield (
            image,
            grid(rng.randrange(1, 4), rng.randrange(1, 4)),
            rng.randrange(1, 3),
            rng.randrange(2),
        )


def _oracle(image: Grid, kernel: Grid, stride: int, padding: int) -> Any:
    x, w = torch.tensor(image)[None, None], torch.tensor(kernel)[None, None]
    return F.conv2d(x, w, stride=stride, padding=padding)[0, 0]


def _shape(case: Case, got: Any) -> bool:
    image, kernel, stride, padding = case
    rows = (len(image) + 2 * padding - len(kernel)) // stride + 1
    columns = (len(image[0]) + 2 * padding - len(kernel[0])) // stride + 1
    return len(got) == rows and all(len(row) == columns for row in got)


EXERCISE = Exercise(
    level=2,
    reference=conv2d,
    alternatives=(_with_unfold, _by_shifts),
    mistakes=(
        _turns_the_kernel,
        _forgets_the_padding,
        _forgets_the_stride,
        _mixes_rows_and_columns,
        _takes_the_mean,
        _misses_the_last_place,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={"shape": _shape},
    picture="target",
)
