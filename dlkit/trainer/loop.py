"""The way of one epoch: batches, then validation, then the row of the history.

    for each step:  wait -> forward -> loss -> backward -> step -> sums, callbacks, checkpoint

`_train_batches` is the steady state, and `_train_step` the way of one step. A step takes one batch,
or `accumulate` of them whose gradients are added up; on several ranks each has batches of its own.
"""

import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from dlkit.ddp.uneven import count_samples
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


class Loaded(NamedTuple):
    """A batch, and the dataset indices of its samples where the loader knows them."""

    batch: Any
    indices: list[int] | None


_END = object()  # a batch may be anything, so the end of the data is something no batch can be


class Loop(Run):
    """A run that trains epoch by epoch."""

    schedule_every: str
    checkpoint_every: int | None
    progress: bool
    accumulate: int

    def _run_epoch(
        self, loader: Any, val_loader: Any, epochs: int, interrupt: StepwiseInterrupt
    ) -> None:
        iterator = self._open_epoch(loader)
        steps = self.totals.steps
        title = f"Epoch {self.epoch + 1}/{epochs}"
        total = steps_in(loader)
        total = None if total is None else -(-total // self.accumulate)
        bar = EpochBar(title, total, steps, show=self.progress and self.ranks.place.is_first)
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
        self.stop_reason = self.ranks.agree_on_stop(self.stop_reason)
        self._position = take_position(loader, mid_epoch=False)
        if self.checkpoint is not None:
            self.save()

    def _train_batches(
        self, loader: Any, iterator: Iterator[Any], bar: EpochBar, interrupt: StepwiseInterrupt
    ) -> None:
        totals = self.totals
        for batches in self._waited_for(iterator, loader, interrupt):
            started = time.perf_counter()
            self._train_step(batches)
            if self.checkpoint_every and self.global_step % self.checkpoint_every == 0:
                self.save()
            stepped = time.perf_counter()
            totals.work_seconds += stepped - started
            bar.step(totals.mean_loss, totals.samples_per_second, totals.wait_share)
            totals.work_seconds += time.perf_counter() - stepped
            # Ranks must stop after the same step, so they do after one that all knew it before.
            if not self.ranks.several or self.ranks.interrupted:
                interrupt.raise_if_requested(at_once=self.ranks.interrupted)
        if not totals.steps:
            raise ValueError(f"train_loader gave no batch: {why_empty(loader)}")
        self._trained = True
        self._position = take_position(loader, mid_epoch=False)

    def _waited_for(
        self, iterator: Iterator[Any], loader: Any, interrupt: StepwiseInterrupt
    ) -> Iterator[list[Loaded]]:
        """Yield the batches of each step; an empty list where only other ranks have some."""
        while True:
            self._between_batches = False  # inside next() the loader is ahead of the weights
            started = time.perf_counter()
            batches = self._next_batches(iterator, loader)
            waited = time.perf_counter() - started
            of_all = [loaded.batch for loaded in batches]
            if not self.ranks.agree(of_all, interrupted=interrupt.requested):
                return
            self.totals.wait_seconds += waited
            yield batches

    def _next_batches(self, iterator: Iterator[Any], loader: Any) -> list[Loaded]:
        batches: list[Loaded] = []
        while len(batches) < self.accumulate:
            batch = next(iterator, _END)
            if batch is _END:
                break
            batches.append(Loaded(batch, getattr(loader, "last_indices", None)))
        return batches

    def _train_step(self, batches: list[Loaded]) -> None:
        self._position = None
        if not self.totals.steps:
            self.totals.lr = float(self.optimizer.param_groups[0]["lr"])
        self.optimizer.zero_grad()
        loss_sum, samples = 0.0, 0
        of_step = sum(count_samples(loaded.batch) for loaded in batches)
        for place, loaded in enumerate(batches, 1):
            with self.ranks.collecting(last=place == len(batches)):
                loss, inputs = self._learn_from(loaded, of_step)
            loss_sum += loss * inputs
            samples += inputs
        if not batches:
            self.compute.take_part(self.ranks.stand_in())
        self.compute.update()
        if self.schedule_every == "step":
            setup.advance(self.scheduler)
        everybody = self.ranks.all_samples(samples)
        mean = loss if len(batches) == 1 else loss_sum / max(samples, 1)
        self.totals.add(mean, samples, everybody)
        self.samples_trained += everybody
        self.global_step += 1
        self._between_batches = True
        indices = [loaded.indices for loaded in batches]
        known = [index for some in indices if some is not None for index in some]
        told = None if None in indices else known
        self._tell("on_step_end", self._step_info(mean, samples, told, done=True))

    def _learn_from(self, loaded: Loaded, of_step: int) -> tuple[float, int]:
        """Add the gradient of one batch; return its mean loss and its samples."""
        inputs, targets = self.compute.training_batch(loaded.batch)
        loss, outputs = self.compute.forward(inputs, targets, training=True)
        value = float(loss.detach()) if loss.numel() == 1 else math.nan
        info = self._step_info(value, len(inputs), loaded.indices, done=False)
        checked_loss(loss, info, inputs, targets)
        self.compute.backward(loss, self.ranks.weight(len(inputs), of_step))
        self.metrics.update(comparable(outputs), targets)
        return value, len(inputs)

    def _step_info(
        self, loss: float, samples: int, indices: list[int] | None, *, done: bool
    ) -> StepInfo:
        ahead = 0 if done else 1
        return StepInfo(
            epoch=self.epoch + 1,
            step=self.totals.steps + ahead,
            global_step=self.global_step + ahead,
            loss=loss,
            samples=samples,
            indices=indices,
        )

    def _validate(self, loader: Any) -> dict[str, float]:
        return {} if loader is None else self.compute.evaluate(loader, self.metrics.fresh())

    def _row(self, validation: dict[str, float]) -> Row:
        totals = self.ranks.sum_up(self.totals)
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
