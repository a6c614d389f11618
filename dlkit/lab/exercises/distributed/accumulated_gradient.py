"""The gradient of a large batch from micro-batches that fit into memory."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from dlkit.lab.exercises.contract import Case, Exercise

Tensor = torch.Tensor


def accumulated_gradient(
    weight: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor, sizes: list[int]
) -> torch.Tensor:
    weight = weight.clone().requires_grad_()
    for x, y in zip(inputs.split(sizes), targets.split(sizes), strict=True):
        loss = F.mse_loss(x @ weight, y) * len(x) / len(inputs)
        loss.backward()
    assert weight.grad is not None
    return weight.grad


def _with_sums(weight: Tensor, inputs: Tensor, targets: Tensor, sizes: list[int]) -> Any:
    weight = weight.clone().requires_grad_()
    for x, y in zip(inputs.split(sizes), targets.split(sizes), strict=True):
        F.mse_loss(x @ weight, y, reduction="sum").backward()
    return weight.grad / len(inputs) if weight.grad is not None else None


def _by_hand(weight: Tensor, inputs: Tensor, targets: Tensor, sizes: list[int]) -> Any:
    gradient, start = torch.zeros_like(weight), 0
    for size in sizes:
        x, y = inputs[start : start + size], targets[start : start + size]
        gradient += 2 * x.T @ (x @ weight - y)
        start += size
    return gradient / len(inputs)


def _all_gradients(weight: Tensor, inputs: Tensor, targets: Tensor, sizes: list[int]) -> Any:
    gradients: list[Tensor] = []
    for x, y in zip(inputs.split(sizes), targets.split(sizes), strict=True):
        w = weight.clone().requires_grad_()
        gradients += torch.autograd.grad(F.mse_loss(x @ w, y), w)
    return gradients


def _does_not_divide(weight: Tensor, inputs: Tensor, targets: Tensor, sizes: list[int]) -> Any:
    return sum(_all_gradients(weight, inputs, targets, sizes))


def _divides_by_the_steps(weight: Tensor, inputs: Tensor, targets: Tensor, sizes: list[int]) -> Any:
    return sum(_all_gradients(weight, inputs, targets, sizes)) / len(sizes)


def _keeps_the_last(weight: Tensor, inputs: Tensor, targets: Tensor, sizes: list[int]) -> Any:
    return _all_gradients(weight, inputs, targets, sizes)[-1] * sizes[-1] / len(inputs)


def _steps_in_between(weight: Tensor, inputs: Tensor, targets: Tensor, sizes: list[int]) -> Any:
    total = torch.zeros_like(weight)
    for x, y in zip(inputs.split(sizes), targets.split(sizes), strict=True):
        (gradient,) = _all_gradients(weight, x, y, [len(x)])
        weight = weight - 0.1 * gradient
        total += gradient * len(x) / len(inputs)
    return total


def _divides_by_the_first_size(
    weight: Tensor, inputs: Tensor, targets: Tensor, sizes: list[int]
) -> Any:
    gradients = _all_gradients(weight, inputs, targets, sizes)
    return sum(g * sizes[0] for g in gradients) / len(inputs)


def _drive(answer: Any, sizes: list[int], seed: int) -> Any:
    return answer(*_data(sum(sizes), seed), sizes)


def _data(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight, inputs = torch.randn(3, generator=generator), torch.randn(n, 3, generator=generator)
    return weight, inputs, torch.randn(n, generator=generator)


def _oracle(sizes: list[int], seed: int) -> Any:
    weight, inputs, targets = _data(sum(sizes), seed)
    weight.requires_grad_()
    return torch.autograd.grad(F.mse_loss(inputs @ weight, targets), weight)[0]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [1], 0
    yield [2, 2], 0
    yield [2, 1], 0
    yield [1, 3], 1
    for seed in range(12):
        yield [rng.randrange(1, 5) for _ in range(rng.randrange(1, 5))], seed


EXERCISE = Exercise(
    level=2,
    reference=accumulated_gradient,
    alternatives=(_with_sums, _by_hand),
    mistakes=(
        _does_not_divide,
        _divides_by_the_steps,
        _keeps_the_last,
        _steps_in_between,
        _divides_by_the_first_size,
    ),
    cases=_cases,
    drive=_drive,
    oracle=_oracle,
    picture="target",
)
