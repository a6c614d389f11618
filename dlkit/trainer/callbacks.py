"""Callbacks: code of your own that training calls at its turning points.

    on_fit_start
        on_epoch_start
            on_step_end      after each step of the optimizer
        on_epoch_end         after validation, with the epoch's row
    on_fit_end               always, also after an error or an interrupt

A callback reads what it likes from the trainer and may end training with `trainer.stop("why")`.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dlkit.checks import is_real
from dlkit.trainer.history import Row, better_direction

if TYPE_CHECKING:
    from dlkit.trainer.trainer import Trainer


@dataclass(frozen=True)
class StepInfo:
    """What one training step did.

    Args:
        epoch: Counted from 1.
        step: Step within the epoch, counted from 1.
        global_step: Step since the start of training, counted from 1.
        loss: Mean loss over the samples of the step.
        samples: How many this rank learned from in it: a batch, or several with `accumulate`.
        indices: Which samples of the dataset these were, where the loader knows.
    """

    epoch: int
    step: int
    global_step: int
    loss: float
    samples: int
    indices: list[int] | None


class Callback:
    """Base class whose methods do nothing: override the ones you need.

    Example:
        >>> class PrintLoss(Callback):
        ...     def on_epoch_end(self, trainer, row):
        ...         print(f"epoch {row['epoch']}: loss {row['train_loss']:.2f}")
        >>> PrintLoss().on_epoch_end(None, {"epoch": 1, "train_loss": 0.5})
        epoch 1: loss 0.50
    """

    def on_fit_start(self, trainer: "Trainer") -> None:
        """Run before the first epoch of a call of `fit`."""

    def on_epoch_start(self, trainer: "Trainer") -> None:
        """Run before the first batch of an epoch, and when an epoch is resumed in its middle."""

    def on_step_end(self, trainer: "Trainer", step: StepInfo) -> None:
        """Run after the weights were updated."""

    def on_epoch_end(self, trainer: "Trainer", row: Row) -> None:
        """Run after an epoch and its validation, with the epoch's row of the history."""

    def on_fit_end(self, trainer: "Trainer") -> None:
        """Run once at the end of `fit`, whether it finished, failed or was interrupted."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold for this callback to go on as if nothing happened."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""


class EarlyStopping(Callback):
    """End training when a column of the history has stopped getting better.

    Args:
        monitor: Column to watch, such as `"val_loss"` or `"val_accuracy"`.
        patience: How many epochs without improvement to wait for.
        min_delta: Smallest change that counts as an improvement.
        mode: `"min"`, `"max"`, or `"auto"`: smaller is better for a loss, larger for the rest.
        restore_best: Whether to put the weights of the best epoch back at the end.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> EarlyStopping("val_accuracy", patience=5).mode
        'max'
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        patience: int = 3,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = False,
    ) -> None:
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ValueError(f"patience must be a whole number of epochs, 1 or more: {patience!r}")
        if not is_real(min_delta) or not min_delta >= 0:
            raise ValueError(f"min_delta must be 0 or more, got {min_delta!r}")
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.mode = better_direction(monitor, mode)
        self.restore_best = restore_best
        self.best = math.inf if self.mode == "min" else -math.inf
        self.best_epoch = 0
        self.waited = 0
        self.best_weights: dict[str, Tensor] | None = None

    def on_epoch_end(self, trainer: "Trainer", row: Row) -> None:
        """Compare the epoch with the best so far, and stop when patience is used up."""
        if self.monitor not in row:
            raise KeyError(
                f"EarlyStopping monitors {self.monitor!r}, but the epoch has only {list(row)}: "
                "a val_ column needs fit(..., val_loader=...)"
            )
        value = row[self.monitor]
        gain = self.best - value if self.mode == "min" else value - self.best
        if gain > self.min_delta:
            self.best, self.best_epoch, self.waited = value, int(row["epoch"]), 0
            if self.restore_best:
                weights = trainer.model.state_dict()
                self.best_weights = {name: w.detach().clone() for name, w in weights.items()}
            return
        self.waited += 1
        if self.waited >= self.patience:
            trainer.stop(
                f"{self.monitor} has not improved for {self.waited} epochs: "
                f"best {self.best:.6g} in epoch {self.best_epoch}"
            )

    def on_fit_end(self, trainer: "Trainer") -> None:
        """Put the best weights back if asked to, unless training was cut short."""
        # After an interrupt training may go on, and then from the weights where it stood.
        if self.best_weights is not None and trainer.finished:
            trainer.model.load_state_dict(self.best_weights)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, its epoch, the epochs waited and the best weights."""
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "waited": self.waited,
            "best_weights": self.best_weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.best = state["best"]
        self.best_epoch = state["best_epoch"]
        self.waited = state["waited"]
        self.best_weights = state["best_weights"]
