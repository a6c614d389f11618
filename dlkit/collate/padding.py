"""`pad_collate`: sequences of different lengths to one tensor, with a mask over the data."""

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlkit.collate.default import ClashError, check_same_type, collate_nested, first_different


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
    if not all(_is_sequence_of_numbers(sequence) for sequence in sequences):
        check_same_type(sequences, type(sequences[0]))
        raise ClashError(TypeError, "some samples hold numbers in this place and others do not")
    tensors = [torch.as_tensor(sequence) for sequence in sequences]
    lengths = torch.tensor([len(tensor) for tensor in tensors])
    # An empty list says nothing about the shape or type of what it could hold.
    telling = [tensor for tensor in tensors if len(tensor) or tensor.dim() > 1] or tensors
    inner = [list(tensor.shape[1:]) for tensor in telling]
    if (other := first_different(inner)) is not None:
        raise ClashError(
            RuntimeError,
            "only the first dimension may differ, but the others are "
            f"{inner[0]} in one sample and {inner[other]} in another",
        )
    longest = -(-int(lengths.max()) // multiple) * multiple
    dtype = reduce(torch.promote_types, [tensor.dtype for tensor in telling])
    values = torch.full((len(tensors), longest, *inner[0]), value, dtype=dtype)
    mask = torch.zeros(len(tensors), longest, dtype=torch.bool)
    for row, tensor in enumerate(tensors):
        length = len(tensor)
        if length:
            place = slice(longest - length, longest) if side == "left" else slice(length)
            values[row, place] = tensor
            mask[row, place] = True
    return Padded(values, mask, lengths)


def _is_sequence_of_numbers(part: Any) -> bool:
    if isinstance(part, Tensor | np.ndarray):
        return part.ndim > 0
    return isinstance(part, list) and all(isinstance(x, int | float | np.number) for x in part)
