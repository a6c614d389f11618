"""The trainer: epochs of steps, measured, saved, and resumed as if nothing had happened.

    for each epoch:  for each batch:  wait -> forward -> loss -> backward -> step
                     validate -> row of the history -> callbacks -> checkpoint

`_train_batches` is the steady state. Everything that can go wrong between two batches (a kill, an
interrupt, an exception) leaves a `Position` behind from which `fit` goes on to the very weights,
bit for bit on a CPU, that an undisturbed run reaches.
"""

import math
import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dlkit.checks import check_positive_int
from dlkit.trainer import setup
from dlkit.trainer.batches import check_loader, steps_in, why_empty
from dlkit.trainer.callbacks import Callback, StepInfo
from dlkit.trainer.checkpoint import check_plain, read_checkpoint, restore_rng, write_checkpoint
from dlkit.trainer.compute import Compute, comparable
from dlkit.trainer.history import History, Row
from dlkit.trainer.interrupt import StepwiseInterrupt
from dlkit.trainer.losses import checked_loss
from dlkit.trainer.metrics import EpochTotals, MetricSet
from dlkit.trainer.position import Position, is_stateful, restore_loader, take_position
from dlkit.trainer.progress import EpochBar
from dlkit.trainer.state import pack_state, unpack_state

_END = object()  # a batch may be anything, so the end of the data is something no batch can be


