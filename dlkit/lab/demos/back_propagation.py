"""Back-propagation: the chain rule from the end, by hand, and where gradients die on the way.

    x -> z1 = W1 x + b1 -> h = tanh(z1) -> y = W2 h + b2 -> loss = (y - target)^2 / 2
    dx <- dz1 = dh (1 - h^2)  <- dh = W2' dy <- dy = y - target

Each step back needs only what the step forward has kept. By hand it takes eight lines; autograd
does the same, and differences of the loss check both, at two forward passes a parameter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dlkit.lab.demos.fitting import repeatable
from dlkit.lab.demos.result import Result
from dlkit.plots.demos import gradient_flow
from dlkit.plots.style import Picture

SCALES = (0.5, 1.0, 3.0)
DEPTH, WIDTH = 20, 64
STEP = 1e-5


@dataclass(frozen=True, eq=False, repr=False)
class Flow(Result):
    """Values forward and gradients backward, and the size of gradients in a deep net.

    Attributes:
        values: ``x``, ``h`` and ``y`` of the forward pass.
        gradients: The loss's gradient by ``x``, ``W1``, ``b1``, ``h``, ``W2``, ``b2`` and ``y``.
        loss: A number.
        autograd_error: The largest difference to what autograd computes.
        difference_error: The largest difference to central differences.
        forward_passes: How many those needed.
        norms: For each scale of the weights the gradient's norm at every layer, the first layer
            first, divided by that at the last.
    """

    values: dict[str, Tensor]
    gradients: dict[str, Tensor]
    loss: float
    autograd_error: float
    difference_error: float
    forward_passes: int
    norms: dict[float, list[float]]

    @property
    def summary(self) -> str:
        """Both errors, and what is left of the gradient at the first layer."""
        left = ", ".join(f"{norms[0]:.0e} at {scale}" for scale, norms in self.norms.items())
        return (
            f"by hand and autograd differ by {self.autograd_error:.0e}, by hand and differences "
            f"({self.forward_passes} forward passes) by {self.difference_error:.0e}; gradient left "
            f"after {DEPTH} layers, by the scale of the weights: {left}"
        )

    def picture(self) -> Picture:
        """Draw the small net with values and gradients, and the norms in the deep one."""
        return gradient_flow(
            [self.values[name].tolist() for name in ("x", "h", "y")],
            [self.gradients[name].tolist() for name in ("x", "h", "y")],
            [self.gradients[name].tolist() for name in ("W1", "W2")],
            self.norms,
        )


def gradients_by_hand(seed: int = 0) -> Flow:
    """Compute the gradients of a two-layer net in three ways, and follow them through a deep one.

    Source: Rumelhart, Hinton and Williams (1986), "Learning representations by back-propagating
    errors"; Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward
    neural networks", for the deep net.

    Args:
        seed: Of input and weights.

    Returns:
        Values, gradients, the errors of the comparison, and norms by layer.

    >>> seen = gradients_by_hand()
    >>> seen.autograd_error < 1e-12, seen.difference_error < 1e-8
    (True, True)
    """
    with repeatable(seed):
        x, target = torch.randn(2).double(), torch.ones(1).double()
        weights = {
            "W1": torch.randn(3, 2).double(),
            "b1": torch.randn(3).double(),
            "W2": torch.randn(1, 3).double(),
            "b2": torch.randn(1).double(),
        }
        values, loss = forward(x, target, weights)
        gradients = backward(values, target, weights)
        by_differences = _differences(x, target, weights)
        return Flow(
            values=values,
            gradients=gradients,
            loss=loss.item(),
            autograd_error=_largest_difference(gradients, _autograd(x, target, weights)),
            difference_error=_largest_difference(gradients, by_differences),
            forward_passes=2 * sum(weight.numel() for weight in weights.values()),
            norms={scale: _norms(scale) for scale in SCALES},
        )


def forward(
    x: Tensor, target: Tensor, weights: dict[str, Tensor]
) -> tuple[dict[str, Tensor], Tensor]:
    """Run the net; returns what the way back needs, and the loss."""
    h = torch.tanh(weights["W1"] @ x + weights["b1"])
    y = weights["W2"] @ h + weights["b2"]
    return {"x": x, "h": h, "y": y}, ((y - target) ** 2).sum() / 2


def backward(
    values: dict[str, Tensor], target: Tensor, weights: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return the loss's gradient by everything, from the end to the start, by hand."""
    x, h, y = values["x"], values["h"], values["y"]
    dy = y - target
    dw2, db2 = torch.outer(dy, h), dy
    dh = weights["W2"].T @ dy
    dz1 = dh * (1 - h**2)
    dw1, db1 = torch.outer(dz1, x), dz1
    dx = weights["W1"].T @ dz1
    return {"x": dx, "W1": dw1, "b1": db1, "h": dh, "W2": dw2, "b2": db2, "y": dy}


def _autograd(x: Tensor, target: Tensor, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    _, loss = forward(x, target, leaves)
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def _differences(x: Tensor, target: Tensor, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, weight in weights.items():
        slopes = torch.zeros_like(weight).flatten()
        for place in range(weight.numel()):
            losses = []
            for step in (STEP, -STEP):
                moved = weight.clone()
                moved.view(-1)[place] += step
                losses.append(forward(x, target, weights | {name: moved})[1].item())
            slopes[place] = (losses[0] - losses[1]) / (2 * STEP)
        found[name] = slopes.view_as(weight)
    return found


def _largest_difference(mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    return max((mine[name] - theirs[name]).abs().max().item() for name in theirs)


def _norms(scale: float) -> list[float]:
    """Send a gradient back through a deep net of tanh layers; its norm at each layer's output."""
    state, states = torch.randn(WIDTH, requires_grad=True), []
    for _ in range(DEPTH):
        states.append(state)
        state = torch.tanh(torch.randn(WIDTH, WIDTH) * scale / math.sqrt(WIDTH) @ state)
    states.append(state)
    gradients = torch.autograd.grad(state @ torch.randn(WIDTH), states)
    norms = [gradient.norm().item() for gradient in gradients]
    return [norm / norms[-1] for norm in norms]
