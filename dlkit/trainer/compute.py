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

    def forward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Any]:
        """Return the mean loss of a batch and the model's outputs."""
        with self._autocasting():
            outputs = self.model(inputs)
            return self.loss_fn(outputs, targets), outputs

    def update(self, loss: Tensor) -> None:
        """Change the weights by one step of the optimizer along the gradient of a loss."""
        self.optimizer.zero_grad()
        if self.scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        else:
            # Without scaling, gradients below 6e-8 would be zero in fp16.
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.scaler.step(self.optimizer)
            self.scaler.update()

    def evaluate(self, loader: Any, metrics: MetricSet) -> dict[str, float]:
        """Return mean loss and metrics over the samples of a loader.

        Raises:
            ValueError: If the loader gives no batch.
        """
        check_loader(loader, "loader")
        totals = EpochTotals()
        with self._evaluating():
            for batch in loader:
                inputs, targets = self._on_device(*inputs_and_targets(batch))
                loss, outputs = self.forward(inputs, targets)
                totals.add(float(loss), len(inputs))
                metrics.update(comparable(outputs), targets)
        if not totals.samples:
            raise ValueError(f"loader gave no batch to evaluate: {why_empty(loader)}")
        return {"loss": totals.mean_loss, **metrics.compute()}

    def predict(self, loader: Any) -> Tensor:
        """Return the model's outputs for the samples of a loader, as float32 on the CPU.

        Raises:
            ValueError: If the loader gives no batch.
        """
        check_loader(loader, "loader")
        outputs = []
        with self._evaluating():
            for batch in loader:
                (inputs,) = self._on_device(inputs_only(batch))
                with self._autocasting():
                    outputs.append(self.model(inputs).float().cpu())
        if not outputs:
            raise ValueError(f"loader gave no batch to predict: {why_empty(loader)}")
        return torch.cat(outputs)

    def _on_device(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        moved: tuple[Tensor, ...] = to_device(tensors, self.device)
        return moved

    def _autocasting(self) -> Any:
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        # Each layer gets its own mode back: a layer that was frozen on purpose stays frozen.
        modes = [(layer, layer.training) for layer in self.model.modules()]
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for layer, training in modes:
                layer.training = training


def comparable(outputs: Any) -> Any:
    """Return outputs as metrics want them: without gradient, in float32."""
    return outputs.detach().float() if isinstance(outputs, Tensor) else outputs