class Trainer:
    """Train a model on batches `(inputs, targets)`, and keep what is needed to go on.

    Args:
        model: Maps inputs `[N, ...]` to outputs, for classes logits `[N, classes]`. It is moved to
            the device.
        optimizer: An optimizer of the model's parameters, or a function from parameters to one;
            by default SGD with learning rate 0.01 and momentum 0.9.
        scheduler: A learning rate schedule, or a function from an optimizer to one.
        schedule_every: Whether the schedule advances each `"epoch"` or each `"step"`.
        loss_fn: `(outputs, targets)` -> mean over the batch; cross entropy by default.
        device: `"auto"` or `None` for the accelerator if there is one, else any torch device.
        autocast: `None` for float32; `"bf16"`; or `"fp16"` with scaled gradients, on CUDA.
        augment: Function on training inputs, on the device; not used in evaluation.
        metrics: Name -> `torchmetrics.Metric`; accuracy by default.
        callbacks: Objects with the methods of `Callback`.
        checkpoint: File that is replaced after each epoch, and when training is interrupted.
        checkpoint_every: Also after so many steps; needs a loader with `state_dict()`.
        seed: Seeds Python's, NumPy's and torch's generators when training starts.
        progress: Whether to show a bar per epoch (needs tqdm).

    Raises:
        TypeError, ValueError: If an argument is none of the accepted.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> data = TensorDataset(torch.eye(4).repeat(8, 1), torch.arange(4).repeat(8))
        >>> trainer = Trainer(nn.Linear(4, 4), seed=0, device="cpu", progress=False)
        >>> history = trainer.fit(DataLoader(data, batch_size=8), epochs=50)
        >>> trainer.evaluate(DataLoader(data, batch_size=8))["accuracy"]
        1.0
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        optimizer: Optimizer | setup.MakeOptimizer | None = None,
        scheduler: LRScheduler | setup.MakeScheduler | None = None,
        schedule_every: str = "epoch",
        loss_fn: Callable[[Any, Tensor], Tensor] | None = None,
        device: str | torch.device | None = "auto",
        autocast: str | None = None,
        augment: Callable[[Tensor], Tensor] | None = None,
        metrics: Mapping[str, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        seed: int | None = None,
        progress: bool = True,
    ) -> None:
        if schedule_every not in ("epoch", "step"):
            raise ValueError(f"schedule_every must be 'epoch' or 'step', got {schedule_every!r}")
        if checkpoint_every is not None:
            check_positive_int("checkpoint_every", checkpoint_every)
            if checkpoint is None:
                raise ValueError("checkpoint_every needs checkpoint='some/file.pt' to write to")
        self.device = setup.choose_device(device)
        self.model = model.to(self.device)
        self.optimizer = setup.make_optimizer(self.model, optimizer)
        self.scheduler = setup.make_scheduler(self.optimizer, scheduler)
        self.schedule_every = schedule_every
        self.compute = Compute(
            self.model,
            self.optimizer,
            loss_fn if loss_fn is not None else nn.CrossEntropyLoss(),
            self.device,
            setup.check_autocast(autocast, self.device),
            augment,
        )
        self.metrics = MetricSet(metrics, self.device)
        self.callbacks = list(callbacks)
        self.checkpoint = Path(checkpoint) if checkpoint is not None else None
        self.checkpoint_every = checkpoint_every
        self.seed = seed
        self.progress = progress

        self.history = History()
        self.epoch = 0  # epochs that are complete, with their validation
        self.global_step = 0
        self.totals = EpochTotals()  # of the epoch that is under way
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

    def fit(self, train_loader: Any, epochs: int, val_loader: Any = None) -> History:
        """Train until the model has seen a number of epochs.

        Epochs that are done already count, those before `resume` too. So a script that was killed
        goes on with the same call that started it, and `fit(loader, 3)` followed by
        `fit(other_loader, 5)` trains three epochs on the one and two on the other.

        Args:
            train_loader: Yields `(inputs, targets)`, and starts anew at each `iter()`.
            epochs: Number of epochs the history holds in the end.
            val_loader: Evaluated after each epoch if given.

        Returns:
            The history of all epochs, the earlier ones too.

        Raises:
            ValueError, TypeError: If an argument or a batch is none of the accepted.
            NonFiniteLossError: If a batch has a loss of NaN or infinity; the weights are those
                before that batch.
            CheckpointError: If training cannot go on with this loader where it stood.
            KeyboardInterrupt: At the end of the step in which it came; `fit` can go on from there.
        """
        check_positive_int("epochs", epochs)
        check_loader(train_loader, "train_loader")
        if val_loader is not None:
            check_loader(val_loader, "val_loader")
        self._start(train_loader, epochs)
        with StepwiseInterrupt() as interrupt:
            try:
                self._tell("on_fit_start")
                while self.epoch < epochs and self.stop_reason is None:
                    self._run_epoch(train_loader, val_loader, epochs, interrupt)
                self.finished = True
            except BaseException as error:
                self._keep_progress(train_loader, save=isinstance(error, KeyboardInterrupt))
                raise
            finally:
                self._tell("on_fit_end")
        return self.history

    def stop(self, reason: str) -> None:
        """End training after the epoch that is under way.

        Args:
            reason: Kept as `stop_reason`.
        """
        self.stop_reason = reason

    def evaluate(self, loader: Any) -> dict[str, float]:
        """Return the mean loss and the metrics over all samples of a loader.

        Raises:
            ValueError: If the loader gives no batch.
        """
        return self.compute.evaluate(loader, self.metrics.fresh())

    def predict(self, loader: Any) -> Tensor:
        """Return the model's outputs for all samples of a loader, in its order, on the CPU.

        Args:
            loader: Yields inputs, or tuples with inputs in front.

        Returns:
            `[samples, classes]` logits as float32 for a classifier.

        Raises:
            ValueError: If the loader gives no batch.
        """
        return self.compute.predict(loader)

    def save(self, path: str | PathLike[str] | None = None) -> Path:
        """Write a checkpoint: between epochs, after an interrupt, or from a callback.

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
        write_checkpoint(pack_state(self, position), target)
        return target

    def resume(self, path: str | PathLike[str]) -> "Trainer":
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

    # The way of one epoch -----------------------------------------------------------------------

    def _run_epoch(
        self, loader: Any, val_loader: Any, epochs: int, interrupt: StepwiseInterrupt
    ) -> None:
        iterator = self._open_epoch(loader)
        steps = self.totals.steps
        title = f"Epoch {self.epoch + 1}/{epochs}"
        bar = EpochBar(title, steps_in(loader), steps, show=self.progress)
        try:
            if not self._trained:
                self._train_batches(loader, iterator, bar, interrupt)
            del iterator  # its workers have nothing left to do while validation runs
            row = self._row(self.evaluate(val_loader) if val_loader is not None else {})
            bar.finish(row)
        finally:
            bar.close()
        self.history.append(row)
        self.epoch += 1
        self.restart_epoch()
        if self.schedule_every == "epoch":
            setup.advance(self.scheduler, row)
        self._tell("on_epoch_end", row)
        self._position = take_position(loader, mid_epoch=False)
        if self.checkpoint is not None:
            self.save()

    def _train_batches(
        self, loader: Any, iterator: Iterator[Any], bar: EpochBar, interrupt: StepwiseInterrupt
    ) -> None:
        totals = self.totals
        for batch in self._waited_for(iterator):
            started = time.perf_counter()
            self._train_step(batch, loader)
            if self.checkpoint_every and self.global_step % self.checkpoint_every == 0:
                self.save()
            stepped = time.perf_counter()
            totals.work_seconds += stepped - started
            bar.step(totals.mean_loss, totals.samples_per_second, totals.wait_share)
            totals.work_seconds += time.perf_counter() - stepped
            interrupt.raise_if_requested()
        if not totals.steps:
            raise ValueError(f"train_loader gave no batch: {why_empty(loader)}")
        self._trained = True
        self._position = take_position(loader, mid_epoch=False)

    def _waited_for(self, iterator: Iterator[Any]) -> Iterator[Any]:
        while True:
            self._between_batches = False  # inside next() the loader is ahead of the weights
            started = time.perf_counter()
            batch = next(iterator, _END)
            if batch is _END:
                return
            self.totals.wait_seconds += time.perf_counter() - started
            yield batch

    def _train_step(self, batch: Any, loader: Any) -> None:
        self._position = None
        if not self.totals.steps:
            self.totals.lr = float(self.optimizer.param_groups[0]["lr"])
        inputs, targets = self.compute.training_batch(batch)
        loss, outputs = self.compute.forward(inputs, targets)
        info = StepInfo(
            epoch=self.epoch + 1,
            step=self.totals.steps + 1,
            global_step=self.global_step + 1,
            loss=float(loss.detach()) if loss.numel() == 1 else math.nan,
            samples=len(inputs),
            indices=getattr(loader, "last_indices", None),
        )
        checked_loss(loss, info, inputs, targets)
        self.compute.update(loss)
        if self.schedule_every == "step":
            setup.advance(self.scheduler)
        self.totals.add(info.loss, info.samples)
        self.metrics.update(comparable(outputs), targets)
        self.global_step += 1
        self._between_batches = True
        self._tell("on_step_end", info)

    # Between batches ----------------------------------------------------------------------------

    def _start(self, loader: Any, epochs: int) -> None:
        if self.checkpoint_every and not is_stateful(loader):
            raise ValueError(
                f"checkpoint_every={self.checkpoint_every} needs a loader that can go on in the "
                f"middle of an epoch, and {type(loader).__module__}.{type(loader).__qualname__} "
                "has no state_dict(): use dlkit.DataLoader, or checkpoint_every=None for a "
                "checkpoint after each epoch"
            )
        self._loader = loader
        self.finished = False
        if self.epoch >= epochs:
            warnings.warn(
                f"nothing to train: {self.epoch} of epochs={epochs} are done already; "
                f"pass epochs={self.epoch + epochs} for {epochs} more",
                stacklevel=3,
            )
        if self._restore is None:
            self.stop_reason = None
            if self.seed is not None and not self.global_step:
                random.seed(self.seed)
                np.random.seed(self.seed)  # noqa: NPY002  # datasets draw from the global one
                torch.manual_seed(self.seed)
        elif self.stop_reason is not None:
            warnings.warn(
                f"nothing to train: the run stopped because {self.stop_reason}; "
                "set trainer.stop_reason = None to train on",
                stacklevel=3,
            )
        if self.checkpoint is not None:
            # What cannot be saved is better found now than after an epoch of hours.
            check_plain(pack_state(self, Position({}, {})))
            self.checkpoint.parent.mkdir(parents=True, exist_ok=True)

    def _open_epoch(self, loader: Any) -> Iterator[Any]:
        restore, mid_epoch = self._restore, self.in_mid_epoch
        for name in ("sampler", "batch_sampler"):
            set_epoch = getattr(getattr(loader, name, None), "set_epoch", None)
            if set_epoch is not None:  # the ranks of a distributed sampler shuffle by it
                set_epoch(self.epoch)
        if restore is not None:
            restore_loader(loader, restore, mid_epoch=mid_epoch, source=self._source)
            if not mid_epoch:
                restore_rng(restore.rng)
        self._tell("on_epoch_start")
        iterator: Iterator[Any] = iter(()) if self._trained else iter(loader)
        if restore is not None and mid_epoch:
            # Only now: making the iterator, which the undisturbed run did long before this
            # point, draws random numbers too.
            restore_rng(restore.rng)
        self._restore = None
        self.model.train()
        return iterator

    def _keep_progress(self, loader: Any, *, save: bool) -> None:
        """Note where an exception left training, if that is a point from which it can go on."""
        between_epochs = self.epoch > 0 and not self.in_mid_epoch
        if self._position is None and (self._between_batches or between_epochs):
            self._position = take_position(loader, mid_epoch=self.in_mid_epoch)
        if self._position is not None and save and self.checkpoint is not None:
            self.save()
        if self._position is not None and self.in_mid_epoch:
            self._restore, self._source = self._position, "the interrupted run"
        elif self.in_mid_epoch:
            self.restart_epoch()

    def _row(self, validation: dict[str, float]) -> Row:
        totals = self.totals
        train = {"loss": totals.mean_loss, **self.metrics.compute()}
        return {
            "epoch": self.epoch + 1,
            **{f"train_{name}": value for name, value in train.items()},
            **{f"val_{name}": value for name, value in validation.items()},
            "samples_per_second": totals.samples_per_second,
            "wait_share": totals.wait_share,
            "lr": totals.lr,
            "seconds": totals.seconds,
            "batch_size": totals.batch_size,
        }

    def _tell(self, event: str, *details: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *details)
