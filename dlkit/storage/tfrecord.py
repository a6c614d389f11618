"""TFRecord: TensorFlow's file of records, with the index that it lacks beside it.

    length (8) | masked CRC-32C of it (4) | tf.train.Example | masked CRC-32C of it (4) | next ...

TensorFlow reads such a file from front to back. For random access `name.tfindex` beside it says
where each record is, in the form of the `tfrecord` package: a line "offset length" for each. It is
made again by one pass over the lengths where it is missing or of another file. A tensor is stored
as bytes with its shape and type beside it (`image`, `image/shape`, `image/dtype`), an integer as
an integer; the first record holds one feature more, `__dlkit__`, which is our header and which
TensorFlow's parser ignores. Files of other programs open as dictionaries of their features, all of
which are read from the first record.
"""

import os
import struct
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
from dlkit.storage.files import Bytes, Header, corrupt, library, map_file, read_header, sync
from dlkit.storage.grouping import values_of
from dlkit.storage.schema import Field, Schema

HEADER = "__dlkit__"
LENGTH, CRC = struct.Struct("<Q"), struct.Struct("<I")
AROUND = LENGTH.size + 2 * CRC.size  # bytes of a record beside its content


def recognises(head: bytes) -> bool:
    """Whether a file begins with a length and the right checksum of it."""
    if len(head) < LENGTH.size + CRC.size:
        return False
    try:
        return bool(masked_crc(head[:8]) == CRC.unpack_from(head, 8)[0])
    except ModuleNotFoundError:
        return False  # then the suffix decides, and opening says what to install


def masked_crc(content: bytes) -> int:
    """Return the CRC-32C of bytes, masked as TensorFlow masks it.

    A checksum over bytes that contain their own checksum would be worthless, hence the mask.

    Example:
        >>> hex(masked_crc(b"123456789"))
        '0xc78ab0e5'
    """
    crc: int = library("google_crc32c").value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def index_path(path: Path) -> Path:
    """Return where the index of a file is."""
    return path.with_suffix(".tfindex")


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


def _features(field: Field, value: Any) -> dict[str, Value]:
    if field.kind != "tensor":
        return {field.name: (BYTES, [value])}
    if field.dtype == "int64" and field.shape == ():
        return {field.name: (INTS, [int(value)])}
    if field.dtype == "float32" and field.shape == ():
        return {field.name: (FLOATS, [float(value)])}
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
    library("google_crc32c")
    mapped = map_file(path)
    listed = _read_index(path)
    known = listed is not None and _end(listed) == len(mapped)
    index = listed if known and listed is not None else _scan(path, mapped)
    if not len(index):
        if not known:
            raise corrupt(path, f"it is empty, and there is no {index_path(path).name} that says "
                          "that it has no records")  # fmt: skip
        return RecordReader(path, Header(Schema(), 0, token=""), lambda _: [])
    try:
        first = load_example(_content(mapped, index, 0))
    except (DamagedRecordError, MessageError) as error:
        raise corrupt(path, str(error), 0) from None
    about = first.pop(HEADER, None)
    if about is None:
        if listed is not None and not known and np.array_equal(listed[: len(index)], index):
            raise corrupt(
                path,
                f"it is truncated: its index {index_path(path).name} names records up to byte "
                f"{_end(listed)}, but it has {len(mapped)}",
                len(index),
            )
        header = Header(_foreign_schema(path, first), len(index), token="")
        return RecordReader(path, header, _decoder(mapped, index, header.schema, foreign=True))
    if about[0] != BYTES or len(about[1]) != 1:
        raise corrupt(path, "its header is damaged", 0)
    header, _ = read_header(path, about[1][0])
    if header.length != len(index):
        raise corrupt(path, f"it has {len(index)} records, but there should be {header.length}: "
                      "it is truncated between two records")  # fmt: skip
    return RecordReader(path, header, _decoder(mapped, index, header.schema, foreign=False))


def _read_index(path: Path) -> IndexArray | None:
    """Return the places of the records, if there is an index that can be true.

    It may be of a file that has just been replaced, or will be: whether it fits is for the file
    to say.
    """
    try:
        places = np.array(index_path(path).read_bytes().split(), np.int64).reshape(-1, 2)
    except (OSError, ValueError, OverflowError):
        return None
    starts, sizes = places[:, 0], places[:, 1]
    if (sizes < AROUND).any() or not np.array_equal(starts, np.cumsum(sizes) - sizes):
        return None
    return places


def _end(index: IndexArray) -> int:
    return int(index[-1].sum()) if len(index) else 0


def _scan(path: Path, mapped: Bytes) -> IndexArray:
    """Go from length to length through a file; the checksum of each length is compared."""
    places: list[tuple[int, int]] = []
    place = 0
    while place < len(mapped):
        head = mapped[place : place + LENGTH.size + CRC.size].tobytes()
        if len(head) < LENGTH.size + CRC.size:
            raise corrupt(path, f"its last {len(head)} bytes are no record", len(places))
        if masked_crc(head[:8]) != CRC.unpack_from(head, 8)[0]:
            raise corrupt(path, "its length fails its checksum", len(places))
        size = LENGTH.unpack_from(head)[0] + AROUND
        if size > len(mapped) - place:
            raise corrupt(
                path,
                f"it takes {size} bytes, but {len(mapped) - place} are left in the file",
                len(places),
            )
        places.append((place, size))
        place += size
    return np.array(places, np.int64).reshape(-1, 2)


def _content(mapped: Bytes, index: IndexArray, number: int) -> bytes:
    """Return the content of a record after comparing both of its checksums."""
    place, size = index[number].tolist()
    record = mapped[place : place + size].tobytes()
    if LENGTH.unpack_from(record)[0] != size - AROUND:
        raise DamagedRecordError(
            0, f"its length is {LENGTH.unpack_from(record)[0]}, but the index says {size - AROUND}"
        )
    content = record[LENGTH.size + CRC.size : -CRC.size]
    if (
        masked_crc(record[:8]) != CRC.unpack_from(record, 8)[0]
        or masked_crc(content) != CRC.unpack(record[-CRC.size :])[0]
    ):
        raise DamagedRecordError(0, "its content fails its checksum")
    return content


def _decoder(
    mapped: Bytes, index: IndexArray, schema: Schema, foreign: bool
) -> Callable[[int], list[Any]]:
    value = _foreign_value if foreign else _value

    def record(number: int) -> list[Any]:
        try:
            features = load_example(_content(mapped, index, number))
        except MessageError as error:
            raise DamagedRecordError(0, f"it is no tf.train.Example: {error}") from None
        return [value(field, features) for field in schema.fields]

    return record


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
    if field.kind != "tensor":
        return _one(features, field.name, BYTES)
    for dtype, kind in (("int64", INTS), ("float32", FLOATS)):
        if field.dtype == dtype and field.shape == ():
            return _feature(features, field.name, kind).reshape(())
    content = _one(features, field.name, BYTES)
    shape = tuple(_feature(features, f"{field.name}/shape", INTS).tolist())
    return _tensor(field, content, shape)


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
    return np.frombuffer(content, field.stored).reshape(shape)


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


def _foreign_value(field: Field, features: dict[str, Value]) -> Any:
    if field.kind == "bytes":
        return _one(features, field.name, BYTES)
    return _feature(features, field.name, FLOATS if field.dtype == "float32" else INTS)
