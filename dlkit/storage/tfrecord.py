"""TFRecord: TensorFlow's file of records, with the index that it lacks beside it.

    length (8) | masked CRC-32C of it (4) | tf.train.Example | masked CRC-32C of it (4) | next ...

TensorFlow reads such a file from front to back. For random access `name.tfindex` beside it says
where each record is, in the form of the `tfrecord` package: a line "offset length" for each. Where
it is missing or belongs to another file, one pass over the lengths finds the records. A tensor is
stored as bytes with its shape and type beside it (`image`, `image/shape`, `image/dtype`), an
integer as an integer; the first record holds one feature more, `__dlkit__`, which is our header and
which TensorFlow's parser ignores. Files of other programs open as dictionaries of the features that
their first record has.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlkit.storage.columns import DamagedRecordError, IndexArray, Table
from dlkit.storage.dataset import RecordReader
from dlkit.storage.example import (
    BYTES,
    FLOATS,
    INTS,
    MessageError,
    Value,
    dump_example,
    load_example,
)
from dlkit.storage.files import Bytes, Header, corrupt, map_file, read_header, sync
from dlkit.storage.grouping import values_of
from dlkit.storage.schema import Field, Schema
from dlkit.storage.tfrecord_batches import TFRecordReader
from dlkit.storage.tfrecord_frames import (
    AROUND,
    BEFORE,
    CRC,
    LENGTH,
    content_of,
    crc32c,
    end_of,
    index_path,
    masked_crc,
    read_index,
    scan,
)

HEADER = "__dlkit__"


def recognises(head: bytes) -> bool:
    """Whether a file begins with a length and the right checksum of it."""
    if len(head) < BEFORE:
        return False
    try:
        return bool(masked_crc(head[:8]) == CRC.unpack_from(head, 8)[0])
    except ModuleNotFoundError:
        return False  # then the suffix decides, and opening says what to install


def write(target: Path, header: Header, tables: Iterable[Table]) -> None:
    """Write a file, and its index beside it."""
    fields, first, place = header.schema.fields, True, 0
    index = target.with_suffix(".tfindex")
    with target.open("wb") as file, index.open("w") as lines:
        for table in tables:
            values = values_of(table)
            for number in range(len(table)):
                features: dict[str, Value] = {}
                for field, value in zip(fields, values(number), strict=True):
                    features.update(_features(field, value))
                if first:
                    features[HEADER] = (BYTES, [header.dumps().encode()])
                    first = False
                content = dump_example(features)
                size = LENGTH.pack(len(content))
                file.write(size + CRC.pack(masked_crc(size)))
                file.write(content + CRC.pack(masked_crc(content)))
                lines.write(f"{place} {len(content) + AROUND}\n")
                place += len(content) + AROUND
    sync(target)
    sync(index)


def install(written: Path, target: Path) -> None:
    """Move both files; between the two moves the index is of another file, and is not used."""
    os.replace(written, target)
    os.replace(written.with_suffix(".tfindex"), index_path(target))


def _list_of(field: Field) -> int:
    """Which list of a feature holds the values of a field in a file of ours."""
    if field.kind == "tensor" and field.shape == ():
        return {"int64": INTS, "float32": FLOATS}.get(field.dtype, BYTES)
    return BYTES


def _features(field: Field, value: Any) -> dict[str, Value]:
    kind = _list_of(field)
    if field.kind != "tensor" or kind != BYTES:
        return {field.name: (kind, [value])}
    return {
        field.name: (BYTES, [np.ascontiguousarray(value).tobytes()]),
        f"{field.name}/shape": (INTS, list(value.shape)),
        f"{field.name}/dtype": (BYTES, [field.dtype.encode()]),
    }


# ---- reading ------------------------------------------------------------------------------------


def open_reader(path: Path) -> RecordReader:
    """Map a file, find its records, and read its header.

    Raises:
        DatasetCorruptError: if it is truncated or damaged.
    """
    crc32c()
    mapped = map_file(path)
    listed = read_index(path)
    known = listed is not None and end_of(listed) == len(mapped)
    index = listed if known and listed is not None else scan(path, mapped)
    if not len(index):
        if not known:
            raise corrupt(path, f"it is empty, and there is no {index_path(path).name} that says "
                          "that it has no records")  # fmt: skip
        return RecordReader(path, Header(Schema(), 0, token=""), lambda _: [])
    try:
        first = load_example(content_of(mapped, index, 0))
    except (DamagedRecordError, MessageError) as error:
        raise corrupt(path, str(error), 0) from None
    about = first.pop(HEADER, None)
    if about is None:
        if listed is not None and not known and np.array_equal(listed[: len(index)], index):
            raise corrupt(
                path,
                f"it is truncated: its index {index_path(path).name} names records up to byte "
                f"{end_of(listed)}, but it has {len(mapped)}",
                len(index),
            )
        header = Header(_foreign_schema(path, first), len(index), token="")
        return _reader(path, header, mapped, index, _foreign_list_of, _foreign_value)
    if about[0] != BYTES or len(about[1]) != 1:
        raise corrupt(path, "its header is damaged", 0)
    header, _ = read_header(path, about[1][0])
    if header.length != len(index):
        raise corrupt(path, f"it has {len(index)} records, but there should be {header.length}: "
                      "it is truncated between two records")  # fmt: skip
    return _reader(path, header, mapped, index, _list_of, _value)


def _reader(
    path: Path,
    header: Header,
    mapped: Bytes,
    index: IndexArray,
    kind_of: Callable[[Field], int],
    value: Callable[[Field, dict[str, Value]], Any],
) -> TFRecordReader:
    def record(number: int) -> list[Any]:
        try:
            features = load_example(content_of(mapped, index, number))
        except MessageError as error:
            raise DamagedRecordError(0, f"it is no tf.train.Example: {error}") from None
        return [value(field, features) for field in header.schema.fields]

    return TFRecordReader(path, header, mapped, index, record, kind_of, crc32c())


def _feature(features: dict[str, Value], name: str, kind: int) -> Any:
    """Return a list of one kind in a record."""
    found, values = features.get(name, (0, None))
    if found != kind:
        raise DamagedRecordError(0, f"it has no feature {name!r} of the right type")
    return values


def _one(features: dict[str, Value], name: str, kind: int) -> Any:
    values = _feature(features, name, kind)
    if len(values) != 1:
        raise DamagedRecordError(0, f"feature {name!r} has {len(values)} values instead of one")
    return values[0]


def _value(field: Field, features: dict[str, Value]) -> Any:
    kind = _list_of(field)
    value = _one(features, field.name, kind)
    if field.kind != "tensor":
        return value
    if kind != BYTES:
        return np.asarray(value)
    shape = tuple(_feature(features, f"{field.name}/shape", INTS).tolist())
    return _tensor(field, value, shape)


def _tensor(field: Field, content: bytes, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    size = field.stored.itemsize
    for side in shape:
        size *= side
    if min(shape, default=0) < 0 or size != len(content) or len(shape) > field.dims:
        raise DamagedRecordError(
            0, f"field {field.name!r} of shape {list(shape)} has {len(content)} bytes"
        )
    if field.shape not in (None, shape):
        raise DamagedRecordError(0, f"field {field.name!r} has the shape {list(shape)}")
    try:
        return np.frombuffer(content, field.stored).reshape(shape)
    except ValueError as error:  # no elements, and sides that are too large together
        raise DamagedRecordError(0, f"field {field.name!r}: {error}") from None


def _foreign_schema(path: Path, features: dict[str, Value]) -> Schema:
    """Take the lists of the first record as the fields of every one; their lengths may differ."""
    fields = []
    for name, (kind, values) in sorted(features.items()):
        if kind == BYTES:
            if len(values) != 1:
                raise corrupt(path, f"feature {name!r} has {len(values)} byte strings, not one", 0)
            fields.append(Field(name, "bytes"))
        else:
            fields.append(Field(name, "tensor", "float32" if kind == FLOATS else "int64", None, 1))
    return Schema("dict", tuple(fields))


def _foreign_list_of(field: Field) -> int:
    if field.kind == "bytes":
        return BYTES
    return FLOATS if field.dtype == "float32" else INTS


def _foreign_value(field: Field, features: dict[str, Value]) -> Any:
    read = _one if field.kind == "bytes" else _feature
    return read(features, field.name, _foreign_list_of(field))
