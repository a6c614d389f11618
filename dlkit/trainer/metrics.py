"""Sums over an epoch: exact means over samples, and torchmetrics that survive a checkpoint.

The mean of batch means is not the mean over samples when the last batch is smaller. So a sum
weighted by batch size is kept, as a Python float (64 bits), and divided once at the end.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from dlkit.ddp.context import current
from dlkit.ddp.reductions import gather


@dataclass
class EpochTotals:
    """Running sums of an epoch; everything a row of the history is computed from.

    Args:
        steps: Steps so far; batches, in evaluation.
        samples: Samples so far.
        loss_sum: Sum of the loss over the samples.
        wait_seconds: Wall time inside `next(loader)`.
        work_seconds: Wall time of everything else: step, callbacks, checkpoints.
        batch_size: Samples of the largest step so far.
        lr: Learning rate at the first step.
    """

    steps: int = 0
    samples: int = 0
    loss_sum: float = 0.0
    wait_seconds: float = 0.0
    work_seconds: float = 0.0
    batch_size: int = 0
    lr: float = 0.0

    def add(self, loss: float, samples: int, batch_size: int | None = None) -> None:
        """Count one step with its mean loss.

        Args:
            loss: Mean over the samples.
            samples: How many there were; 0 on a rank that had no batch left.
            batch_size: Samples of all ranks in the step, where there are several.

        Example:
            >>> totals = EpochTotals()
            >>> totals.add(loss=1.0, samples=3)
            >>> totals.add(loss=5.0, samples=1)
            >>> totals.mean_loss
            2.0
        """
        self.steps += 1
        self.samples += samples
        self.loss_sum += loss * samples
        self.batch_size = max(self.batch_size, samples if batch_size is None else batch_size)

    @property
    def mean_loss(self) -> float:
        """Mean loss over the samples so far."""
        return self.loss_sum / self.samples if self.samples else math.nan

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return self.wait_seconds + self.work_seconds

    @property
    def samples_per_second(self) -> float:
        """Samples per second of wall time so far."""
        return self.samples / self.seconds if self.seconds else 0.0

    @property
    def wait_share(self) -> float:
        """Share of the wall time spent waiting for data so far, 0 to 1."""
        return self.wait_seconds / self.seconds if self.seconds else 0.0

    def state_dict(self) -> dict[str, float]:
        """Return the sums as plain numbers."""
        return asdict(self)


class MetricSet:
    """Named torchmetrics that are updated, computed, reset, saved and restored together.

    Args:
        metrics: Name -> `torchmetrics.Metric` taking `(logits, targets)` and computing one number;
            `None` for accuracy, made at the first batch, when logits `[N, classes]` show how many
            classes there are. Targets that are not class indices then get no metric.
        device: Where batches will be.

    Raises:
        TypeError: If `metrics` is not such a mapping.
    """

    def __init__(self, metrics: Mapping[str, Any] | None, device: torch.device) -> None:
        self.device = device
        self.default = metrics is None
        self.classes = 0
        self.metrics: dict[str, Any] = {}
        if metrics is not None and not isinstance(metrics, Mapping):
            raise TypeError(
                f"metrics must map names to torchmetrics.Metric objects, got {metrics!r}: "
                'write {"f1": MulticlassF1Score(num_classes=10)}'
            )
        for name, metric in (metrics or {}).items():
            missing = [m for m in ("update", "compute", "reset", "to") if not hasattr(metric, m)]
            if missing:
                raise TypeError(
                    f"metrics[{name!r}] must be a torchmetrics.Metric, got {metric!r} "
                    f"without {', '.join(missing)}"
                )
            self._adopt(name, copy.deepcopy(metric))

    def fresh(self) -> "MetricSet":
        """Return an equal set that has seen nothing: evaluation must not touch training's sums."""
        other = copy.deepcopy(self)
        other.reset()
        return other

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Count one batch."""
        if self.default and not self.metrics and _are_class_logits(logits, targets):
            self._make_accuracy(logits.shape[1])
        for metric in self.metrics.values():
            metric.update(logits, targets)

    def compute(self) -> dict[str, float]:
        """Return every metric over all batches since `reset`, of all ranks.

        Raises:
            ValueError: If a metric computes something else than one number.
        """
        self._agree()
        values = {name: metric.compute() for name, metric in self.metrics.items()}
        for name, value in values.items():
            if not isinstance(value, Tensor) or value.numel() != 1:
                raise ValueError(
                    f"metrics[{name!r}] must compute one number, got {value!r}: "
                    "use average='macro' or 'micro' instead of one value per class"
                )
        return {name: float(value) for name, value in values.items()}

    def reset(self) -> None:
        """Forget all batches."""
        for metric in self.metrics.values():
            metric.reset()

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of every metric, over all ranks, as plain tensors and numbers."""
        self._agree()
        sums, updates = {}, {}
        for name, metric in self.metrics.items():
            updates[name] = metric._update_count
            with metric.sync_context(should_sync=current().is_distributed):
                sums[name] = {key: _copied(value) for key, value in metric.state_dict().items()}
        return {"classes": self.classes, "sums": sums, "updates": updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned.

        Raises:
            ValueError: If the state belongs to metrics of other names.
        """
        if self.default and state["classes"]:
            self._make_accuracy(state["classes"])
        if set(state["sums"]) != set(self.metrics) and not (self.default and not state["sums"]):
            raise ValueError(
                f"it was saved with the metrics {sorted(state['sums'])}, "
                f"this trainer has {sorted(self.metrics)}"
            )
        for name, sums in state["sums"].items():
            metric = self.metrics[name]
            metric.load_state_dict(sums)
            metric.to(self.device)
            # torchmetrics leaves the number of updates out of its state; without it, compute()
            # would warn that nothing was counted.
            metric._update_count = state["updates"][name]
            metric._computed = None

    def _agree(self) -> None:
        """Let all ranks have the same metrics, although one of them may have seen no batch yet."""
        if not current().is_distributed:
            return
        classes = max(gather(self.classes))
        if self.default and classes and not self.metrics:
            self._make_accuracy(classes)
        for metric in self.metrics.values():
            # Else torchmetrics warns of counting nothing, where another rank has counted.
            metric._update_count = max(metric._update_count, 1)
            metric._computed = None

    def _make_accuracy(self, classes: int) -> None:
        from torchmetrics.classification import MulticlassAccuracy

        self.classes = classes
        # Not validate_args: it reads all targets back from the GPU at each step.
        accuracy = MulticlassAccuracy(num_classes=classes, average="micro", validate_args=False)
        self._adopt("accuracy", accuracy)

    def _adopt(self, name: str, metric: Any) -> None:
        metric.persistent(True)  # else torchmetrics leaves its sums out of state_dict()
        metric.reset()
        self.metrics[name] = metric.to(self.device)


def _copied(value: Any) -> Any:
    """A state outside of the context in which it is that of all ranks."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    return [_copied(part) for part in value] if isinstance(value, list) else value


def _are_class_logits(logits: Tensor, targets: Tensor) -> bool:
    whole = not targets.is_floating_point() and targets.dtype != torch.bool
    return logits.ndim == 2 and targets.ndim == 1 and whole
