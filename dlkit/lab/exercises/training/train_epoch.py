"""One epoch of training, and a loss that is the mean over its samples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F

from dlkit.lab.exercises.contract import Exercise


def train_epoch(
    model: torch.nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    optimizer: torch.optim.Optimizer,
) -> float:
    model.train()
    total, seen = 0.0, 0
    for x, y in batches:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
        seen += len(x)
    return total / seen


def _with_losses_in_a_list(model: Any, batches: Any, optimizer: Any) -> Any:
    model.train(True)
    losses: list[float] = []
    for x, y in batches:
        model.zero_grad()
        each = ((model(x) - y) ** 2).flatten(1).mean(1)
        each.mean().backward()
        optimizer.step()
        losses += each.tolist()
    return sum(losses) / len(losses)


def _clears_after_the_step(model: Any, batches: Any, optimizer: Any) -> Any:
    model.train()
    total, seen = torch.zeros(()), 0
    optimizer.zero_grad()
    for x, y in batches:
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total += loss.detach() * len(x)
        seen += len(x)
    return float(total / seen)


def _never_clears_gradients(model: Any, batches: Any, optimizer: Any) -> Any:
    model.train()
    total, seen = 0.0, 0
    for x, y in batches:
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total, seen = total + loss.item() * len(x), seen + len(x)
    return total / seen


def _last_loss(model: Any, batches: Any, optimizer: Any) -> Any:
    losses = _losses(model, batches, optimizer)
    return losses[-1][0]


def _mean_over_batches(model: Any, batches: Any, optimizer: Any) -> Any:
    losses = _losses(model, batches, optimizer)
    return sum(loss for loss, _ in losses) / len(losses)


def _losses(model: Any, batches: Any, optimizer: Any) -> list[tuple[float, int]]:
    model.train()
    losses = []
    for x, y in batches:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append((loss.item(), len(x)))
    return losses


def _stays_in_evaluation(model: Any, batches: Any, optimizer: Any) -> Any:
    total, seen = 0.0, 0
    for x, y in batches:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total, seen = total + loss.item() * len(x), seen + len(x)
    return total / seen


def _never_steps(model: Any, batches: Any, optimizer: Any) -> Any:
    model.train()
    total, seen = 0.0, 0
    for x, y in batches:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        total, seen = total + loss.item() * len(x), seen + len(x)
    return total / seen


def _clears_before_the_step(model: Any, batches: Any, optimizer: Any) -> Any:
    model.train()
    total, seen = 0.0, 0
    for x, y in batches:
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()
        total, seen = total + loss.item() * len(x), seen + len(x)
    return total / seen + 0.0


def _keeps_the_graphs(model: Any, batches: Any, optimizer: Any) -> Any:
    model.train()
    total, seen = torch.zeros(()), 0
    for x, y in batches:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total, seen = total + loss * len(x), seen + len(x)
    return total / seen


def _data(sizes: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(sum(sizes), 2, generator=generator)
    y = x @ torch.tensor([[1.0], [-2.0]]) + 0.5
    return list(zip(x.split(sizes), y.split(sizes), strict=True))


def _drive(answer: Any, sizes: list[int]) -> Any:
    model = torch.nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.5, 0.5]]))
        model.bias.zero_()
    model.eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = answer(model, _data(sizes), optimizer)
    holds_graph = isinstance(loss, torch.Tensor) and loss.requires_grad
    return {
        "loss": float(loss),
        "weight": [*model.weight.flatten().tolist(), model.bias.item()],
        "in training mode": model.training,
        "holds a graph": holds_graph,
    }


def _oracle(sizes: list[int]) -> Any:
    """The same in NumPy, with the gradient written out."""
    import numpy as np

    weight, bias, total = np.array([0.5, 0.5]), 0.0, 0.0
    for x, y in ((x.double().numpy(), y.double().numpy()[:, 0]) for x, y in _data(sizes)):
        error = x @ weight + bias - y
        total += float((error**2).sum())
        weight = weight - 0.1 * 2 * error @ x / len(x)
        bias -= 0.1 * 2 * error.mean()
    loss = total / sum(sizes)
    return {
        "loss": loss,
        "weight": [*weight.tolist(), bias],
        "in training mode": True,
        "holds a graph": False,
    }


EXERCISE = Exercise(
    level=1,
    reference=train_epoch,
    alternatives=(_with_losses_in_a_list, _clears_after_the_step),
    mistakes=(
        _never_clears_gradients,
        _last_loss,
        _mean_over_batches,
        _stays_in_evaluation,
        _never_steps,
        _keeps_the_graphs,
    ),
    cases=lambda rng: ((sizes,) for sizes in ([1], [4], [2, 2], [3, 1], [4, 4, 4], [5, 5, 2])),
    drive=_drive,
    oracle=_oracle,
    properties={
        "mode": lambda case, got: got["in training mode"],
        "number": lambda case, got: not got["holds a graph"],
    },
)
