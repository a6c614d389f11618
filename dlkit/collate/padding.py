"""`pad_collate`: sequences of different lengths to one tensor, with a mask over the data."""

import contextlib
from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlkit.collate.clash import ClashError, check_same_type, first_different
from dlkit.collate.default import collate_nested
from dlkit.memory import prepared_tensor


class Padded(NamedTuple):
    """Sequences of different lengths in one tensor.

    Attributes:
        values: shape `[batch, longest, ...]`.
        mask: bool, shape `[batch, longest]`; True where `values` holds data.
        lengths: int64, shape `[batch]`.
    """

    values: Tensor
    mask: Tensor
    lengths: Tensor


def pad_collate(
    samples: Sequence[Any],
    *,
    padding_value: float = 0.0,
    padding_side: str = "right",
    pad_to_multiple_of: int = 1,
) -> Any:
    """Collate samples that contain sequences of different lengths, padding them to the longest.

    Every tensor or array with at least one dimension, and every list of numbers, counts as a
    sequence along its first dimension and becomes a `Padded`, also in a batch in which all lengths
    happen to be equal: code behind the loader never has to ask. Everything else is collated as by
    `default_collate`. Options are set with `functools.partial`.

    Args:
        samples: n samples of the same structure.
        padding_value: what fills the places after (or before) a shorter sequence.
        padding_side: `"right"` or `"left"`; generating models want their padding on the left.
        pad_to_multiple_of: the padded length is rounded up to a multiple of this.

    Returns:
        One sample's structure, with a `Padded(values, mask, lengths)` for each sequence.

    Raises:
        ValueError: if an option is not one of the accepted values.
        RuntimeError: if sequences differ in more than their first dimension.

    Example:
        >>> tokens, labels = pad_collate([([5, 6, 7], 1), ([8], 0)], padding_value=-1)
        >>> tokens.values
        tensor([[ 5,  6,  7],
                [ 8, -1, -1]])
        >>> tokens.lengths, labels
        (tensor([3, 1]), tensor([1, 0]))
    """
    if padding_side not in ("left", "right"):
        raise ValueError(f'padding_side must be "left" or "right", but got {padding_side!r}')
    if not isinstance(pad_to_multiple_of, int) or pad_to_multiple_of < 1:
        raise ValueError(
            f"pad_to_multiple_of must be a positive integer, but got {pad_to_multiple_of!r}"
        )

    def pad(sequences: Sequence[Any]) -> Padded | None:
        if not _is_sequence_of_numbers(sequences[0]):
            return None
        return _pad(sequences, padding_value, padding_side, pad_to_multiple_of)

    try:
        return collate_nested(samples, pad)
    except ClashError as clash:
        raise clash.as_error("pad") from None


def _pad(sequences: Sequence[Any], value: float, side: str, multiple: int) -> Padded:
    if not all(map(_is_sequence_of_numbers, sequences)):
        check_same_type(sequences, type(sequences[0]))
        raise ClashError(TypeError, "some samples hold numbers in this place and others do not")
    tensors = [s if isinstance(s, Tensor) else torch.as_tensor(s) for s in sequences]
    shapes = [tensor.shape for tensor in tensors]
    lengths = [shape[0] for shape in shapes]
    # An empty list says nothing about the shape or type of what it could hold.
    telling = [k for k, shape in enumerate(shapes) if shape[0] or len(shape) > 1]
    telling = telling or list(range(len(shapes)))
    inner = [shapes[k][1:] for k in telling]
    if (other := first_different(inner)) is not None:
        raise ClashError(
            RuntimeError,
            "only the first dimension may differ, but the others are "
            f"{list(inner[0])} in one sample and {list(inner[other])} in another",
        )
    longest = -(-max(lengths) // multiple) * multiple
    dtype = reduce(torch.promote_types, {tensors[k].dtype for k in telling})
    values = _empty((len(tensors), longest, *inner[0]), dtype)
    mask = _empty((len(tensors), longest), torch.bool)
    _lay_out(values, tensors, lengths, torch.full((), value, dtype=dtype).item(), side)
    positions = np.arange(longest)
    ends = np.array(lengths)[:, None]
    if side == "left":
        np.greater_equal(positions, longest - ends, out=mask.numpy())
    else:
        np.less(positions, ends, out=mask.numpy())
    return Padded(values, mask, torch.tensor(lengths))


def _lay_out(
    values: Tensor, tensors: Sequence[Tensor], lengths: Sequence[int], value: Any, side: str
) -> None:
    """Write sequences into the rows of `values`, and the padding value beside them."""
    rows: Any = values
    parts: Sequence[Any] = tensors
    # NumPy takes a third of the time for a slice, most of which is not copying but calling. It
    # refuses what is not plain: types that it lacks, other devices, tensors in an autograd graph.
    with contextlib.suppress(TypeError, RuntimeError):
        rows, parts = values.numpy(), [tensor.numpy() for tensor in tensors]
    longest = values.shape[1]
    for row, part, length in zip(rows, parts, lengths, strict=True):
        if side == "left":
            data, padding = row[longest - length :], row[: longest - length]
        else:
            data, padding = row[:length], row[length:]
        if length:
            data[...] = part
        if length < longest:
            padding[...] = value


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    prepared = prepared_tensor(shape, dtype)
    return torch.empty(shape, dtype=dtype) if prepared is None else prepared


def _is_sequence_of_numbers(part: Any) -> bool:
    if isinstance(part, Tensor | np.ndarray):
        return part.ndim > 0
    return isinstance(part, list) and all(isinstance(x, int | float | np.number) for x in part)
