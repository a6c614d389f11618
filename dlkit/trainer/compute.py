"""The compute stage: what a model does with one batch, in training and in evaluation.

inputs --device--> augment --> model --> outputs --> loss --> gradient --> optimizer step
                            (autocast)                  (scaled, for fp16)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dlkit.device import to_device
from dlkit.trainer.batches import check_loader, inputs_and_targets, inputs_only, why_empty
from dlkit.trainer.metrics import EpochTotals, MetricSet
from dlkit.trainer.ranks import Ranks, layers_as_in_evaluation


class Compute:
    """A model with all that turns a batch into a loss, and a loss into better weights.

    Args:
        model: On `device` already.
        optimizer: Of its parameters.
        loss_fn: `(outputs, targets)` -> mean over the batch.
        device: Where batches go.
        dtype: Autocast to this type, `None` for float32.
        augment: Function on training inputs, on the device.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loss_fn: Callable[[Any, Tensor], Tensor],
        device: torch.device,
        dtype: torch.dtype | None,
        augment: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self.model = model
        self.ranks = Ranks(model)
        self.optimizer = optimizer
        self.loss_fn = loss_fn
        self.device = device
        self.dtype = dtype
        self.augment = augment
        self.scaler = torch.amp.GradScaler("cuda") if dtype is torch.float16 else None

    def training_batch(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Take a batch apart, move it to the device, and augment its inputs."""
        inputs, targets = self._on_device(*inputs_and_targets(batch))
        return (inputs if self.augment is None else self.augment(inputs)), targets

    def forward(
        self, inputs: Tensor, targets: Tensor, *, training: bool = False
    ) -> tuple[Tensor, Any]:
        """Return the mean loss of a batch and the model's outputs.

        Args:
            inputs: `[N, ...]`.
            targets: `[N, ...]`.
            training: whether `backward` follows, for which ranks prepare to exchange gradients.
        """
        model = self.ranks.training_model if training else self.model
        with self._autocasting():
            outputs = model(inputs)
            return self.loss_fn(outputs, targets), outputs

    def backward(self, loss: Tensor, weight: float) -> None:
        """Add the gradient of a weighted loss to those that are there."""
        if weight != 1.0:
            loss = loss * weight
        if self.scaler is not None:
            loss = self.scaler.scale(loss)  # else gradients below 6e-8 would be zero in fp16
        loss.backward()  # type: ignore[no-untyped-call]

    def update(self) -> None:
        """Change the weights by one step of the optimizer along the gradients that are there."""
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()

    def take_part(self, batch: Any) -> None:
        """Compute on a sample that does not count, so that the other ranks need not wait."""
        inputs, targets = self.training_batch(batch)
        with layers_as_in_evaluation(self.model):
            loss, _ = self.forward(inputs, targets, training=True)
        self.backward(loss, 0.0)

    def evaluate(self, loader: Any, metrics: MetricSet) -> dict[str, float]:
        """Return mean loss and metrics over the samples of a loader; of all ranks' loaders.

        Raises:
            ValueError: If the loader gives no batch.
        """
        check_loader(loader, "loader")
        self.ranks.check_evaluation(loader)
        totals = EpochTotals()
        with self._evaluating():
            for batch in loader:
                inputs, targets = self._on_device(*inputs_and_targets(batch))
                loss, outputs = self.forward(inputs, targets)
                totals.add(float(loss), len(inputs))
                metrics.update(comparable(outputs), targets)
        totals = self.ranks.sum_up(totals)
        if not totals.samples:
            raise ValueError(f"loader gave no batch to evaluate: {why_empty(loader)}")
        return {"loss": totals.mean_loss, **metrics.compute()}

    def predict(self, loader: Any) -> Tensor:
        """Return the model's outputs for the samples of a loader, as float32 on the CPU.

        Raises:
            ValueError: If the loader gives no batch, or outputs of ranks cannot be put in order.
        """
        check_loader(loader, "loader")
        outputs: list[Tensor] = []
        indices: list[Any] = []
        with self._evaluating():
            for batch in loader:
                (inputs,) = self._on_device(inputs_only(batch))
                with self._autocasting():
                    outputs.append(self.model(inputs).float().cpu())
                indices += getattr(loader, "last_indices", None) or []
        if not outputs:
            raise ValueError(f"loader gave no batch to predict: {why_empty(loader)}")
        return self.ranks.in_order(torch.cat(outputs), indices, loader)

    def _on_device(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        moved: tuple[Tensor, ...] = to_device(tensors, self.device)
        return moved

    def _autocasting(self) -> Any:
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        with layers_as_in_evaluation(self.model), torch.no_grad():
            yield


def comparable(outputs: Any) -> Any:
    """Return outputs as metrics want them: without gradient, in float32."""
    return outputs.detach().float() if isinstance(outputs, Tensor) else outputs
