"""From the short forms that `Trainer(...)` accepts to the objects that training works with."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from dlkit.ddp.context import current

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[[Optimizer], LRScheduler]

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(device: str | torch.device | None) -> torch.device:
    """Return the device asked for, or for `None` and `"auto"` the accelerator, else the CPU.

    Raises:
        ValueError: If there is no such device here.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    place = current()
    if place.is_distributed and (device is None or str(device) in ("auto", place.device.type)):
        return place.device  # each rank of a host has a GPU of its own
    if device is None or device == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found or torch.device("cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split(". ")[0].splitlines()[0]  # torch adds a page of details
        raise ValueError(
            f"device {str(device)!r} cannot be used here ({reason}): "
            "pass 'cpu', 'cuda', 'mps', or 'auto' for the best there is"
        ) from error
    return chosen


def make_optimizer(model: nn.Module, optimizer: Optimizer | MakeOptimizer | None) -> Optimizer:
    """Return the optimizer itself, or what its maker makes; SGD 0.01 with momentum 0.9 for `None`.

    Raises:
        TypeError: If it is no optimizer.
        ValueError: If it holds none of the model's parameters.

    Example:
        >>> make_optimizer(nn.Linear(2, 1), lambda p: torch.optim.Adam(p, lr=1e-3)).defaults["lr"]
        0.001
    """
    if optimizer is None:
        return SGD(model.parameters(), lr=0.01, momentum=0.9)
    made: Any = optimizer
    if not isinstance(made, Optimizer) and callable(made):
        made = made(model.parameters())
    if not isinstance(made, Optimizer):
        raise TypeError(
            f"optimizer must be a torch.optim.Optimizer, or a function from parameters to one, "
            f"got {optimizer!r}"
        )
    own = {id(parameter) for parameter in model.parameters()}
    held = {id(parameter) for group in made.param_groups for parameter in group["params"]}
    if not own & held:
        raise ValueError("optimizer holds no parameter of this model: training would do nothing")
    return made


def make_scheduler(
    optimizer: Optimizer, scheduler: LRScheduler | MakeScheduler | None
) -> LRScheduler | None:
    """Return the schedule itself, or what its maker makes of the optimizer.

    Raises:
        TypeError: If it is no schedule.
        ValueError: If it drives another optimizer.
    """
    made: Any = scheduler
    if made is None:
        return None
    if not isinstance(made, LRScheduler) and callable(made):
        made = made(optimizer)
    if not isinstance(made, LRScheduler):
        raise TypeError(
            "scheduler must be a torch.optim.lr_scheduler, or a function from an optimizer to one, "
            f"got {scheduler!r}"
        )
    if made.optimizer is not optimizer:
        raise ValueError(
            "scheduler drives another optimizer than the trainer's: pass a function, such as "
            "lambda optimizer: StepLR(optimizer, 5)"
        )
    return made


def check_function(name: str, value: Any) -> None:
    """Raise `TypeError` unless `value` is a function, or an object that can be called as one.

    Example:
        >>> check_function("loss_fn", nn.MSELoss)
        Traceback (most recent call last):
        TypeError: loss_fn must be a function, but got the class MSELoss: write MSELoss()
    """
    if isinstance(value, type):
        kind = value.__name__
        raise TypeError(f"{name} must be a function, but got the class {kind}: write {kind}()")
    if not callable(value):
        raise TypeError(f"{name} must be a function, but got {value!r}")


def list_callbacks(callbacks: Any) -> list[Any]:
    """Return callbacks as a list.

    Raises:
        TypeError: If they are no objects with the methods of `Callback`.
    """
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks must be a list of callbacks, but got {callbacks!r}")
    listed = list(callbacks)
    for callback in listed:
        if isinstance(callback, type) or not hasattr(callback, "on_epoch_end"):
            raise TypeError(
                "callbacks must hold objects with the methods of dlkit.trainer.Callback, but got "
                f"{callback!r}"
            )
    return listed


def advance(scheduler: LRScheduler | None, row: dict[str, float] | None = None) -> None:
    """Take the schedule one step further; a plateau schedule looks at the validation loss."""
    if isinstance(scheduler, ReduceLROnPlateau):
        if row is not None:
            scheduler.step(row.get("val_loss", row["train_loss"]))
    elif scheduler is not None:
        scheduler.step()


def check_autocast(autocast: str | None, device: torch.device) -> torch.dtype | None:
    """Return the type to compute in, `None` for float32.

    Raises:
        ValueError: If it is unknown, or fp16 is asked for where gradients cannot be scaled.

    Example:
        >>> check_autocast("bf16", torch.device("cpu"))
        torch.bfloat16
    """
    if autocast is None:
        return None
    if autocast not in AUTOCAST:
        raise ValueError(f"autocast must be None, 'bf16' or 'fp16', got {autocast!r}")
    if autocast == "fp16" and device.type != "cuda":
        raise ValueError(
            f"autocast='fp16' needs a CUDA device, where small gradients are kept by scaling the "
            f"loss; on {device.type} use autocast='bf16', whose range needs no scaling"
        )
    return AUTOCAST[autocast]
