"""Many samples at once: a column for each field, gathered at any indices.

    Rows     values [n, *shape]                          one take
    Pieces   values end to end, offsets [n + 1]          one slice for each sample

Both are NumPy arrays over memory, often a file's own pages, and both serve twice: as what a format
is given to write, and as what it reads from. A `Table` is one column for each field of the schema.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlkit.datasets.base import Columns
from dlkit.memory import prepared_array
from dlkit.storage.schema import (
    Field,
    Schema,
    as_array,
    put_together,
    schema_of,
    take_apart,
    widen,
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
        values = self.values
        out = prepared_array((len(indices), *values.shape[1:]), values.dtype)
        # Everything is inside; "wrap" lets NumPy write into `out` without a buffer in between.
        return Rows(values.take(indices, 0, out, "wrap" if out is not None else "raise"))


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

    def samples(self) -> Sequence[Any]:
        """Return the samples: as `Columns`, not cut up, if they are tuples of equal tensors."""
        schema = self.schema
        parts = [_to_torch(f, c) for f, c in zip(schema.fields, self.columns, strict=True)]
        if schema.layout == "tuple" and all(isinstance(part, Tensor) for part in parts):
            return Columns(*parts) if parts else [()] * self.length
        cut = [part.unbind(0) if isinstance(part, Tensor) else part for part in parts]
        if schema.layout == "value":
            return list(cut[0])
        return [put_together(schema, list(values)) for values in zip(*cut, strict=True)]

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return sum(column.values.nbytes for column in self.columns)


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


# ---- from samples -------------------------------------------------------------------------------


def tabulate(samples: Sequence[Any], first: int = 0) -> Table:
    """Turn samples into columns.

    Args:
        samples: of one structure, as a dataset gives them.
        first: index of the first one, for the messages.

    Raises:
        TypeError, ValueError: if one cannot be stored, or differs from those before in more than
            its shapes; the message names the sample and the field.
    """
    if type(samples) is Columns:
        schema = schema_of(tuple(column[0] for column in samples.columns))
        arrays = [as_array(f, c) for f, c in zip(schema.fields, samples.columns, strict=True)]
        return Table(schema, tuple(map(Rows, arrays)), len(samples))
    schema = Schema()
    rows = []
    for place, sample in enumerate(samples):
        try:
            own = schema_of(sample)
            schema = widen(schema, own) if place else own
            values = take_apart(sample)[2]
            rows.append([encoded(f, v) for f, v in zip(own.fields, values, strict=True)])
        except (TypeError, ValueError) as error:
            # Not type(error): a UnicodeEncodeError is a ValueError that takes other arguments.
            kind = ValueError if isinstance(error, ValueError) else TypeError
            raise kind(f"sample {first + place}: {error}") from error
    return from_values(schema, rows)


def encoded(field: Field, value: Any) -> Any:
    """Return the array or the bytes that stand for a value in a file."""
    if field.kind == "str":
        return value.encode()
    return bytes(value) if field.kind == "bytes" else as_array(field, value)


def from_values(schema: Schema, rows: Sequence[Sequence[Any]]) -> Table:
    """Make a table from samples whose values are arrays and bytes already."""
    columns = (
        [
            _column(field, values)
            for field, values in zip(schema.fields, zip(*rows, strict=True), strict=True)
        ]
        if rows
        else empty(schema)
    )
    return Table(schema, tuple(columns), len(rows))


def _column(field: Field, values: Sequence[Any]) -> Column:
    if field.shape is not None:
        out = prepared_array((len(values), *field.shape), field.stored)
        return Rows(np.stack(values, out=out))
    shapes = None
    if field.kind == "tensor":
        shapes = padded([value.shape for value in values], field.dims)
        parts = [value.reshape(-1) for value in values]
    else:
        parts = [np.frombuffer(value, np.uint8) for value in values]
    offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return Pieces(np.concatenate(parts, dtype=field.stored), offsets, shapes)


def padded(shapes: Sequence[Sequence[int]], dims: int) -> IndexArray:
    """Return shapes as rows of equal length, filled up with -1."""
    rows = [[*shape, *[-1] * (dims - len(shape))] for shape in shapes]
    return np.array(rows, np.int64).reshape(len(rows), dims)


def empty(schema: Schema) -> list[Column]:
    """Return the columns of no samples."""
    return [
        Rows(np.empty((0, *field.shape), field.stored))
        if field.shape is not None
        else Pieces(
            np.empty(0, field.stored),
            np.zeros(1, np.int64),
            np.empty((0, field.dims), np.int64) if field.kind == "tensor" else None,
        )
        for field in schema.fields
    ]


def fitted(table: Table, schema: Schema) -> Table:
    """Return a table under a wider schema: rows become pieces, shapes are filled up."""
    columns: list[Column] = []
    for field, column in zip(schema.fields, table.columns, strict=True):
        if isinstance(column, Rows) and field.shape is None:
            n, shape = len(column), column.values.shape[1:]
            size = math.prod(shape)
            shapes = padded([shape] * n, field.dims)
            offsets = np.arange(n + 1, dtype=np.int64) * size
            columns.append(Pieces(column.values.reshape(-1), offsets, shapes))
        elif isinstance(column, Pieces) and column.shapes is not None:
            missing = field.dims - column.shapes.shape[1]
            shapes = np.pad(column.shapes, ((0, 0), (0, missing)), constant_values=-1)
            columns.append(Pieces(column.values, column.offsets, shapes))
        else:
            columns.append(column)
    return Table(schema, tuple(columns), table.length)
