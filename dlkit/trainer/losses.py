"""A loss that is not a number stops training, and says which samples it came from.

A step on a loss of NaN would make every weight NaN, and the run worthless from there on. The check
comes before the gradient, so the weights are still those of the step before.
"""

import math

import torch
from torch import Tensor

from dlkit.trainer.callbacks import StepInfo

_SHOWN = 16


class NonFiniteLossError(FloatingPointError):
    """A batch has a loss of NaN or infinity.

    Args:
        message: What happened, where, and what is usual to do.
        info: Epoch, step, loss, and the batch's indices in the dataset where they are known.
    """

    def __init__(self, message: str, info: StepInfo) -> None:
        super().__init__(message)
        self.epoch = info.epoch
        self.step = info.step
        self.loss = info.loss
        self.indices = info.indices


def checked_loss(loss: Tensor, info: StepInfo, inputs: Tensor, targets: Tensor) -> None:
    """Refuse a loss that is not one finite number.

    Args:
        loss: What the loss function returned.
        info: The step it belongs to, with the loss as a Python float.
        inputs: The batch's inputs `[N, ...]`, to say whether they are to blame.
        targets: The batch's targets `[N, ...]`.

    Raises:
        ValueError: If it is not one number.
        NonFiniteLossError: If it is NaN or infinite.

    Example:
        >>> info = StepInfo(1, 3, 3, loss=math.nan, samples=2, indices=[7, 4])
        >>> inputs = torch.tensor([[1.0], [math.nan]])
        >>> checked_loss(torch.tensor(math.nan), info, inputs, torch.zeros(2))
        Traceback (most recent call last):
        dlkit.trainer.losses.NonFiniteLossError: the loss is nan in epoch 1, step 3 (global step \
3), for the samples with dataset indices [7, 4]. Not finite in inputs: dataset index 4. \
The weights were not changed by this batch
    """
    if loss.ndim:
        raise ValueError(
            f"loss_fn must return one number, the mean over the batch, got shape "
            f"{list(loss.shape)}: use reduction='mean'"
        )
    if math.isfinite(info.loss):
        return
    if info.indices is None:
        batch = f"for a batch of {info.samples} samples whose indices the loader does not tell"
    else:
        batch = f"for the samples with dataset indices {info.indices}"
    culprits = [
        f"Not finite in {name}: {_named(_not_finite(values), info.indices)}. "
        for name, values in [("inputs", inputs), ("targets", targets)]
        if _not_finite(values)
    ]
    cause = "".join(culprits) or (
        "Inputs and targets are finite, so the model's outputs overflow: try a smaller learning "
        "rate, normalised inputs, or bf16 instead of fp16. "
    )
    raise NonFiniteLossError(
        f"the loss is {info.loss} in epoch {info.epoch}, step {info.step} "
        f"(global step {info.global_step}), {batch}. {cause}"
        "The weights were not changed by this batch",
        info,
    )


def _not_finite(values: Tensor) -> list[int]:
    """Positions in the batch of the samples that hold NaN or infinity."""
    if not values.is_floating_point():
        return []
    bad = ~torch.isfinite(values).reshape(len(values), -1).all(dim=1)
    return [int(position) for position in bad.nonzero().flatten()]


def _named(positions: list[int], indices: list[int] | None) -> str:
    kind, names = ("position", positions)
    if indices is not None and len(indices) > max(positions):
        kind, names = ("dataset index", [indices[position] for position in positions])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{kind} {', '.join(map(str, names[:_SHOWN]))}{more}"
