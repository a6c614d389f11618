"""From pageable host memory to an accelerator: pinning a batch, copying it to a device.

An accelerator copies from page-locked ("pinned") memory at full speed and while other work goes on;
from ordinary memory the driver first copies the data into a pinned buffer of its own.
"""

import warnings
from typing import Any

import torch
from torch import Tensor

from dlkit.structure import map_structure


def pin_memory(batch: Any) -> Any:
    """Copy every tensor of a batch into pinned memory.

    An object with a `pin_memory()` method of its own is asked to do it, which is how PyTorch pins
    batches of a user's type; strings and numbers pass through.

    Args:
        batch: any nesting of tensors.

    Returns:
        The same structure with pinned tensors.

    Example:
        >>> pin_memory({"name": "a", "index": 3})
        {'name': 'a', 'index': 3}
    """
    if hasattr(batch, "pin_memory"):
        return batch.pin_memory()
    return map_structure(_pin_part, batch)


def _pin_part(part: Any) -> Any:
    return part.pin_memory() if hasattr(part, "pin_memory") else part


def can_pin_memory() -> bool:
    """Say whether there is an accelerator to pin memory for, and warn where there is none."""
    if not torch.accelerator.is_available():
        warnings.warn(
            "pin_memory=True has no effect here: no accelerator is available to copy to",
            stacklevel=3,
        )
        return False
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is not None and accelerator.type == "mps":
        warnings.warn("pin_memory=True has no effect on MPS, which shares memory", stacklevel=3)
        return False
    return True


def to_device(batch: Any, device: torch.device | str) -> Any:
    """Copy every tensor of a batch to a device; from pinned memory without waiting for it.

    Args:
        batch: any nesting of tensors; an object with a `to(device)` method is asked to do it.
        device: where to, for instance `"cuda:0"`.

    Example:
        >>> to_device([torch.zeros(2), "name"], "cpu")
        [tensor([0., 0.]), 'name']
    """
    return map_structure(lambda part: _move_part(part, device), batch)


def _move_part(part: Any, device: torch.device | str) -> Any:
    if isinstance(part, Tensor):
        return part.to(device, non_blocking=True)
    return part.to(device) if hasattr(part, "to") else part
