"""The way of one epoch: batches, then validation, then the row of the history.

    for each batch:  wait -> forward -> loss -> backward -> step -> sums, callbacks, checkpoint

`_train_batches` is the steady state, and `_train_step` the way of one batch.
"""

import math
import time
from collections.abc import Iterator
from typing import Any

from dlkit.trainer import setup
from dlkit.trainer.batches import steps_in, why_empty
from dlkit.trainer.callbacks import StepInfo
from dlkit.trainer.compute import comparable
from dlkit.trainer.history import Row
from dlkit.trainer.interrupt import StepwiseInterrupt
from dlkit.trainer.losses import checked_loss
from dlkit.trainer.position import take_position
from dlkit.trainer.progress import EpochBar
from dlkit.trainer.run import Run

_END = object()  # a batch may be anything, so the end of the data is something no batch can be


class Loop(Run):
    """A run that trains epoch by epoch."""

    schedule_every: str
    checkpoint_every: int | None
    progress: bool

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
            row = self._row(self._validate(val_loader))
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

    def _validate(self, loader: Any) -> dict[str, float]:
        return {} if loader is None else self.compute.evaluate(loader, self.metrics.fresh())

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
