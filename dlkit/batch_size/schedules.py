"""When to change the batch size, and to what.

Smith, Kindermans, Ying and Le, "Don't Decay the Learning Rate, Increase the Batch Size" (2018):
what counts for the noise of SGD is learning rate / batch size. So growing the batch by a factor, at
the same learning rate, does what dividing the learning rate by it would do, in fewer updates.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dlkit.batch_size.noise import GradientNoiseScale
from dlkit.batch_size.probe import check_probe, largest_batch_size
from dlkit.checks import check_positive_int, is_real

if TYPE_CHECKING:
    from dlkit.trainer.history import Row


class BatchSizeSchedule:
    """Base class: a schedule says what the next batch size is, after a step or an epoch.

    Attributes:
        ranks: how many ranks there are, each with a batch of that size; set in training.
    """

    ranks = 1

    def start(self, size: int) -> int:
        """Return the size for the first epoch, given what the sampler has."""
        return size

    def after_step(self, size: int, gradients: Any, samples: int) -> int:
        """Return the size from here on, after a step with these gradients.

        Args:
            size: of the batches of this rank now.
            gradients: of the parameters, over all ranks; None for one that has none.
            samples: that the gradients are a mean over, of all ranks together.
        """
        return size

    def after_epoch(self, size: int, row: "Row") -> int:
        """Return the size from here on, after an epoch with this row of the history."""
        return size

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold of this schedule."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""


class EpochSchedule(BatchSizeSchedule):
    """Sizes that are written down.

    Args:
        sizes: from an epoch, counted from 1, to the batch size from then on.

    Raises:
        ValueError: if there is no size, or one or an epoch is no positive integer.

    Example:
        >>> schedule = EpochSchedule({1: 32, 4: 128})
        >>> schedule.start(16), schedule.after_epoch(32, {"epoch": 3})
        (32, 128)
    """

    def __init__(self, sizes: Mapping[int, int]) -> None:
        if not isinstance(sizes, Mapping) or not sizes:
            raise ValueError(f"sizes must map epochs to batch sizes, but got {sizes!r}")
        for epoch, size in sizes.items():
            check_positive_int("each epoch of sizes", epoch)
            check_positive_int("each batch size of sizes", size)
        self.sizes = dict(sorted(sizes.items()))

    def start(self, size: int) -> int:
        """Return the size of epoch 1."""
        return self.sizes.get(1, size)

    def after_epoch(self, size: int, row: "Row") -> int:
        """Return the size of the next epoch."""
        return self.sizes.get(int(row["epoch"]) + 1, size)


class PlateauSchedule(BatchSizeSchedule):
    """Larger batches when a column of the history has stopped getting better.

    Args:
        monitor: column to watch.
        factor: how much larger, a whole number from 2.
        patience: epochs without improvement to wait for.
        min_delta: smallest change that counts as an improvement.
        largest: batch size that is not exceeded.
        mode: `"min"`, `"max"`, or `"auto"`: smaller is better for a loss, larger for the rest.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> schedule = PlateauSchedule("val_loss", patience=1, largest=512)
        >>> [schedule.after_epoch(32, {"epoch": e, "val_loss": v}) for e, v in enumerate([2, 1, 1])]
        [32, 32, 64]
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        factor: int = 2,
        patience: int = 2,
        min_delta: float = 0.0,
        largest: int = 4096,
        mode: str = "auto",
    ) -> None:
        from dlkit.trainer.history import better_direction  # the trainer imports this module

        for name, value in (("factor", factor), ("patience", patience), ("largest", largest)):
            check_positive_int(name, value)
        if factor < 2:
            raise ValueError(f"factor must be 2 or more, but got {factor!r}")
        if not is_real(min_delta) or not min_delta >= 0:
            raise ValueError(f"min_delta must be 0 or more, but got {min_delta!r}")
        self.monitor, self.factor, self.patience = monitor, factor, patience
        self.min_delta, self.largest = min_delta, largest
        self.mode = better_direction(monitor, mode)
        self.best = math.inf
        self.waited = 0

    def after_epoch(self, size: int, row: "Row") -> int:
        """Compare the epoch with the best so far."""
        if self.monitor not in row:
            raise KeyError(
                f"PlateauSchedule monitors {self.monitor!r}, but the epoch has only {list(row)}: "
                "a val_ column needs fit(..., val_loader=...)"
            )
        value = row[self.monitor] if self.mode == "min" else -row[self.monitor]
        if self.best - value > self.min_delta:
            self.best, self.waited = value, 0
            return size
        self.waited += 1
        if self.waited < self.patience:
            return size
        self.waited = 0
        return max(size, min(size * self.factor, self.largest))

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and how long it was."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.best, self.waited = state["best"], state["waited"]


