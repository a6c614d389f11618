"""From samples to columns (`tabulate`), and from a table to one of a wider schema (`fitted`)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlkit.datasets.base import Columns
from dlkit.memory import prepared_array
from dlkit.storage.columns import Column, IndexArray, Pieces, Rows, Table
from dlkit.storage.schema import Field, Schema, as_array, schema_of, take_apart, widen


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
            shapes = np.tile(padded([shape], field.dims), (n, 1))
            offsets = np.arange(n + 1, dtype=np.int64) * size
            columns.append(Pieces(column.values.reshape(-1), offsets, shapes))
        elif isinstance(column, Pieces) and column.shapes is not None:
            missing = field.dims - column.shapes.shape[1]
            shapes = np.pad(column.shapes, ((0, 0), (0, missing)), constant_values=-1)
            columns.append(Pieces(column.values, column.offsets, shapes))
        else:
            columns.append(column)
    return Table(schema, tuple(columns), table.length)
