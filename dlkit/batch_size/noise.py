"""The gradient noise scale: how large a batch can be before more samples tell nothing new.

    g(B) = G + noise,  E|g(B)|^2 = |G|^2 + S / B        B_simple = S / |G|^2

G is the true gradient, S the trace of the covariance of single samples' gradients. Batches far
below B_simple are mostly noise, so twice the batch halves the steps; far above it, twice the batch
saves nothing. McCandlish, Kaplan, Amodei and others, "An Empirical Model of Large-Batch Training"
(2018), section 2.2 and appendix A.1.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from dlkit.checks import check_positive_int


def unbiased(small_square: float, big_square: float, small: int, big: int) -> tuple[float, float]:
    """Return estimates of |G|^2 and S from squared norms of gradients over two batch sizes.

    Args:
        small_square: |g|^2 of a batch of `small` samples; a mean over several is better.
        big_square: |g|^2 of a batch of `big` samples.
        small: samples.
        big: samples, more than `small`.

    Raises:
        ValueError: if `big` is not larger than `small`.

    Example:
        >>> unbiased(small_square=1 + 8 / 2, big_square=1 + 8 / 4, small=2, big=4)
        (1.0, 8.0)
    """
    if not 0 < small < big:
        raise ValueError(f"big must be larger than small, both positive, got {big!r}, {small!r}")
    gradient = (big * big_square - small * small_square) / (big - small)
    return gradient, (small_square - big_square) / (1 / small - 1 / big)


class GradientNoiseScale:
    """Estimates B_simple from the gradients of steps that follow each other.

    Two batches of B samples are also one of 2 B, whose gradient is the mean of the two. The weights
    move between them, by a step: where the learning rate is small that hardly matters, and the
    estimate comes at the price of one copy of the gradient. Both parts are averaged over steps
    before they are divided, for single estimates scatter widely.

    Args:
        decay: of the running means; 0.95 looks back some twenty pairs.

    Raises:
        ValueError: if `decay` is not from 0 to below 1.

    Example:
        >>> scale = GradientNoiseScale()
        >>> scale.add([torch.tensor([3.0, 1.0])], 8)
        >>> scale.add([torch.tensor([3.0, -1.0])], 8)
        >>> round(scale.value, 3)  # |G|^2 = 8, S = 16
        2.0
    """

    def __init__(self, decay: float = 0.95) -> None:
        if not isinstance(decay, float | int) or not 0 <= decay < 1:
            raise ValueError(f"decay must be from 0 to below 1, but got {decay!r}")
        self.decay = decay
        self.pairs = 0
        self._gradient = 0.0  # running means, of |G|^2 and of S
        self._noise = 0.0
        self._waiting: tuple[list[Tensor], int] | None = None

    def add(self, gradients: Iterable[Tensor | None], samples: int) -> None:
        """Take up the gradient of one step: a mean over so many samples, in parts.

        Args:
            gradients: of the parameters; None for one that has none.
            samples: in the batch, over all ranks if the gradient is a mean over ranks.
        """
        check_positive_int("samples", samples)
        parts = [part.detach() for part in gradients if part is not None]
        waiting, self._waiting = self._waiting, None
        fits = waiting is not None and waiting[1] == samples and len(waiting[0]) == len(parts)
        if waiting is None or not fits:  # the first of a pair, or the batch size has changed
            self._waiting = ([part.clone() for part in parts], samples)
            return
        # A gradient from a checkpoint may have come back on another device.
        pairs = [
            (one.to(other.device), other) for one, other in zip(waiting[0], parts, strict=True)
        ]
        small = sum(_square(one) + _square(other) for one, other in pairs) / 2
        big = sum(_square((one + other) / 2) for one, other in pairs)
        gradient, noise = unbiased(small, big, samples, 2 * samples)
        self._gradient = self.decay * self._gradient + (1 - self.decay) * gradient
        self._noise = self.decay * self._noise + (1 - self.decay) * noise
        self.pairs += 1

    @property
    def value(self) -> float:
        """B_simple in samples; infinite where the noise hides the gradient, NaN before a pair."""
        if not self.pairs:
            return float("nan")
        if self._gradient <= 0:
            return float("inf")
        return max(0.0, self._noise / self._gradient)

    def state_dict(self) -> dict[str, Any]:
        """Return the running means, and the gradient that waits for the other one of its pair."""
        return {
            "pairs": self.pairs,
            "gradient": self._gradient,
            "noise": self._noise,
            "waiting": self._waiting,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.pairs, self._waiting = state["pairs"], state["waiting"]
        self._gradient, self._noise = state["gradient"], state["noise"]


def _square(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor.float()).double().square())
