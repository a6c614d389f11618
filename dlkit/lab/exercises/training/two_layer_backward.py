"""Back-propagation through two layers, written out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch

from dlkit.lab.exercises.contract import Case, Exercise

Tensor = torch.Tensor


def two_layer_backward(
    x: torch.Tensor, y: torch.Tensor, w1: torch.Tensor, w2: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    before = x @ w1
    hidden = before.clamp(min=0)
    d_out = 2 * (hidden @ w2 - y) / y.numel()
    d_w2 = hidden.T @ d_out
    d_before = (d_out @ w2.T) * (before > 0)
    return x.T @ d_before, d_w2


def _with_einsum(x: Tensor, y: Tensor, w1: Tensor, w2: Tensor) -> Any:
    hidden = torch.relu(torch.einsum("bi,ih->bh", x, w1))
    error = (hidden @ w2 - y) * (2 / y.numel())
    back = torch.where(hidden > 0, torch.einsum("bo,ho->bh", error, w2), 0.0)
    return torch.einsum("bi,bh->ih", x, back), torch.einsum("bh,bo->ho", hidden, error)


def _sample_by_sample(x: Tensor, y: Tensor, w1: Tensor, w2: Tensor) -> Any:
    d_w1, d_w2 = torch.zeros_like(w1), torch.zeros_like(w2)
    for a, b in zip(x, y, strict=True):
        z = a @ w1
        h = z.relu()
        d = 2 * (h @ w2 - b) / y.numel()
        d_w2 += torch.outer(h, d)
        d_w1 += torch.outer(a, (w2 @ d) * (z > 0))
    return d_w1, d_w2


def _forgets_the_relu(x: Tensor, y: Tensor, w1: Tensor, w2: Tensor) -> Any:
    hidden = (x @ w1).relu()
    d_out = 2 * (hidden @ w2 - y) / y.numel()
    return x.T @ (d_out @ w2.T), hidden.T @ d_out


def _divides_by_the_batch(x: Tensor, y: Tensor, w1: Tensor, w2: Tensor) -> Any:
    d_w1, d_w2 = two_layer_backward(x, y, w1, w2)
    return d_w1 * y.shape[1], d_w2 * y.shape[1]


def _forgets_the_two(x: Tensor, y: Tensor, w1: Tensor, w2: Tensor) -> Any:
    d_w1, d_w2 = two_layer_backward(x, y, w1, w2)
    return d_w1 / 2, d_w2 / 2


def _uses_what_was_before_the_relu(x: Tensor, y: Tensor, w1: Tensor, w2: Tensor) -> Any:
    d_w1, _ = two_layer_backward(x, y, w1, w2)
    d_out = 2 * ((x @ w1).relu() @ w2 - y) / y.numel()
    return d_w1, (x @ w1).T @ d_out


def _walks_uphill(x: Tensor, y: Tensor, w1: Tensor, w2: Tensor) -> Any:
    d_w1, d_w2 = two_layer_backward(x, y, w1, w2)
    return -d_w1, -d_w2


def _masks_the_error(x: Tensor, y: Tensor, w1: Tensor, w2: Tensor) -> Any:
    hidden = (x @ w1).relu()
    d_out = 2 * (hidden @ w2 - y) / y.numel()
    d_out = d_out * (hidden @ w2 > 0)
    return x.T @ ((d_out @ w2.T) * (hidden > 0)), hidden.T @ d_out


def _data(batch: int, inputs: int, hidden: int, outputs: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((batch, inputs), (batch, outputs), (inputs, hidden), (hidden, outputs))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def _drive(answer: Any, batch: int, inputs: int, hidden: int, outputs: int, seed: int) -> Any:
    return answer(*_data(batch, inputs, hidden, outputs, seed))


def _oracle(batch: int, inputs: int, hidden: int, outputs: int, seed: int) -> Any:
    x, y, w1, w2 = _data(batch, inputs, hidden, outputs, seed)
    w1.requires_grad_()
    w2.requires_grad_()
    loss = torch.nn.functional.mse_loss((x @ w1).relu() @ w2, y)
    return torch.autograd.grad(loss, (w1, w2))


def _cases(rng: random.Random) -> Iterator[Case]:
    yield from ((1, 1, 1, 1, seed) for seed in range(4))
    yield from ((2, 3, 4, 1, seed) for seed in range(3))
    yield from ((4, 2, 5, 3, seed) for seed in range(6))


EXERCISE = Exercise(
    level=2,
    reference=two_layer_backward,
    alternatives=(_with_einsum, _sample_by_sample),
    mistakes=(
        _forgets_the_relu,
        _divides_by_the_batch,
        _forgets_the_two,
        _uses_what_was_before_the_relu,
        _walks_uphill,
        _masks_the_error,
    ),
    cases=_cases,
    drive=_drive,
    oracle=_oracle,
    properties={
        "shapes": lambda case, got: (
            got[0].shape == (case[1], case[2]) and got[1].shape == (case[2], case[3])
        ),
    },
)
