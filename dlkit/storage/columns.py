"""Many samples at once: a column for each field, gathered at any indices.

    Rows     values [n, *shape]                          one take
    Pieces   values end to end, offsets [n + 1]          one slice for each sample

Both are NumPy arrays over memory, often a file's own pages, and both serve twice: as what a format
is given to write, and as what it reads from. A `Table` is one column for each field of the schema.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlkit.collate import default_collate
from dlkit.datasets.base import Columns, Gathered
from dlkit.memory import prepared_array
from dlkit.storage.schema import (
    Field,
    Schema,
    put_together,
)

IndexArray = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


class DamagedRecordError(Exception):
    """A record that cannot be what was written; whoever knows the file turns it into an error.

    Args:
        place: position of the record in what was read.
        reason: what is wrong with it.
    """

    def __init__(self, place: int, reason: str) -> None:
        super().__init__(reason)
        self.place, self.reason = place, reason


@dataclass(frozen=True)
class Rows:
    """A field whose values have the same shape in all samples: an array `[n, *shape]`."""

    values: Array

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: IndexArray) -> "Rows":
        """Return the rows at `indices`, none of which may be outside."""
        return Rows(self.values.take(indices, 0))

    def gather(self, indices: IndexArray) -> "Rows":
        """Do the same, into the memory of the batch that is being made, if there is some."""
        values = self.values
        out = prepared_array((len(indices), *values.shape[1:]), values.dtype)
        if out is None:
            return self.take(indices)
        # Everything is inside; "wrap" lets NumPy write into `out` without a buffer in between.
        return Rows(values.take(indices, 0, out, "wrap"))


@dataclass(frozen=True)
class Pieces:
    """A field whose values differ in size: all of them end to end, and where each one begins.

    Attributes:
        values: numbers or bytes, one dimension.
        offsets: of shape `[n + 1]`; sample i has `values[offsets[i]:offsets[i + 1]]`.
        shapes: for tensors, of shape `[n, dims]`, filled up with -1 on the right.
    """

    values: Array
    offsets: IndexArray
    shapes: IndexArray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, indices: IndexArray) -> "Pieces":
        """Return the pieces at `indices`, each checked against the memory that is there.

        Raises:
            DamagedRecordError: if one would lie outside of it, or does not fit its shape.
        """
        starts, ends = self.offsets[indices], self.offsets[indices + 1]
        wrong = (starts < 0) | (ends < starts) | (ends > len(self.values))
        if wrong.any():
            place = int(wrong.argmax())
            raise DamagedRecordError(
                place,
                f"it is said to take elements {starts[place]} to {ends[place]} of the "
                f"{len(self.values)} that are there",
            )
        shapes = None if self.shapes is None else self.shapes[indices]
        if shapes is not None:
            check_shapes(shapes, ends - starts)
        offsets = np.zeros(len(indices) + 1, np.int64)
        np.cumsum(ends - starts, out=offsets[1:])
        values = np.empty(offsets[-1], self.values.dtype)
        for start, end, to in zip(starts.tolist(), ends.tolist(), offsets.tolist(), strict=False):
            values[to : to + end - start] = self.values[start:end]
        return Pieces(values, offsets, shapes)

    gather = take  # pieces become a list, which cannot lie in the memory of a batch


Column = Rows | Pieces


def check_shapes(shapes: IndexArray, sizes: IndexArray) -> None:
    """Raise `DamagedRecordError` for the first shape that does not have as many elements."""
    for place, (shape, size) in enumerate(zip(shapes.tolist(), sizes.tolist(), strict=True)):
        sides = [side for side in shape if side != -1]
        if min(shape, default=0) < -1 or math.prod(sides) != size:
            raise DamagedRecordError(place, f"its shape is {sides}, but it has {size} elements")


@dataclass(frozen=True)
class Table:
    """Samples, field by field.

    Attributes:
        schema: what they look like.
        columns: one for each field, all of the same length.
        length: number of samples, which no column tells where there are no fields.
    """

    schema: Schema
    columns: tuple[Column, ...]
    length: int

    def __len__(self) -> int:
        return self.length

    def take(self, indices: IndexArray) -> "Table":
        """Return the samples at `indices`, in that order."""
        taken = tuple(column.take(indices) for column in self.columns)
        return Table(self.schema, taken, len(indices))

    def gather(self, indices: IndexArray) -> "Table":
        """Do the same, into the memory of the batch that is being made, if there is some."""
        taken = tuple(column.gather(indices) for column in self.columns)
        return Table(self.schema, taken, len(indices))

    def samples(self) -> Sequence[Any]:
        """Return the samples, not cut up before somebody asks for one of them.

        They are `Columns` if they are tuples of equal tensors, as those of a `TensorDataset` are.
        """
        parts = [_to_torch(f, c) for f, c in zip(self.schema.fields, self.columns, strict=True)]
        if self.schema.layout == "tuple" and all(isinstance(part, Tensor) for part in parts):
            return Columns(*parts) if parts else [()] * self.length
        return Fields(self.schema, parts, self.length)

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return sum(column.values.nbytes for column in self.columns)


class Fields(Gathered):
    """Samples as one tensor, or one list, for each of their fields.

    Args:
        schema: what a sample looks like.
        parts: for each field a tensor of shape `[n, ...]`, or a list of n tensors, str or bytes.
        length: n.
    """

    __slots__ = ("length", "parts", "schema")

    def __init__(self, schema: Schema, parts: list[Any], length: int) -> None:
        self.schema, self.parts, self.length = schema, parts, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return list(self)[position]
        return put_together(self.schema, [part[position] for part in self.parts])

    def __iter__(self) -> Iterator[Any]:
        cut = [part.unbind(0) if isinstance(part, Tensor) else part for part in self.parts]
        for values in zip(*cut, strict=True):
            yield put_together(self.schema, list(values))

    def collated(self) -> Any:
        """Return the tensors as they are, and lists as `default_collate` collates them."""
        parts = [default_collate(part) if isinstance(part, list) else part for part in self.parts]
        batch = put_together(self.schema, parts)
        return list(batch) if isinstance(batch, tuple) else batch


def _to_torch(field: Field, column: Column) -> Any:
    """Return a column that nobody else holds as a tensor, or as a list where sizes differ."""
    if isinstance(column, Rows):
        tensor = torch.from_numpy(column.values)
        return tensor if tensor.dtype == field.torch_dtype else tensor.view(field.torch_dtype)
    cut = [
        column.values[a:b]
        for a, b in zip(column.offsets[:-1].tolist(), column.offsets[1:].tolist(), strict=True)
    ]
    if field.kind == "bytes":
        return [piece.tobytes() for piece in cut]
    if field.kind == "str":
        return [_text(place, piece.tobytes()) for place, piece in enumerate(cut)]
    assert column.shapes is not None
    dtype = field.torch_dtype
    tensors = []
    for piece, shape in zip(cut, column.shapes.tolist(), strict=True):
        # A copy, so that a sample that is kept does not keep the memory of its whole batch.
        tensor = torch.from_numpy(piece.copy()).view([side for side in shape if side != -1])
        tensors.append(tensor if tensor.dtype == dtype else tensor.view(dtype))
    return tensors


def _text(place: int, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise DamagedRecordError(place, f"it is no UTF-8 text: {error}") from None
