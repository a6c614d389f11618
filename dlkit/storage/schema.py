"""What the samples of a stored dataset look like: which fields, of which types and shapes.

    (image [1, 28, 28] uint8, label 7, "a seven")
        ->  tuple of  tensor uint8 [1, 28, 28],  tensor int64 [],  str

A sample is one value, a tuple of values, or a dictionary of them. Numbers and arrays come back as
tensors, so that a batch of them is one gather; that changes nothing after `default_collate`, which
turns them into the same tensors. Every format keeps its schema as JSON, which is read with as much
distrust as the data.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

VERSION = 1
LAYOUTS = ("tuple", "dict", "value")
KINDS = ("tensor", "str", "bytes")
MAX_FIELDS, MAX_DIMS = 10_000, 64

# Types that NumPy lacks are stored as integers of the same width, which hold the same bits.
_AS_BITS = {"bfloat16": "int16"} | {
    name: "uint8"
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
    if hasattr(torch, name)
}
_AS_THEY_ARE = (
    *("bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
DTYPES = (*_AS_THEY_ARE, *_AS_BITS)


class SchemaError(ValueError):
    """A description of samples that cannot be understood; whoever reads a file adds its name."""


@dataclass(frozen=True)
class Field:
    """One part of every sample.

    Attributes:
        name: its key in a dictionary, its position in a tuple.
        kind: `"tensor"`, `"str"` or `"bytes"`.
        dtype: of a tensor, by torch's name, such as `"float32"`; empty for the others.
        shape: of a tensor in all samples; None where it differs, and for the others.
        dims: most dimensions of a tensor in any sample.
    """

    name: str
    kind: str
    dtype: str = ""
    shape: tuple[int, ...] | None = None
    dims: int = 0

    @property
    def stored(self) -> np.dtype[Any]:
        """The type of the stored numbers, little-endian; bytes for text."""
        return np.dtype(_AS_BITS.get(self.dtype, self.dtype or "uint8")).newbyteorder("<")

    @property
    def torch_dtype(self) -> torch.dtype:
        """The type of the tensors that are read."""
        found: torch.dtype = getattr(torch, self.dtype)
        return found

    @property
    def row_bytes(self) -> int:
        """Bytes of one sample's field where the shape is the same in all samples."""
        size = self.stored.itemsize
        for side in self.shape or ():
            size *= side
        return size

    def __str__(self) -> str:
        if self.kind != "tensor":
            return self.kind
        return f"{self.dtype} {'of any shape' if self.shape is None else list(self.shape)}"


