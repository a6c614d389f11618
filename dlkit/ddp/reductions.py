"""Exact numbers over all ranks.

    rank 0:  sum 6.0 of 3 samples  \
                                     mean = (6 + 1) / (3 + 1), not ((6 / 3) + (1 / 1)) / 2
    rank 1:  sum 1.0 of 1 sample   /

Without a process group each function returns what it was given: the same code serves one process.
Metrics of `torchmetrics` need nothing from here: `compute()` reduces their counts over the ranks.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, distributed

from dlkit.ddp.context import current


def total(values: Mapping[str, float]) -> dict[str, float]:
    """Return the sums of named numbers over all ranks, in 64 bits.

    Args:
        values: the same names on every rank.

    Example:
        >>> total({"samples": 3, "loss": 1.5})
        {'samples': 3.0, 'loss': 1.5}
    """
    sums = sum_over_ranks(torch.tensor(list(values.values()), dtype=torch.float64))
    return dict(zip(values, sums.tolist(), strict=True))


def weighted_mean(value: float, samples: int) -> float:
    """Return the mean over all samples of all ranks, of a mean over this rank's samples.

    Args:
        value: the mean over the samples of this rank.
        samples: how many these are; 0 for a rank that had none, whose `value` does not count.

    Raises:
        ValueError: if `samples` is negative, or no rank has any.

    Example:
        >>> weighted_mean(2.5, samples=10)
        2.5
    """
    if samples < 0:
        raise ValueError(f"samples must be 0 or more, but got {samples!r}")
    sums = total({"value": value * samples if samples else 0.0, "samples": samples})
    if not sums["samples"]:
        raise ValueError("samples is 0 on every rank: there is nothing to take the mean of")
    return sums["value"] / sums["samples"]


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Return the elementwise sum of a tensor over all ranks.

    Args:
        tensor: of the same shape and type on every rank; it is left as it is.

    Example:
        >>> sum_over_ranks(torch.tensor([1, 2]))
        tensor([1, 2])
    """
    if not current().is_distributed:
        return tensor
    result = _for_backend(tensor).clone()
    distributed.all_reduce(result)
    return result.to(tensor.device)


def gather(value: Any) -> list[Any]:
    """Return a value of every rank, on every rank.

    Args:
        value: anything that can be pickled; for large tensors `gather_uneven` is faster.

    Example:
        >>> gather("here")
        ['here']
    """
    context = current()
    if not context.is_distributed:
        return [value]
    values: list[Any] = [None] * context.world_size
    distributed.all_gather_object(values, value)
    return values


def from_first(value: Any) -> Any:
    """Return rank 0's value on every rank.

    Args:
        value: anything that can be pickled; those of the other ranks do not count.

    Example:
        >>> from_first("runs/1")
        'runs/1'
    """
    if not current().is_distributed:
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def gather_uneven(tensor: Tensor) -> list[Tensor]:
    """Return the tensors of all ranks, whose first dimensions may differ, on every rank.

    Each is padded to the longest, gathered, and cut again: two operations, whatever the lengths.

    Args:
        tensor: `[N of this rank, ...]`; all other dimensions and the type agree between ranks.

    Returns:
        One tensor for each rank, in order of rank.

    Raises:
        ValueError: on every rank, if dimensions or types differ.

    Example:
        >>> gather_uneven(torch.arange(3))
        [tensor([0, 1, 2])]
    """
    if not tensor.ndim:
        raise ValueError("tensor must have a first dimension to gather along, but got one number")
    if not current().is_distributed:
        return [tensor]
    forms = gather((len(tensor), tuple(tensor.shape[1:]), tensor.dtype))
    if len({form[1:] for form in forms}) > 1:
        told = "; ".join(
            f"rank {rank} has [{', '.join(map(str, (length, *rest)))}] of {dtype}"
            for rank, (length, rest, dtype) in enumerate(forms)
        )
        raise ValueError(
            f"tensor must have the same type and shape, but for its first dimension: {told}"
        )
    longest = max(form[0] for form in forms)
    ours = _for_backend(tensor)
    padded = ours.new_zeros((longest, *tensor.shape[1:]))
    padded[: len(ours)] = ours
    received = [torch.empty_like(padded) for _ in forms]
    distributed.all_gather(received, padded)
    return [
        rows[:length].to(tensor.device) for rows, (length, *_) in zip(received, forms, strict=True)
    ]


def _for_backend(tensor: Tensor) -> Tensor:
    # Our groups take tensors of the CPU too, through gloo; a group of NCCL alone does not.
    if tensor.device.type == "cpu" and distributed.get_backend() == "nccl":
        return tensor.to(current().device)
    return tensor.contiguous()
