"""Evaluating a model with its dropout on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch

from dlkit.lab.exercises.contract import Case, Exercise


def broken(rows: list[list[float]]) -> list[int]:
    model = _model(len(rows[0]))
    with torch.no_grad():
        predicted: list[int] = model(torch.tensor(rows)).argmax(dim=1).tolist()
    return predicted


def _model(width: int) -> torch.nn.Module:
    torch.manual_seed(0)
    layer = torch.nn.Linear(width, width, bias=False)
    torch.nn.init.eye_(layer.weight)
    return torch.nn.Sequential(torch.nn.Dropout(0.8), layer).train()  # as training leaves it


def evaluation_mode(rows: list[list[float]]) -> list[int]:
    model = _model(len(rows[0])).eval()
    with torch.no_grad():
        predicted: list[int] = model(torch.tensor(rows)).argmax(dim=1).tolist()
    return predicted


def _by_train_false(rows: list[list[float]]) -> Any:
    model = _model(len(rows[0])).train(False)
    return model(torch.tensor(rows)).detach().argmax(dim=1)


def _restored_afterwards(rows: list[list[float]]) -> Any:
    model = _model(len(rows[0]))
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        predicted = model(torch.tensor(rows)).argmax(dim=1).tolist()
    model.train(was_training)
    return predicted


def _smallest(rows: list[list[float]]) -> Any:
    with torch.no_grad():
        return _model(len(rows[0])).eval()(torch.tensor(rows)).argmin(dim=1).tolist()


def _eval_too_late(rows: list[list[float]]) -> Any:
    model = _model(len(rows[0]))
    first = model(torch.tensor(rows))
    model.eval()
    return first.argmax(dim=1).flip(0).tolist()


def _largest_output(rows: list[list[float]]) -> Any:
    with torch.no_grad():
        return _model(len(rows[0])).eval()(torch.tensor(rows)).max(dim=1).values.tolist()


def _cases(rng: random.Random) -> Iterator[Case]:
    for n in (4, 8):
        rows = [[float(column == (row * 3) % n) for column in range(n)] for row in range(n)]
        yield (rows,)


def _oracle(rows: list[list[float]]) -> list[int]:
    return [row.index(max(row)) for row in rows]


EXERCISE = Exercise(
    level=1,
    reference=evaluation_mode,
    broken=broken,
    alternatives=(_by_train_false, _restored_afterwards),
    mistakes=(broken, _smallest, _eval_too_late, _largest_output),
    cases=_cases,
    oracle=_oracle,
)
