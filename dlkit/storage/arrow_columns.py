"""Between our columns and Arrow's: what the formats Arrow IPC and Parquet have in common.

| field                            | Arrow                                                  |
|----------------------------------|--------------------------------------------------------|
| number                           | the same type, or fixed_size_binary where it has none  |
| tensor of one shape              | fixed_size_binary of a row's bytes                     |
| str, bytes                       | large_string, large_binary                             |
| tensor whose shape differs       | large_binary, and a column of shapes                   |

The bytes of a column are the same on both sides, so neither direction copies them.
"""

from pathlib import Path
from typing import Any

import numpy as np

from dlkit.storage.columns import Column, Pieces, Rows, Table
from dlkit.storage.files import Header, corrupt, library
from dlkit.storage.schema import DTYPES, Field, Schema

META = b"dlkit"


def arrow_schema(header: Header) -> Any:
    """Return the Arrow schema of our samples, with the header in its metadata."""
    pa = library("pyarrow")
    columns = []
    for field in header.schema.fields:
        about = {"dlkit": str(field)}
        columns.append(pa.field(field.name, _type(field), nullable=False, metadata=about))
        if field.kind == "tensor" and field.shape is None:
            columns.append(pa.field(f"{field.name}/shape", pa.binary(8 * field.dims), False))
    return pa.schema(columns, metadata={META: header.dumps().encode()})


def _type(field: Field) -> Any:
    pa = library("pyarrow")
    if field.kind != "tensor":
        return pa.large_string() if field.kind == "str" else pa.large_binary()
    if field.shape is None or field.row_bytes == 0:  # Parquet knows no rows of no bytes
        return pa.large_binary()
    if field.shape == () and field.stored.kind in "iuf":
        return pa.from_numpy_dtype(field.stored)
    return pa.binary(field.row_bytes)


def to_arrow(table: Table, schema: Any) -> Any:
    """Return a record batch over the memory of a table."""
    pa = library("pyarrow")
    arrays: list[Any] = []
    for field, column in zip(table.schema.fields, table.columns, strict=True):
        kind = schema.field(len(arrays)).type
        values = pa.py_buffer(np.ascontiguousarray(column.values))
        if isinstance(column, Rows):
            start = [] if field.row_bytes else [pa.py_buffer(np.zeros(len(column) + 1, np.int64))]
            arrays.append(pa.Array.from_buffers(kind, len(column), [None, *start, values]))
            continue
        offsets = pa.py_buffer(column.offsets * field.stored.itemsize)
        arrays.append(pa.Array.from_buffers(kind, len(column), [None, offsets, values]))
        if column.shapes is not None:
            shapes = pa.py_buffer(np.ascontiguousarray(column.shapes, "<i8"))
            kind = pa.binary(8 * field.dims)
            arrays.append(pa.Array.from_buffers(kind, len(column), [None, shapes]))
    return pa.record_batch(arrays, schema=schema)


def from_arrow(batch: Any, schema: Schema, path: Path) -> Table:
    """Return a table over the memory of a record batch.

    Raises:
        DatasetCorruptError: if its buffers are shorter than its length says, or hold nulls.
    """
    arrays = iter(batch.columns)
    columns: list[Column] = []
    for field in schema.fields:
        array = next(arrays, None)
        if array is None:
            raise corrupt(path, f"it has no column for field {field.name!r}")
        columns.append(_column(array, field, path))
        if field.kind == "tensor" and field.shape is None and not _is_list(array.type):
            rows = Field("", "tensor", "int64", (field.dims,), 1)
            shapes = _column(next(arrays, None), rows, path).values
            columns[-1] = Pieces(columns[-1].values, columns[-1].offsets, shapes)  # type: ignore[union-attr]
    return Table(schema, tuple(columns), batch.num_rows)


def _column(array: Any, field: Field, path: Path) -> Column:
    pa = library("pyarrow")
    if array is None or array.null_count:
        raise corrupt(path, f"field {field.name!r} has values that are missing")
    n, kind = len(array), array.type
    if isinstance(kind, pa.BaseExtensionType):
        array, kind = array.storage, array.storage.type
    if pa.types.is_boolean(kind):
        return Rows(array.to_numpy(zero_copy_only=False))

    def read(buffer: Any, dtype: np.dtype[Any], start: int, count: int | None) -> Any:
        there = 0 if buffer is None else buffer.size // dtype.itemsize - start
        if count is not None and there < count:
            raise corrupt(
                path,
                f"field {field.name!r} should take {count} elements of {dtype}, but {there} are "
                "there",
            )
        if buffer is None or count == 0:
            return np.empty(0, dtype)
        return np.frombuffer(buffer, dtype, -1 if count is None else count, start * dtype.itemsize)

    if field.shape is not None and field.row_bytes == 0:
        return Rows(np.empty((n, *field.shape), field.stored))
    if field.shape is not None:
        child = array.values if pa.types.is_fixed_size_list(kind) else array
        size = field.row_bytes // field.stored.itemsize
        # A list's values may begin elsewhere than the list does; an array's own offset is in rows.
        start = array.offset * size + (child.offset if child is not array else 0)
        values = read(child.buffers()[1], field.stored, start, n * size)
        return Rows(values.reshape(n, *field.shape))
    wide = kind in (pa.large_string(), pa.large_binary()) or pa.types.is_large_list(kind)
    ends, data = array.buffers()[1], _data(array)
    offsets = read(ends, np.dtype("<i8" if wide else "<i4"), array.offset, n + 1 if n else 0)
    offsets = offsets.astype(np.int64, copy=False) if n else np.zeros(1, np.int64)
    values = read(data, field.stored, 0, None)
    if _is_list(kind):
        return Pieces(values, offsets + array.values.offset, np.diff(offsets)[:, None])
    if field.stored.itemsize > 1:
        offsets = offsets // field.stored.itemsize
    return Pieces(values, offsets)


def _is_list(kind: Any) -> bool:
    types = library("pyarrow").types
    return bool(types.is_list(kind) or types.is_large_list(kind))


def _data(array: Any) -> Any:
    return array.values.buffers()[1] if _is_list(array.type) else array.buffers()[2]


def schema_from_arrow(schema: Any, path: Path) -> Schema:
    """Return the schema of a file that another program has written: dictionaries of its columns.

    Numbers, strings, bytes, lists of numbers, and tensors of one shape can be read.

    Raises:
        DatasetCorruptError: naming the first column that is something else.
    """
    pa = library("pyarrow")
    fields = []
    for column in schema:
        kind, dims = column.type, 0
        shape: tuple[int, ...] | None = ()
        if isinstance(kind, pa.FixedShapeTensorType):
            shape, kind = tuple(kind.shape), kind.value_type
        elif pa.types.is_fixed_size_list(kind):
            shape, kind = (kind.list_size,), kind.value_type
        elif _is_list(kind):
            shape, kind, dims = None, kind.value_type, 1
        text = {pa.string(): "str", pa.large_string(): "str",
                pa.binary(): "bytes", pa.large_binary(): "bytes"}  # fmt: skip
        if kind in text and shape == ():
            fields.append(Field(column.name, text[kind]))
            continue
        dtype = str(kind).replace("halffloat", "float16").replace("double", "float64")
        dtype = "float32" if dtype == "float" else dtype
        packed = dtype == "bool" and shape != ()
        if dtype not in DTYPES or packed:
            raise corrupt(path, f"column {column.name!r} is {column.type}, which is no sample's")
        fields.append(
            Field(column.name, "tensor", dtype, shape, dims if shape is None else len(shape))
        )
    return Schema("dict", tuple(fields))
