"""Mean and standard deviation of each channel in one pass, exactly, in float64.

    part of the data: n, mean, M2 = sum of squared distances from the mean
    two parts:        d = mean_b - mean_a;  M2 = M2_a + M2_b + d^2 n_a n_b / (n_a + n_b)

Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances"
(1979). The shorter way, mean of squares less square of the mean, subtracts two large numbers and
can lose every digit; averaging the standard deviations of batches is wrong in the first place.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class ChannelStatistics:
    """Count, mean and spread of the values of each channel.

    Attributes:
        count: values in each channel.
        mean: `[channels]`, float64.
        squares: `[channels]`, sums of squared distances from the mean, float64.
        low: `[channels]`, the smallest values.
        high: `[channels]`, the largest values.
    """

    count: int
    mean: Tensor
    squares: Tensor
    low: Tensor
    high: Tensor

    @property
    def std(self) -> Tensor:
        """`[channels]`: the standard deviation over all values, which divides by their number."""
        return (self.squares / self.count).sqrt()

    @classmethod
    def of(cls, images: Tensor) -> Self:
        """Return the statistics of one batch `[N, C, ...]`.

        Raises:
            ValueError: if it has no channels or no values.
        """
        if images.ndim < 2 or not images.numel():
            raise ValueError(f"images must be [N, C, ...] with values, got {list(images.shape)}")
        values = images.detach().transpose(0, 1).reshape(images.shape[1], -1).double().cpu()
        mean = values.mean(1)
        squares = (values - mean[:, None]).square().sum(1)
        return cls(values.shape[1], mean, squares, values.amin(1), values.amax(1))

    def __add__(self, other: "ChannelStatistics") -> "ChannelStatistics":
        if self.mean.shape != other.mean.shape:
            raise ValueError(f"{len(self.mean)} channels do not fit {len(other.mean)} channels")
        count = self.count + other.count
        distance = other.mean - self.mean
        between = distance.square() * (self.count * other.count / count)
        return ChannelStatistics(
            count,
            self.mean + distance * (other.count / count),
            self.squares + other.squares + between,
            torch.minimum(self.low, other.low),
            torch.maximum(self.high, other.high),
        )


def channel_statistics(batches: Iterable[Any]) -> ChannelStatistics:
    """Return mean, standard deviation and range of each channel over all batches.

    Args:
        batches: a loader, or any iterable of batches `[N, C, ...]`, alone or in front of a tuple;
            integers count as they are, 0 to 255 for bytes.

    Raises:
        ValueError: if there is no batch, or channels differ in number.

    Example:
        >>> from dlkit import DataLoader
        >>> from dlkit.datasets import digits
        >>> found = channel_statistics(DataLoader(digits(), batch_size=64))
        >>> round(found.mean.item(), 4), round(found.std.item(), 4), found.count == 1442 * 28 * 28
        (0.2242, 0.314, True)
    """
    total: ChannelStatistics | None = None
    for batch in batches:
        images = batch[0] if isinstance(batch, tuple | list) else batch
        part = ChannelStatistics.of(images)
        total = part if total is None else total + part
    if total is None:
        raise ValueError("batches must hold at least one batch, got none")
    return total
