"""Pickle: one pickled sample after another, with the index at the end that lets it skip to any.

    pickle of a title | pickle of sample 0 | pickle of sample 1 ... | index | header | end

A pickle is a program that Python runs to build objects, so reading one from somebody else gives
that person your account. This module is for files of your own: `open_dataset` asks for
`trusted=True`. Checksums show damage, not malice. A plain pickle file of one list opens too; it is
read into memory as a whole.
"""

import pickle
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from dlkit.storage.columns import DamagedRecordError, Table
from dlkit.storage.dataset import ColumnReader, Reader, RecordReader
from dlkit.storage.files import (
    Bytes,
    Header,
    append_header,
    checksum,
    corrupt,
    header_at_end,
    indexed_piece,
    map_file,
    sync,
)
from dlkit.storage.grouping import values_of
from dlkit.storage.schema import Field
from dlkit.storage.tabulate import tabulate

PROTOCOL = 4
TITLE = pickle.dumps("dlkit pickle 1", PROTOCOL)
PLACE = struct.Struct("<QQI")  # offset, size, CRC-32


def recognises(head: bytes) -> bool:
    """Whether a file begins as pickles of the protocols since Python 3 do."""
    return head[:1] == b"\x80" and head[1:2] in (b"\x03", b"\x04", b"\x05")


def write(target: Path, header: Header, tables: Iterable[Table]) -> None:
    """Write a file."""
    index = bytearray()
    with target.open("wb") as file:
        file.write(TITLE)
        place = len(TITLE)
        for table in tables:
            values = values_of(table)
            for row in range(len(table)):
                content = pickle.dumps(values(row), PROTOCOL)
                file.write(content)
                index += PLACE.pack(place, len(content), checksum(content))
                place += len(content)
        file.write(index)
    append_header(target, header, index=[place, len(index), checksum(index)])
    sync(target)


def open_reader(path: Path) -> Reader:
    """Map a file that is trusted.

    Raises:
        DatasetCorruptError: if it is truncated or damaged.
    """
    mapped = map_file(path)
    if mapped[: len(TITLE)].tobytes() != TITLE:
        return _open_foreign(path, mapped)
    found = header_at_end(path, mapped)
    if found is None:
        raise corrupt(path, "it is truncated: its end is missing")
    header, data = found
    content = indexed_piece(path, mapped, data, PLACE.size * header.length)

    def record(number: int) -> list[Any]:
        offset, size, crc = PLACE.unpack_from(content, number * PLACE.size)
        sample = mapped[offset : offset + size].tobytes()
        if len(sample) != size or checksum(sample) != crc:
            raise DamagedRecordError(0, "it fails its checksum")
        values = pickle.loads(sample)
        fields = header.schema.fields
        if not isinstance(values, list) or not all(map(_fits, fields, values)):
            raise DamagedRecordError(0, f"it is not the {len(fields)} fields of the header")
        return values

    return RecordReader(path, header, record)


def _fits(field: Field, value: Any) -> bool:
    if field.kind != "tensor":
        return isinstance(value, bytes)
    return (
        isinstance(value, np.ndarray | np.generic)
        and value.dtype == field.stored
        and field.shape in (None, value.shape)
        and value.ndim <= field.dims
    )


def _open_foreign(path: Path, mapped: Bytes) -> ColumnReader:
    try:
        samples = pickle.loads(mapped.data)
    except Exception as error:  # unpickling runs code, which may raise anything
        raise corrupt(path, f"it is truncated, damaged, or no pickle: {error!r}") from error
    if not isinstance(samples, list | tuple):
        raise corrupt(path, f"it holds a {type(samples).__name__}, not a list of samples")
    try:
        table = tabulate(samples)
    except (TypeError, ValueError) as error:
        raise corrupt(path, f"it holds no samples: {error}") from error
    return ColumnReader(path, Header(table.schema, len(table), token=""), [table])
