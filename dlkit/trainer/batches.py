"""What the trainer asks of a loader, and clear words for when it gets something else.

loader: any iterable that starts anew at each iter()  ->  batches (inputs, targets)
inputs: Tensor [N, ...]     targets: Tensor [N, ...]
"""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

ACCEPTED = (
    "the trainer accepts batches (inputs, targets): a tuple or list of two tensors with the same "
    "number of samples in front, inputs [N, ...] and targets [N, ...]. "
    "Give the loader a collate_fn that returns them in this form"
)


def check_loader(loader: Any, name: str) -> None:
    """Refuse what cannot be walked once per epoch.

    Raises:
        TypeError: If `loader` is not iterable, or is an iterator, which one epoch would use up.

    Example:
        >>> check_loader(iter([]), "train_loader")
        Traceback (most recent call last):
        TypeError: train_loader must start anew at each epoch, got the iterator list_iterator, \
which can be walked only once: pass the loader itself
    """
    if not isinstance(loader, Iterable):
        raise TypeError(
            f"{name} must be a loader that can be iterated over, got {type(loader).__name__}"
        )
    if isinstance(loader, Iterator):
        raise TypeError(
            f"{name} must start anew at each epoch, got the iterator {type(loader).__name__}, "
            "which can be walked only once: pass the loader itself"
        )


def inputs_and_targets(batch: Any) -> tuple[Tensor, Tensor]:
    """Take a batch apart.

    Raises:
        TypeError: If it is not two tensors.
        ValueError: If the two do not have the same number of samples, or none.

    Example:
        >>> inputs_and_targets({"image": 1, "label": 2})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        TypeError: got a dict with the keys ['image', 'label']; the trainer accepts batches ...
    """
    if not (
        isinstance(batch, tuple | list)
        and len(batch) == 2
        and all(isinstance(part, Tensor) for part in batch)
    ):
        raise TypeError(f"got {describe(batch)}; {ACCEPTED}")
    inputs, targets = batch
    if not inputs.ndim or not targets.ndim or len(inputs) != len(targets) or not len(inputs):
        raise ValueError(f"got {describe(batch)}; {ACCEPTED}")
    return inputs, targets


def inputs_only(batch: Any) -> Tensor:
    """Take the inputs from a batch that may come with targets or without.

    Raises:
        TypeError: If there is no tensor in front.
    """
    inputs = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if not isinstance(inputs, Tensor):
        raise TypeError(
            f"got {describe(batch)}; predict accepts batches that are a tensor of inputs [N, ...], "
            "or a tuple or list with it in front"
        )
    return inputs


def describe(batch: Any) -> str:
    """Say in a few words what a batch is.

    Example:
        >>> import torch
        >>> describe([torch.zeros(2, 3), "a"])
        'a list of (Tensor [2, 3], str)'
    """
    if isinstance(batch, Tensor):
        return f"one Tensor {list(batch.shape)}"
    if isinstance(batch, dict):
        return f"a dict with the keys {list(batch)}"
    if isinstance(batch, tuple | list):
        parts = [
            f"Tensor {list(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
            for part in batch[:4]
        ]
        more = ", ..." if len(batch) > 4 else ""
        return f"a {type(batch).__name__} of ({', '.join(parts)}{more})"
    return f"a {type(batch).__name__}"


def steps_in(loader: Any) -> int | None:
    """Return the number of batches of an epoch, or `None` where the loader cannot know.

    Example:
        >>> steps_in([1, 2, 3]), steps_in(iter([]))
        (3, None)
    """
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


def why_empty(loader: Any) -> str:
    """Name the likely reason why a loader gave no batch."""
    if getattr(loader, "drop_last", False):
        return "its dataset is empty, or smaller than a batch with drop_last=True"
    return "its dataset is empty"
