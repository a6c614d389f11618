"""The callback that changes the batch size in training.

schedule: when and to what    sampler: from which batch on    learning rate: with it, or not
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from dlkit import ddp
from dlkit.batch_size.schedules import BatchSizeSchedule
from dlkit.samplers.resizable import ResizableBatchSampler
from dlkit.trainer.callbacks import Callback, StepInfo
from dlkit.trainer.history import Row

if TYPE_CHECKING:
    from dlkit.trainer.trainer import Trainer

_COUPLINGS: dict[str, Callable[[float], float]] = {
    "constant": lambda factor: 1.0,
    "linear": lambda factor: factor,
    "sqrt": math.sqrt,
}


class BatchSizeScheduler(Callback):
    """Changes the batch size of a loader between and within epochs.

    What happens to the learning rate is a choice to be made knowingly. `"constant"` leaves it: then
    a larger batch lowers the noise like a smaller learning rate would (Smith et al. 2018), and this
    takes the place of a decay. `"linear"` multiplies it by the same factor (Goyal et al. 2017, with
    a warm-up): then training should go on as before, in fewer and larger steps. `"sqrt"` multiplies
    it by the root, which is usual for Adam.

    Under DDP every rank runs this callback on its own sampler. The largest wish of all ranks
    counts, and it holds from a batch that no rank has drawn yet, so all change together.

    Args:
        sampler: the loader's `batch_sampler`.
        schedule: when to change it, and to what.
        learning_rate: `"constant"`, `"linear"` or `"sqrt"`.

    Raises:
        TypeError: if `sampler` or `schedule` is something else.
        ValueError: if there is no such coupling.

    Example:
        >>> from dlkit.batch_size import EpochSchedule
        >>> sampler = ResizableBatchSampler(range(100), 10)
        >>> callback = BatchSizeScheduler(sampler, EpochSchedule({2: 20}))
        >>> callback.on_epoch_end(None, {"epoch": 1})
        >>> sampler.batch_size
        20
    """

    def __init__(
        self,
        sampler: ResizableBatchSampler,
        schedule: BatchSizeSchedule,
        *,
        learning_rate: str = "constant",
    ) -> None:
        if not isinstance(sampler, ResizableBatchSampler):
            raise TypeError(f"sampler must be a ResizableBatchSampler, but got {sampler!r}")
        if not isinstance(schedule, BatchSizeSchedule):
            raise TypeError(f"schedule must be a BatchSizeSchedule, but got {schedule!r}")
        if learning_rate not in _COUPLINGS:
            raise ValueError(
                f"learning_rate must be one of {list(_COUPLINGS)}, but got {learning_rate!r}"
            )
        self.sampler = sampler
        self.schedule = schedule
        self.learning_rate = learning_rate
        self.started = False
        self.changes: list[tuple[int, int]] = []  # (steps before, size)

    def on_epoch_start(self, trainer: "Trainer") -> None:
        """Set the size of the first epoch."""
        if not self.started:
            self.started = True
            self._change(trainer, self.schedule.start(self.sampler.batch_size), within=False)

    def on_step_end(self, trainer: "Trainer", step: StepInfo) -> None:
        """Show the gradients to the schedule."""
        size = self.sampler.batch_size
        if type(self.schedule).after_step is BatchSizeSchedule.after_step:
            return
        gradients = [parameter.grad for parameter in trainer.model.parameters()]
        self.schedule.ranks = ddp.current().world_size
        samples = trainer.ranks.all_samples(step.samples)  # this rank may have had none
        self._change(trainer, self.schedule.after_step(size, gradients, samples), within=True)

    def on_epoch_end(self, trainer: "Trainer", row: Row) -> None:
        """Show the epoch to the schedule."""
        wanted = self.schedule.after_epoch(self.sampler.batch_size, row)
        self._change(trainer, wanted, within=False)

    def _change(self, trainer: "Trainer", wanted: int, *, within: bool) -> None:
        before = self.sampler.batch_size
        wanted, first = _agreed(wanted, self.sampler.drawn)
        if wanted == before:
            return
        self.sampler.change(wanted, from_batch=first if within else None)
        self.changes.append((getattr(trainer, "global_step", 0), wanted))
        factor = _COUPLINGS[self.learning_rate](wanted / before)
        if factor != 1.0:
            for group in trainer.optimizer.param_groups:
                group["lr"] *= factor
            scheduler = trainer.scheduler
            if scheduler is not None and hasattr(scheduler, "base_lrs"):
                scheduler.base_lrs = [lr * factor for lr in scheduler.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Return the size, and where the schedule stands."""
        return {
            "batch_size": self.sampler.batch_size,
            "started": self.started,
            "changes": [list(change) for change in self.changes],
            "schedule": self.schedule.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned; the loader's own state has the rest."""
        self.started = state["started"]
        self.changes = [(steps, size) for steps, size in state["changes"]]
        self.schedule.load_state_dict(state["schedule"])
        self.sampler.change(state["batch_size"])


def _agreed(size: int, drawn: int) -> tuple[int, int]:
    """Return the largest wish of all ranks, and a batch that none of them has drawn yet."""
    if ddp.current().world_size == 1:
        return size, drawn
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    numbers = torch.tensor([size, drawn], device=device)
    distributed.all_reduce(numbers, op=distributed.ReduceOp.MAX)
    return int(numbers[0]), int(numbers[1])
