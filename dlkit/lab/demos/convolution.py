"""Convolutional networks: small filters used everywhere, so that what is learned here holds there.

    image [1, 20, 20] -> 8 filters 5x5 -> pool -> 32 filters 3x3 -> the largest value anywhere -> 10

Both nets learn digits that stand in the middle of the image, and are asked about digits that do
not. The dense net has a weight for each place; what it has learned holds for that place alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlkit.lab.demos.fitting import count_parameters, fit, repeatable, share_right, small_digits
from dlkit.lab.demos.result import Result
from dlkit.plots.demos import filters_and_maps
from dlkit.plots.style import Picture

MARGIN = 3  # pixels around the digit: room to shift it without losing any of it
SHIFTS = (0, 1, 2, 3, 4)
FILTERS = 8
EPOCHS = 6


@dataclass(frozen=True, eq=False, repr=False)
class Shifted(Result):
    """What a convolutional and a dense net make of shifted digits.

    Attributes:
        filters: ``[8, 5, 5]``, those of the first layer, learned.
        image: ``[20, 20]``, one test digit.
        maps: ``[8, 20, 20]``, what the filters answer to it, after ReLU.
        shifts: In pixels; the digits are 12 pixels wide.
        accuracy: Of "convolutional" and "dense" at each shift, a mean over four directions.
        parameters: How many numbers each of the two has learned.
        equivariance_error: The largest difference between the maps of a shifted image and the
            shifted maps of the image.
    """

    filters: Tensor
    image: Tensor
    maps: Tensor
    shifts: tuple[int, ...]
    accuracy: dict[str, list[float]]
    parameters: dict[str, int]
    equivariance_error: float

    @property
    def summary(self) -> str:
        """Both accuracies in the middle and at the largest shift."""
        parts = [
            f"{name} ({self.parameters[name]:,} parameters) {values[0]:.0%} -> {values[-1]:.0%}"
            for name, values in self.accuracy.items()
        ]
        return f"share right when digits move by {self.shifts[-1]} pixels: " + ", ".join(parts)

    def picture(self) -> Picture:
        """Draw the filters, their maps of one digit, and the accuracy over the shift."""
        return filters_and_maps(
            self.filters.numpy(), self.image.numpy(), self.maps.numpy(), self.shifts, self.accuracy
        )


def shift_digits(seed: int = 0) -> Shifted:
    """Train both nets on digits in the middle, and test them on shifted ones.

    Source: LeCun, Bottou, Bengio and Haffner (1998), "Gradient-based learning applied to document
    recognition".

    Args:
        seed: Of the initial weights and the order of the digits.

    Returns:
        Filters, maps, and accuracies by shift.
    """
    with repeatable(seed):
        images, labels = small_digits()
        test, test_labels = small_digits(train=False)
        images, test = _framed(images), _framed(test)
        side = images.shape[-1]
        nets = {
            "convolutional": nn.Sequential(
                nn.Conv2d(1, FILTERS, 5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(FILTERS, 32, 3, padding=1),
                nn.AdaptiveMaxPool2d(1),
                nn.Flatten(),
                nn.Linear(32, 10),
            ),
            "dense": nn.Sequential(
                nn.Flatten(), nn.Linear(side * side, 64), nn.ReLU(), nn.Linear(64, 10)
            ),
        }
        for net in nets.values():
            fit(net, images, labels, epochs=EPOCHS, batch_size=32, learning_rate=0.005)
        return _shifted(nets, test, test_labels)


@torch.no_grad()
def _shifted(nets: dict[str, nn.Sequential], test: Tensor, labels: Tensor) -> Shifted:
    first = nets["convolutional"][0]
    assert isinstance(first, nn.Conv2d)
    example = test[labels == 4][:1]
    moved = shift(example, 2, dim=3)
    error = (first(moved) - shift(first(example), 2, dim=3)).abs()[..., 4:-4].max()
    return Shifted(
        filters=first.weight[:, 0].clone(),
        image=example[0, 0],
        maps=F.relu(first(example))[0],
        shifts=SHIFTS,
        accuracy={
            name: [_mean_over_directions(net, test, labels, by) for by in SHIFTS]
            for name, net in nets.items()
        },
        parameters={name: count_parameters(net) for name, net in nets.items()},
        equivariance_error=error.item(),
    )


def _mean_over_directions(net: nn.Module, images: Tensor, labels: Tensor, by: int) -> float:
    ways = [(by, 2), (-by, 2), (by, 3), (-by, 3)]
    return sum(share_right(net, shift(images, *way), labels) for way in ways) / len(ways)


def _framed(images: Tensor) -> Tensor:
    return F.pad(images, (MARGIN, MARGIN, MARGIN, MARGIN))


def shift(images: Tensor, by: int, dim: int) -> Tensor:
    """Move images by some pixels along a dimension; what leaves on one side enters on the other.

    >>> shift(torch.arange(4).reshape(1, 1, 1, 4), 1, dim=3).flatten().tolist()
    [3, 0, 1, 2]
    """
    return images.roll(by, dims=dim)
