"""The loss of a classifier and its gradient, for logits of any size."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from dlkit.lab.exercises.contract import Case, Exercise

Rows = list[list[float]]


def softmax_cross_entropy(
    logits: list[list[float]], labels: list[int]
) -> tuple[float, np.ndarray[Any, Any]]:
    z = np.array(logits)
    z -= z.max(axis=1, keepdims=True)
    log_probabilities = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    rows = np.arange(len(z))
    gradient = np.exp(log_probabilities)
    gradient[rows, labels] -= 1
    return -log_probabilities[rows, labels].mean(), gradient / len(z)


def _with_logsumexp(logits: Rows, labels: list[int]) -> Any:
    z = torch.tensor(logits, dtype=torch.float64)
    right = F.one_hot(torch.tensor(labels), z.shape[1])
    loss = (torch.logsumexp(z, 1) - (z * right).sum(1)).mean()
    return loss.item(), (z.softmax(1) - right) / len(z)


def _in_plain_python(logits: Rows, labels: list[int]) -> Any:
    from math import exp, log

    losses, gradient = [], []
    for row, label in zip(logits, labels, strict=True):
        top = max(row)
        total = sum(exp(value - top) for value in row)
        losses.append(log(total) + top - row[label])
        shares = [exp(value - top) / total for value in row]
        gradient.append([(p - (k == label)) / len(labels) for k, p in enumerate(shares)])
    return sum(losses) / len(losses), gradient


def _overflows(logits: Rows, labels: list[int]) -> Any:
    with np.errstate(all="ignore"):
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        rows = np.arange(len(p))
        loss = -np.log(p[rows, labels]).mean()
        p[rows, labels] -= 1
    return loss, p / len(p)


def _gradient_of_the_sum(logits: Rows, labels: list[int]) -> Any:
    loss, gradient = softmax_cross_entropy(logits, labels)
    return loss, gradient * len(labels)


def _forgets_the_label(logits: Rows, labels: list[int]) -> Any:
    loss, gradient = softmax_cross_entropy(logits, labels)
    return loss, gradient + np.eye(len(logits[0]))[labels] / len(labels)


def _sums_the_loss(logits: Rows, labels: list[int]) -> Any:
    loss, gradient = softmax_cross_entropy(logits, labels)
    return loss * len(labels), gradient * len(labels)


def _over_the_batch(logits: Rows, labels: list[int]) -> Any:
    z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    loss = -z.log_softmax(0)[torch.arange(len(labels)), labels].mean()
    return loss.item(), torch.autograd.grad(loss, z)[0]


def _adds_a_small_number(logits: Rows, labels: list[int]) -> Any:
    z = np.array(logits)
    z -= z.max(axis=1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    rows = np.arange(len(p))
    loss = -np.log(p[rows, labels] + 1e-8).mean()
    p[rows, labels] -= 1
    return loss, p / len(p)


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [[0.0, 0.0]], [0]
    yield [[1.0, 2.0, 3.0]], [2]
    yield [[1.0, -1.0], [0.0, 2.0]], [0, 0]
    yield [[1000.0, 0.0]], [0]
    yield [[0.0, 100.0]], [0]
    yield [[-1000.0, -1001.0]], [1]
    for _ in range(15):
        size, classes = rng.randrange(1, 5), rng.randrange(2, 5)
        rows = [[rng.gauss(0, 3) for _ in range(classes)] for _ in range(size)]
        yield rows, [rng.randrange(classes) for _ in range(size)]


def _oracle(logits: Rows, labels: list[int]) -> Any:
    z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    loss = F.cross_entropy(z, torch.tensor(labels))
    return loss.detach(), torch.autograd.grad(loss, z)[0]


def _rows_sum_to_zero(case: Case, got: Any) -> bool:
    return bool(np.abs(np.sum(got[1], axis=1)).max() < 1e-5)


EXERCISE = Exercise(
    level=2,
    reference=softmax_cross_entropy,
    alternatives=(_with_logsumexp, _in_plain_python),
    mistakes=(
        _overflows,
        _gradient_of_the_sum,
        _forgets_the_label,
        _sums_the_loss,
        _over_the_batch,
        _adds_a_small_number,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "finite": lambda case, got: np.isfinite(got[0]) and bool(np.isfinite(got[1]).all()),
        "zero_sum": _rows_sum_to_zero,
    },
)
