"""Rows of different lengths in one flat array, with offsets instead of padding."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate, chain
from typing import Any

import torch

from dlkit.lab.exercises.contract import Case, Exercise


def pack_ragged(rows: list[list[int]]) -> tuple[list[int], list[int]]:
    values = [value for row in rows for value in row]
    offsets = [0]
    for row in rows:
        offsets.append(offsets[-1] + len(row))
    return values, offsets


def _with_accumulate(rows: list[list[int]]) -> Any:
    return list(chain.from_iterable(rows)), [0, *accumulate(len(row) for row in rows)]


def _with_tensors(rows: list[list[int]]) -> Any:
    lengths = torch.tensor([0, *map(len, rows)])
    return torch.tensor([value for row in rows for value in row]), lengths.cumsum(0)


def _lengths_for_offsets(rows: list[list[int]]) -> Any:
    return list(chain.from_iterable(rows)), [len(row) for row in rows]


def _no_zero_in_front(rows: list[list[int]]) -> Any:
    return list(chain.from_iterable(rows)), list(accumulate(len(row) for row in rows))


def _no_end(rows: list[list[int]]) -> Any:
    return list(chain.from_iterable(rows)), [0, *accumulate(len(row) for row in rows)][:-1]


def _forgets_empty_rows(rows: list[list[int]]) -> Any:
    return list(chain.from_iterable(rows)), [0, *accumulate(len(row) for row in rows if row)]


def _points_at_the_last_value(rows: list[list[int]]) -> Any:
    return list(chain.from_iterable(rows)), [
        0,
        *(end - 1 for end in accumulate(len(row) for row in rows)),
    ]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield ([],)
    yield ([[5]],)
    yield ([[]],)
    yield ([[1, 2], [3]],)
    yield ([[1], [], [2, 3]],)
    for _ in range(15):
        yield (
            [[rng.randrange(9) for _ in range(rng.randrange(4))] for _ in range(rng.randrange(6))],
        )


def _oracle(rows: list[list[int]]) -> Any:
    ends = [sum(len(row) for row in rows[:i]) for i in range(len(rows) + 1)]
    return [value for row in rows for value in row], ends


EXERCISE = Exercise(
    level=1,
    reference=pack_ragged,
    alternatives=(_with_accumulate, _with_tensors),
    mistakes=(
        _lengths_for_offsets,
        _no_zero_in_front,
        _no_end,
        _forgets_empty_rows,
        _points_at_the_last_value,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "count": lambda case, got: len(got[1]) == len(case[0]) + 1,
        "cuts": lambda case, got: all(
            list(got[0][start:end]) == row
            for start, end, row in zip(got[1], got[1][1:], case[0], strict=False)
        ),
    },
)
