"""Where a run stands, and how it goes on from there after anything that stops it.

    between two batches:   weights, sums, loader and random generators agree  ->  Position
    save:    Position + state  ->  file            resume:  file  ->  Position + state

Inside a step they do not agree: the loader is one batch ahead of the weights. So a run that fails
there falls back to the last point it noted, or to the beginning of the epoch.
"""

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Self

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dlkit.trainer.callbacks import Callback
from dlkit.trainer.checkpoint import read_checkpoint, restore_rng, write_checkpoint
from dlkit.trainer.compute import Compute
from dlkit.trainer.history import History
from dlkit.trainer.metrics import EpochTotals, MetricSet
from dlkit.trainer.position import Position, restore_loader, take_position
from dlkit.trainer.state import pack_state, unpack_state
from dlkit.transforms.seeded import set_epoch as tell_epoch


class Run:
    """The state of a training run, with what saves it and takes it up.

    Args:
        compute: The model, its optimizer, and how they work on a batch.
        scheduler: The optimizer's schedule, if it has one.
        metrics: Sums over the epoch that is under way.
        callbacks: Told of every event.
        checkpoint: File to save to, if any.
    """

    def __init__(
        self,
        compute: Compute,
        scheduler: LRScheduler | None,
        metrics: MetricSet,
        callbacks: list[Callback],
        checkpoint: Path | None,
    ) -> None:
        self.compute = compute
        self.ranks = compute.ranks
        self.model: nn.Module = compute.model
        self.optimizer: Optimizer = compute.optimizer
        self.scheduler = scheduler
        self.metrics = metrics
        self.callbacks = callbacks
        self.checkpoint = checkpoint

        self.history = History()
        self.epoch = 0  # epochs that are complete, with their validation
        self.global_step = 0
        self.samples_trained = 0  # of all ranks, each as often as it was learned from
        self.totals = EpochTotals()  # of the epoch that is under way
        self.resumed_ranks = 0  # ranks that wrote the checkpoint which was taken up, if one was
        self.finished = False  # whether the last fit came to its end
        self.stop_reason: str | None = None
        self._trained = False  # the epoch's batches are used up, its validation is to come
        self._between_batches = False  # weights, sums and loader agree on where they stand
        self._position: Position | None = None  # that point, once it was noted
        self._restore: Position | None = None  # where the next fit goes on
        self._source = "the interrupted run"  # what an error about it is to name
        self._loader: Any = None

    @property
    def in_mid_epoch(self) -> bool:
        """Whether an epoch is under way, or was when training was cut short."""
        return self.totals.steps > 0

    def stop(self, reason: str) -> None:
        """End training after the epoch that is under way.

        Args:
            reason: Kept as `stop_reason`.
        """
        self.stop_reason = reason

    def save(self, path: str | PathLike[str] | None = None) -> Path:
        """Write a checkpoint: between epochs, after an interrupt, or from a callback.

        On several ranks all of them must call it; rank 0 writes.

        Args:
            path: Where to, by default the trainer's `checkpoint`.

        Returns:
            The file's path.

        Raises:
            ValueError: If there is no path, or the loader cannot note its place in mid-epoch.
            CheckpointError: If the state is not plain data.
            OSError: If the file cannot be written; an older one stays as it was.
        """
        target = Path(path) if path is not None else self.checkpoint
        if target is None:
            raise ValueError("path must be given to a Trainer that was made without a checkpoint")
        position = self._position or self._restore
        if position is None:
            position = take_position(self._loader, mid_epoch=self.in_mid_epoch)
        if position is None:
            raise ValueError(
                f"cannot save in the middle of an epoch: {type(self._loader).__name__} has no "
                "state_dict(); use dlkit.DataLoader, or save between two epochs"
            )
        state = pack_state(self, position)
        if self.ranks.place.is_first:
            write_checkpoint(state, target)
        return target

    def resume(self, path: str | PathLike[str]) -> Self:
        """Take up a checkpoint, so that the next `fit` goes on exactly where it was made.

        Model, optimizer, schedule, metrics and callbacks must be made as they were; the loader is
        compared when it is passed to `fit`. After an error the trainer is as it was before.

        Returns:
            The trainer itself.

        Raises:
            FileNotFoundError: If there is no such file.
            CheckpointError: If it is damaged, or belongs to another model or optimizer.
        """
        file = Path(path)
        self._restore = unpack_state(self, read_checkpoint(file), file)
        self._position = None
        self._source = f"checkpoint {file}"
        return self

    def restart_epoch(self) -> None:
        """Forget where in an epoch training stands: the next `fit` starts it with its first batch.

        The weights stay. This lets training go on with another loader, in mid-epoch too.
        """
        self.totals = EpochTotals()
        self.metrics.reset()
        self._trained = False
        self._position = self._restore = None

    def _open_epoch(self, loader: Any) -> Iterator[Any]:
        restore, mid_epoch = self._restore, self.in_mid_epoch
        for name in ("sampler", "batch_sampler"):
            set_epoch = getattr(getattr(loader, name, None), "set_epoch", None)
            if set_epoch is not None:  # the ranks of a distributed sampler shuffle by it
                set_epoch(self.epoch)
        tell_epoch(getattr(loader, "dataset", None), self.epoch)  # for its random transforms
        if restore is not None:
            restore_loader(loader, restore, mid_epoch=mid_epoch, source=self._source)
            if not mid_epoch:
                restore_rng(restore.rng)
        self._tell("on_epoch_start")
        iterator: Iterator[Any] = iter(()) if self._trained else iter(loader)
        self.ranks.begin_pass(loader)
        if restore is not None and mid_epoch:
            # Only now: making the iterator, which the undisturbed run did long before this
            # point, draws random numbers too.
            restore_rng(restore.rng)
        self._restore = None
        self.model.train()
        return iterator

    def _keep_progress(self, loader: Any, *, save: bool) -> None:
        """Note where an exception left training, if that is a point from which it can go on."""
        if self._restore is not None:
            return  # it did not get as far as going on, so it may be tried again from there
        between_epochs = self.epoch > 0 and not self.in_mid_epoch
        if self._position is None and (self._between_batches or between_epochs):
            self._position = take_position(loader, mid_epoch=self.in_mid_epoch)
        if self._position is not None and save and self.checkpoint is not None:
            self.save()
        if self._position is not None and self.in_mid_epoch:
            self._restore, self._source = self._position, "the interrupted run"
        elif self.in_mid_epoch:
            self.restart_epoch()

    def _tell(self, event: str, *details: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *details)
