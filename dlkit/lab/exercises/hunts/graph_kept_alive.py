"""A sum of losses that keeps every batch's graph."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch

from dlkit.lab.exercises.contract import Case, Exercise


def broken(weight: float, batches: list[list[float]]) -> Any:
    parameter = torch.tensor(weight, requires_grad=True)
    total: Any = 0.0
    for batch in batches:
        loss = ((parameter * torch.tensor(batch)) ** 2).mean()
        loss.backward()
        total += loss
    return total / len(batches)


def graph_kept_alive(weight: float, batches: list[list[float]]) -> Any:
    parameter = torch.tensor(weight, requires_grad=True)
    total = 0.0
    for batch in batches:
        loss = ((parameter * torch.tensor(batch)) ** 2).mean()
        loss.backward()
        total += loss.item()
    return total / len(batches)


def _detached(weight: float, batches: list[list[float]]) -> Any:
    parameter = torch.tensor(weight, requires_grad=True)
    losses = [((parameter * torch.tensor(batch)) ** 2).mean().detach() for batch in batches]
    return torch.stack(losses).mean()


def _without_gradients(weight: float, batches: list[list[float]]) -> Any:
    with torch.no_grad():
        losses = [((weight * torch.tensor(batch)) ** 2).mean() for batch in batches]
    return float(sum(losses)) / len(losses)


def _only_the_last(weight: float, batches: list[list[float]]) -> Any:
    parameter = torch.tensor(weight, requires_grad=True)
    for batch in batches:
        loss = ((parameter * torch.tensor(batch)) ** 2).mean()
    return loss.item()


def _never_divided(weight: float, batches: list[list[float]]) -> Any:
    return sum(((weight * torch.tensor(batch)) ** 2).mean().item() for batch in batches)


def _halves_each_time(weight: float, batches: list[list[float]]) -> Any:
    mean = 0.0
    for batch in batches:
        mean = (mean + ((weight * torch.tensor(batch)) ** 2).mean().item()) / 2
    return mean


def _drive(answer: Any, weight: float, batches: list[list[float]]) -> dict[str, Any]:
    result = answer(weight, batches)
    kept = bool(getattr(result, "requires_grad", False))
    return {"mean loss": round(float(result), 4), "keeps graphs": kept}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 1.0, [[1.0], [2.0]]
    yield 2.0, [[1.0, 3.0], [0.5, 0.5], [2.0, 2.0]]


def _oracle(weight: float, batches: list[list[float]]) -> dict[str, Any]:
    losses = [sum((weight * x) ** 2 for x in batch) / len(batch) for batch in batches]
    return {"mean loss": round(sum(losses) / len(losses), 4), "keeps graphs": False}


EXERCISE = Exercise(
    level=1,
    reference=graph_kept_alive,
    broken=broken,
    alternatives=(_detached, _without_gradients),
    mistakes=(broken, _only_the_last, _never_divided, _halves_each_time),
    cases=_cases,
    oracle=_oracle,
    drive=_drive,
)
