"""Integers into a linear layer."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch

from dlkit.lab.exercises.contract import Case, Exercise


def broken(rows: list[list[int]]) -> list[float]:
    layer = _layer(len(rows[0]))
    outputs: list[float] = layer(torch.tensor(rows)).squeeze(1).tolist()
    return outputs


def _layer(width: int) -> torch.nn.Linear:
    layer = torch.nn.Linear(width, 1)
    torch.nn.init.constant_(layer.weight, 0.5)
    torch.nn.init.zeros_(layer.bias)
    return layer


def integer_inputs(rows: list[list[int]]) -> list[float]:
    layer = _layer(len(rows[0]))
    outputs: list[float] = layer(torch.tensor(rows, dtype=torch.float32)).squeeze(1).tolist()
    return outputs


def _converted(rows: list[list[int]]) -> Any:
    return _layer(len(rows[0]))(torch.tensor(rows).float()).squeeze(1)


def _layer_in_double(rows: list[list[int]]) -> Any:
    return _layer(len(rows[0])).double()(torch.tensor(rows).double()).squeeze(1)


def _scaled_to_one(rows: list[list[int]]) -> Any:
    x = torch.tensor(rows).float()
    return _layer(len(rows[0]))(x / max(float(x.abs().max()), 1.0)).squeeze(1)


def _layer_in_integers(rows: list[list[int]]) -> Any:
    layer = _layer(len(rows[0]))
    return (torch.tensor(rows) @ layer.weight.long().T).squeeze(1).tolist()


def _keeps_the_column(rows: list[list[int]]) -> Any:
    return _layer(len(rows[0]))(torch.tensor(rows).float()).tolist()


def _cases(rng: random.Random) -> Iterator[Case]:
    yield ([[1]],)
    yield ([[1, 2], [3, 5]],)
    yield ([[rng.randrange(256) for _ in range(4)] for _ in range(3)],)


def _oracle(rows: list[list[int]]) -> list[float]:
    return [sum(row) / 2 for row in rows]


EXERCISE = Exercise(
    level=1,
    reference=integer_inputs,
    broken=broken,
    alternatives=(_converted, _layer_in_double),
    mistakes=(broken, _scaled_to_one, _layer_in_integers, _keeps_the_column),
    cases=_cases,
    oracle=_oracle,
)
