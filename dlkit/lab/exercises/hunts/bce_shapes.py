"""Targets [B] against logits [B, 1]."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

from dlkit.lab.exercises.contract import Case, Exercise
from dlkit.lab.exercises.values import same


def broken(logits: list[float], labels: list[int]) -> float:
    outputs = torch.tensor(logits).unsqueeze(1)  # a model's output: [B, 1]
    targets = torch.tensor(labels)  # a loader's labels: [B]
    return float(functional.binary_cross_entropy_with_logits(outputs, targets))


def bce_shapes(logits: list[float], labels: list[int]) -> float:
    outputs = torch.tensor(logits).unsqueeze(1)
    targets = torch.tensor(labels).float().unsqueeze(1)
    return float(functional.binary_cross_entropy_with_logits(outputs, targets))


def _squeezed(logits: list[float], labels: list[int]) -> Any:
    outputs = torch.tensor(logits).unsqueeze(1)
    loss = functional.binary_cross_entropy_with_logits
    return loss(outputs.squeeze(1), torch.tensor(labels, dtype=torch.float32))


def _by_hand(logits: list[float], labels: list[int]) -> Any:
    losses = [math.log1p(math.exp(-x if y else x)) for x, y in zip(logits, labels, strict=True)]
    return sum(losses) / len(losses)


def _every_pair(logits: list[float], labels: list[int]) -> Any:
    outputs, targets = torch.tensor(logits).unsqueeze(1), torch.tensor(labels).unsqueeze(1)
    signs = 1 - 2 * targets  # a loss of one's own, where both shapes happen to broadcast
    return functional.softplus(outputs.squeeze(1) * signs).mean()


def _broadcast(logits: list[float], labels: list[int]) -> Any:
    outputs, targets = torch.tensor(logits).unsqueeze(1), torch.tensor(labels).float()
    return functional.softplus(outputs * (1 - 2 * targets)).sum() / len(labels)


def _summed(logits: list[float], labels: list[int]) -> Any:
    loss = functional.binary_cross_entropy_with_logits
    return loss(torch.tensor(logits), torch.tensor(labels).float(), reduction="sum")


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [0.0, 2.0], [1, 0]
    yield [-1.0, 0.5, 3.0], [0, 1, 1]
    yield [rng.uniform(-3, 3) for _ in range(6)], [rng.randrange(2) for _ in range(6)]


def _oracle(logits: list[float], labels: list[int]) -> float:
    return float(_by_hand(logits, labels))


def _same(expected: Any, got: Any) -> bool:
    return same(expected, got) or abs(expected - float(got)) < 1e-5


EXERCISE = Exercise(
    level=1,
    reference=bce_shapes,
    broken=broken,
    alternatives=(_squeezed, _by_hand),
    mistakes=(broken, _every_pair, _broadcast, _summed),
    cases=_cases,
    oracle=_oracle,
    same=_same,
)
