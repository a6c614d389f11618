"""Rows of different lengths into one tensor, and a mask that says what is real."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from dlkit.lab.exercises.contract import Case, Exercise


def pad_and_mask(
    rows: list[list[float]], padding: float
) -> tuple[list[list[float]], list[list[bool]]]:
    longest = max(len(row) for row in rows)
    padded = [row + [padding] * (longest - len(row)) for row in rows]
    mask = [[place < len(row) for place in range(longest)] for row in rows]
    return padded, mask


def _with_tensors(rows: list[list[float]], padding: float) -> Any:
    lengths = torch.tensor([len(row) for row in rows])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    padded = torch.full(mask.shape, padding)
    padded[mask] = torch.tensor([value for row in rows for value in row])
    return padded, mask


def _with_zip_longest(rows: list[list[float]], padding: float) -> Any:
    from itertools import zip_longest

    columns = list(zip_longest(*rows, fillvalue=padding))
    padded = [[column[i] for column in columns] for i in range(len(rows))]
    return padded, [[j < len(row) for j in range(len(columns))] for row in rows]


def _mask_from_values(rows: list[list[float]], padding: float) -> Any:
    padded, _ = pad_and_mask(rows, padding)
    return padded, [[value != padding for value in row] for row in padded]


def _mask_marks_the_padding(rows: list[list[float]], padding: float) -> Any:
    padded, mask = pad_and_mask(rows, padding)
    return padded, [[not real for real in row] for row in mask]


def _pads_in_front(rows: list[list[float]], padding: float) -> Any:
    padded, mask = pad_and_mask(rows, padding)
    longest = len(padded[0])
    return [[padding] * (longest - len(row)) + row for row in rows], [row[::-1] for row in mask]


def _cuts_to_the_shortest(rows: list[list[float]], padding: float) -> Any:
    shortest = min(len(row) for row in rows)
    return [row[:shortest] for row in rows], [[True] * shortest for _ in rows]


def _always_pads_with_zero(rows: list[list[float]], padding: float) -> Any:
    return pad_and_mask(rows, 0.0)


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [[1.0]], 0.0
    yield [[1.0], [2.0, 3.0]], 0.0
    yield [[1.0, 2.0], [3.0]], -1.0
    yield [[], [5.0]], 0.0
    yield [[0.0, 1.0], [0.0]], 0.0
    for _ in range(15):
        rows = [
            [float(rng.randrange(-2, 3)) for _ in range(rng.randrange(0, 5))] + [1.0]
            for _ in range(rng.randrange(1, 5))
        ]
        yield rows, rng.choice([0.0, -1.0, 7.0])


def _oracle(rows: list[list[float]], padding: float) -> Any:
    tensors = [torch.tensor(row) for row in rows]
    padded = pad_sequence(tensors, batch_first=True, padding_value=padding)
    ones = [torch.ones(len(row)) for row in rows]
    return padded, pad_sequence(ones, batch_first=True) == 1


EXERCISE = Exercise(
    level=1,
    reference=pad_and_mask,
    alternatives=(_with_tensors, _with_zip_longest),
    mistakes=(
        _mask_from_values,
        _mask_marks_the_padding,
        _pads_in_front,
        _cuts_to_the_shortest,
        _always_pads_with_zero,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "longest": lambda case, got: all(
            len(row) == max(map(len, case[0])) for part in got for row in part
        ),
        "kept": lambda case, got: all(
            list(row[: len(real)]) == real for row, real in zip(got[0], case[0], strict=True)
        ),
        "counted": lambda case, got: [int(sum(row)) for row in got[1]] == [*map(len, case[0])],
        "padding": lambda case, got: all(
            all(value == case[1] for value in row[len(real) :])
            for row, real in zip(got[0], case[0], strict=True)
        ),
    },
)
