"""What deep learning is: layers that bend the data until a straight line separates it.

    x [2] -> linear, tanh [16] -> linear, tanh [16] -> linear, tanh [2] -> one line

No line separates two spirals. The net's last layer is nothing but a line, too: it works because the
layers before it have moved the points. Without a nonlinearity between them they cannot: a chain of
linear maps is one linear map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlkit.lab.demos.fitting import repeatable
from dlkit.lab.demos.result import Result
from dlkit.plots.demos import two_spirals
from dlkit.plots.style import Picture

WIDTH = 16
STEPS = 400
SIDE = 3.0
CELLS = 60


@dataclass(frozen=True, eq=False, repr=False)
class Spirals(Result):
    """What a linear model, a deep linear one and a deep one make of two spirals.

    Attributes:
        points: ``[n, 2]``, held out of training.
        labels: ``[n]``, 0 or 1.
        accuracy: Of "linear", "deep, no nonlinearity" and "deep" on these points.
        surfaces: Of "linear" and "deep" the probability of class 1 on a grid,
            ``[CELLS, CELLS]``, x and y from -SIDE to SIDE.
        hidden: ``[n, 2]``, where the last hidden layer of the deep net puts each point.
        line: ``[3]``: a, b and c of the line a x + b y + c = 0 that it draws there.
    """

    points: Tensor
    labels: Tensor
    accuracy: dict[str, float]
    surfaces: dict[str, Tensor]
    hidden: Tensor
    line: Tensor

    @property
    def summary(self) -> str:
        """The three accuracies."""
        return "share right: " + ", ".join(f"{n} {a:.0%}" for n, a in self.accuracy.items())

    def picture(self) -> Picture:
        """Draw both surfaces, and the points as the last hidden layer has them."""
        return two_spirals(
            self.points.numpy(),
            self.labels.numpy(),
            {name: surface.numpy() for name, surface in self.surfaces.items()},
            SIDE,
            self.hidden.numpy(),
            self.line.tolist(),
            self.accuracy,
        )


def separate_spirals(seed: int = 0, n: int = 200) -> Spirals:
    """Train three models on two spirals.

    Source: LeCun, Bengio and Hinton (2015), "Deep learning", Nature 521; the spirals are Lang and
    Witbrock's (1988), "Learning to tell two spirals apart".

    Args:
        seed: Of the points and of the initial weights.
        n: Points of each class, in training and held out.

    Returns:
        The models' accuracies, and how the deep one sees the points.

    >>> seen = separate_spirals()
    >>> seen.accuracy["deep"] > seen.accuracy["linear"] + 0.2
    True
    """
    with repeatable(seed):
        points, labels = spirals(n)
        held_out, held_out_labels = spirals(n)
        models = {
            "linear": nn.Sequential(nn.Linear(2, 1)),
            "deep, no nonlinearity": _deep(nn.Identity),
            "deep": _deep(nn.Tanh),
        }
        for model in models.values():
            _train(model, points, labels)
        return _seen(models, held_out, held_out_labels)


def spirals(n: int) -> tuple[Tensor, Tensor]:
    """Draw `n` points of each of two spirals; returns points ``[2 n, 2]`` and labels ``[2 n]``."""
    angle = 0.5 * math.pi + 1.5 * math.pi * torch.rand(2 * n)
    labels = torch.arange(2 * n) % 2
    turned = angle + math.pi * labels
    radius = (angle / (2 * math.pi)) * (SIDE - 0.5)
    points = radius[:, None] * torch.stack([turned.cos(), turned.sin()], dim=1)
    return points + 0.1 * torch.randn(2 * n, 2), labels


def _deep(activation: type[nn.Module]) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2, WIDTH),
        activation(),
        nn.Linear(WIDTH, WIDTH),
        activation(),
        nn.Linear(WIDTH, 2),
        activation(),
        nn.Linear(2, 1),
    )


def _train(model: nn.Module, points: Tensor, labels: Tensor) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(STEPS):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(model(points)[:, 0], labels.float()).backward()
        optimizer.step()


@torch.no_grad()
def _seen(models: dict[str, nn.Sequential], points: Tensor, labels: Tensor) -> Spirals:
    axis = torch.linspace(-SIDE, SIDE, CELLS)
    grid = torch.cartesian_prod(axis, axis).flip(dims=[1])  # rows of the picture are y
    deep = models["deep"]
    last = deep[-1]
    assert isinstance(last, nn.Linear)
    return Spirals(
        points=points,
        labels=labels,
        accuracy={
            name: ((model(points)[:, 0] > 0) == labels.bool()).double().mean().item()
            for name, model in models.items()
        },
        surfaces={
            name: torch.sigmoid(models[name](grid)).reshape(CELLS, CELLS)
            for name in ("linear", "deep")
        },
        hidden=deep[:-1](points),
        line=torch.cat([last.weight[0], last.bias]),
    )
