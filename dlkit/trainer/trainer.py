"""The trainer: what a user calls.

    Trainer(model, ...)  ->  fit(loader, epochs)  ->  History
                             evaluate, predict, save, resume

`loop` holds the way of an epoch, `run` what makes it go on after a kill, an interrupt or an
exception: to the very weights, bit for bit on a CPU, that an undisturbed run reaches. Made inside a
`dlkit.ddp.process_group`, it trains with the other ranks: see `ranks`.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dlkit.checks import check_positive_int
from dlkit.ddp.seeds import seed_ranks
from dlkit.trainer import setup
from dlkit.trainer.batches import check_loader
from dlkit.trainer.callbacks import Callback
from dlkit.trainer.checkpoint import check_plain
from dlkit.trainer.compute import Compute
from dlkit.trainer.history import History
from dlkit.trainer.interrupt import StepwiseInterrupt
from dlkit.trainer.loop import Loop
from dlkit.trainer.metrics import MetricSet
from dlkit.trainer.position import Position, is_stateful
from dlkit.trainer.state import pack_state


class Trainer(Loop):
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
        accumulate: How many batches make one step of the optimizer: their gradients are added up,
            as if they were one large batch.
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
        accumulate: int = 1,
        augment: Callable[[Tensor], Tensor] | None = None,
        metrics: Mapping[str, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        seed: int | None = None,
        progress: bool = True,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, but got a {type(model).__name__}")
        if schedule_every not in ("epoch", "step"):
            raise ValueError(f"schedule_every must be 'epoch' or 'step', got {schedule_every!r}")
        check_positive_int("accumulate", accumulate)
        if checkpoint_every is not None:
            check_positive_int("checkpoint_every", checkpoint_every)
            if checkpoint is None:
                raise ValueError("checkpoint_every needs checkpoint='some/file.pt' to write to")
        for name, function in (("loss_fn", loss_fn), ("augment", augment)):
            if function is not None:
                setup.check_function(name, function)
        self.device = setup.choose_device(device)
        model = model.to(self.device)
        made = setup.make_optimizer(model, optimizer)
        compute = Compute(
            model,
            made,
            loss_fn if loss_fn is not None else nn.CrossEntropyLoss(),
            self.device,
            setup.check_autocast(autocast, self.device),
            augment,
        )
        super().__init__(
            compute,
            setup.make_scheduler(made, scheduler),
            MetricSet(metrics, self.device),
            setup.list_callbacks(callbacks),
            Path(checkpoint) if checkpoint is not None else None,
        )
        self.schedule_every = schedule_every
        self.checkpoint_every = checkpoint_every
        self.accumulate = accumulate
        self.seed = seed
        self.progress = progress

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
        self.ranks.check_training(train_loader)
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

    def evaluate(self, loader: Any) -> dict[str, float]:
        """Return the mean loss and the metrics over all samples of a loader, or of all ranks'.

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
                seed_ranks(self.seed)
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