class NoiseScaleSchedule(BatchSizeSchedule):
    """Batches as large as the gradient noise scale, which grows while the loss falls.

    On several ranks it is their batches together that are as large; sizes are those of one rank.

    Args:
        smallest: batch size that is not gone below.
        largest: batch size that is not exceeded.
        every: steps between two changes.
        scale: where the noise scale is estimated.

    Raises:
        ValueError: if a number is no positive integer, or `largest` is below `smallest`.

    Example:
        >>> schedule = NoiseScaleSchedule(smallest=16, largest=1024)
        >>> schedule.wanted(100.0), schedule.wanted(5.0), schedule.wanted(float("inf"))
        (64, 16, 1024)
    """

    def __init__(
        self,
        *,
        smallest: int,
        largest: int,
        every: int = 50,
        scale: GradientNoiseScale | None = None,
    ) -> None:
        for name, value in (("smallest", smallest), ("largest", largest), ("every", every)):
            check_positive_int(name, value)
        if largest < smallest:
            raise ValueError(f"largest must be {smallest} or more, but got {largest}")
        self.smallest, self.largest, self.every = smallest, largest, every
        self.scale = GradientNoiseScale() if scale is None else scale
        self.steps = 0

    def wanted(self, noise_scale: float) -> int:
        """Return the batch size for a noise scale: a power of two times `smallest`, within bounds.

        Powers of two, so that the size does not change with each small change of the estimate.
        """
        if math.isnan(noise_scale):
            return self.smallest
        ratio = min(max(noise_scale, self.smallest), self.largest) / self.smallest
        return min(self.smallest << int(math.log2(ratio)), self.largest)

    def after_step(self, size: int, gradients: Any, samples: int) -> int:
        """Take up a gradient, and answer after each `every` steps."""
        self.scale.add(gradients, samples)
        self.steps += 1
        if self.steps % self.every or not self.scale.pairs:
            return size
        return self.wanted(self.scale.value / self.ranks)

    def state_dict(self) -> dict[str, Any]:
        """Return the estimate and the number of steps."""
        return {"steps": self.steps, "scale": self.scale.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.steps = state["steps"]
        self.scale.load_state_dict(state["scale"])


class MemorySchedule(BatchSizeSchedule):
    """The largest batch that fits into the device's memory, found before the first epoch.

    A run that is resumed goes on with the size that was found, and does not try again.

    Args:
        step: does one whole training step with a batch of that many samples, and changes nothing
            that training depends on: `dlkit.trainer.trial_step` makes one.
        share: of what fits, to be used. Memory is fragmented differently in a long run, and under
            DDP the gradients have a second copy.
        smallest: where to start; it must fit.
        largest: batch size that is not exceeded.
        host_bytes: bytes of the host's memory that a step may take, where training runs on the CPU.

    Raises:
        TypeError: if `step` cannot be called.
        ValueError: if `share` is not above 0 and at most 1, a number is no positive integer, or
            `largest` is below `smallest`.

    Example:
        >>> def step(samples):
        ...     if samples > 100:
        ...         raise MemoryError("out of memory")
        >>> schedule = MemorySchedule(step)
        >>> schedule.start(16), schedule.found
        (90, 100)
    """

    def __init__(
        self,
        step: Callable[[int], object],
        *,
        share: float = 0.9,
        smallest: int = 1,
        largest: int = 65_536,
        host_bytes: int | None = None,
    ) -> None:
        check_probe(step, smallest, largest, host_bytes)
        if not isinstance(share, float | int) or not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, but got {share!r}")
        self.step, self.share = step, share
        self.smallest, self.largest, self.host_bytes = smallest, largest, host_bytes
        self.found: int | None = None

    def start(self, size: int) -> int:
        """Try batches of growing size, unless that was done already.

        Raises:
            MemoryError: if `smallest` does not fit.
        """
        if self.found is None:
            self.found = largest_batch_size(
                self.step,
                smallest=self.smallest,
                largest=self.largest,
                host_bytes=self.host_bytes,
            )
        return max(self.smallest, int(self.found * self.share))

    def state_dict(self) -> dict[str, Any]:
        """Return the largest size that fitted; None before it is known."""
        return {"found": self.found}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.found = state["found"]