@dataclass(frozen=True)
class Schema:
    """The fields of a sample and what holds them: `"tuple"`, `"dict"`, or nothing (`"value"`).

    Example:
        >>> schema = schema_of({"image": torch.zeros(3, 8, 8), "label": 2})
        >>> [str(field) for field in schema.fields]
        ['float32 [3, 8, 8]', 'int64 []']
    """

    layout: str = "tuple"
    fields: tuple[Field, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the schema as plain data for a file's header."""
        fields = [
            {"name": f.name, "kind": f.kind, "dtype": f.dtype, "dims": f.dims}
            | ({} if f.shape is None else {"shape": list(f.shape)})
            for f in self.fields
        ]
        return {"layout": self.layout, "fields": fields}


def schema_from_json(data: Any) -> Schema:
    """Read what `Schema.as_json` made, believing nothing.

    Raises:
        SchemaError: if a part is missing, or is not what it must be.
    """
    if not isinstance(data, dict) or data.get("layout") not in LAYOUTS:
        raise SchemaError(f"its schema has no layout out of {LAYOUTS}")
    fields = data.get("fields")
    if not isinstance(fields, list) or len(fields) > MAX_FIELDS:
        raise SchemaError("its schema has no list of fields")
    found = tuple(_field_from_json(field) for field in fields)
    if len({field.name for field in found}) < len(found):
        raise SchemaError("its schema names a field twice")
    if data["layout"] == "value" and len(found) > 1:
        raise SchemaError("its schema has several fields for a single value")
    return Schema(data["layout"], found)


def _field_from_json(data: Any) -> Field:
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        raise SchemaError("its schema has a field without a name")
    name, kind, dtype = data["name"], data.get("kind"), data.get("dtype")
    if kind not in KINDS or dtype not in (DTYPES if kind == "tensor" else ("",)):
        raise SchemaError(f"field {name!r} has the unknown type {kind!r}, {dtype!r}")
    shape, dims = data.get("shape"), data.get("dims")
    if type(dims) is not int or not 0 <= dims <= MAX_DIMS:
        raise SchemaError(f"field {name!r} has {dims!r} dimensions")
    if shape is not None:
        sides = isinstance(shape, list) and all(type(s) is int and 0 <= s < 2**48 for s in shape)
        if not sides or len(shape) != dims or kind != "tensor":
            raise SchemaError(f"field {name!r} has the shape {shape!r}")
        shape = tuple(shape)
    return Field(name, kind, dtype, shape, dims)


def schema_of(sample: Any) -> Schema:
    """Say what one sample looks like.

    Raises:
        TypeError: if a part of it cannot be stored; the message says which, and what can.
    """
    layout, names, values = take_apart(sample)
    fields = tuple(_field_of(n, v) for n, v in zip(names, values, strict=True))
    return Schema(layout, fields)


def take_apart(sample: Any) -> tuple[str, list[str], list[Any]]:
    """Return the layout of a sample, the names of its fields, and their values."""
    if isinstance(sample, Mapping):
        for name in sample:
            if not isinstance(name, str):
                raise TypeError(f"the keys of a stored dictionary must be strings, got {name!r}")
        return "dict", list(sample), list(sample.values())
    if type(sample) in (tuple, list):
        return "tuple", [str(position) for position in range(len(sample))], list(sample)
    return "value", ["value"], [sample]


def put_together(schema: Schema, values: list[Any]) -> Any:
    """Return a sample from the values of its fields."""
    if schema.layout == "dict":
        return {field.name: value for field, value in zip(schema.fields, values, strict=True)}
    return tuple(values) if schema.layout == "tuple" else values[0]


def _field_of(name: str, value: Any) -> Field:
    if isinstance(value, str):
        return Field(name, "str")
    if isinstance(value, bytes | bytearray | memoryview):
        return Field(name, "bytes")
    dtype = dtype_name(name, value)
    shape = tuple(getattr(value, "shape", ()))
    return Field(name, "tensor", dtype, shape, len(shape))


def dtype_name(name: str, value: Any) -> str:
    """Return torch's name of the type that a number, an array or a tensor is stored as."""
    found: str | None = None
    if isinstance(value, Tensor):
        if value.layout is torch.strided and not value.is_quantized:
            found = str(value.dtype).removeprefix("torch.")
    elif isinstance(value, np.ndarray | np.generic):
        found = value.dtype.name
    elif isinstance(value, bool):
        found = "bool"
    elif isinstance(value, int):
        found = "int64"
    elif isinstance(value, float):
        found = "float64"
    if found not in DTYPES:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        detail = f" of {value.dtype}" if hasattr(value, "dtype") else ""
        raise TypeError(
            f"field {name!r} is a {kind}{detail}, which cannot be stored; a sample is a tensor, an "
            "array, a number, a str or bytes, or a tuple or dict of these, not nested deeper. "
            "dlkit.TransformDataset turns samples into such; of an image file keep the bytes"
        )
    return found


def as_array(field: Field, value: Any) -> npt.NDArray[Any]:
    """Return a field's value as an array of the type in which it is stored."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        if field.dtype in _AS_BITS:
            value = value.view(getattr(torch, _AS_BITS[field.dtype]))
        value = value.numpy()
    try:
        return np.asarray(value, dtype=field.stored)
    except OverflowError:
        raise ValueError(f"field {field.name!r} is {value}, which no int64 can hold") from None


def widen(ours: Schema, theirs: Schema) -> Schema:
    """Return the schema that holds the samples of both: shapes may differ, nothing else may.

    Raises:
        SchemaError: with what differs.

    Example:
        >>> a, b = schema_of(torch.zeros(2)), schema_of(torch.zeros(3))
        >>> str(widen(a, b).fields[0])
        'float32 of any shape'
    """
    if ours == theirs:
        return ours
    names = [[field.name for field in schema.fields] for schema in (ours, theirs)]
    if ours.layout != theirs.layout or names[0] != names[1]:
        raise SchemaError(f"it is {_outline(theirs)}, but those before are {_outline(ours)}")
    fields = []
    for mine, other in zip(ours.fields, theirs.fields, strict=True):
        if (mine.kind, mine.dtype) != (other.kind, other.dtype):
            raise SchemaError(f"field {mine.name!r} is {other}, but those before are {mine}")
        shape = mine.shape if mine.shape == other.shape else None
        fields.append(replace(mine, shape=shape, dims=max(mine.dims, other.dims)))
    return Schema(ours.layout, tuple(fields))


def _outline(schema: Schema) -> str:
    if schema.layout == "value":
        return f"a single {schema.fields[0].kind}"
    names = ", ".join(re.sub(r"\s+", " ", field.name)[:40] for field in schema.fields[:8])
    return f"a {schema.layout} of {len(schema.fields)} fields ({names})"
