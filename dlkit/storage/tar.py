"""Tar shards as WebDataset writes them: a member for each field, all of a sample side by side.

    000000000.image.npy | 000000000.label.cls | 000000001.image.npy | ... | index | header | end

WebDataset streams such files; the members `__dlkit__/...` at the end, which it takes for metadata
and skips, say where each field is, so that it can also be read in any order. A field is `name.npy`
(tensors), `name.cls` (integers), `name.txt` (strings), or `name` (bytes); an integer named `cls` is
`cls` alone, and so with the other suffixes. Files of other programs open as dictionaries of bytes,
after one pass over their members. Nothing is ever unpacked to a disk, and an archive with a member
whose name leads out of it, or that is no plain file, is refused.
"""

import io
import re
import struct
import tarfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import numpy as np

from dlkit.storage.columns import DamagedRecordError, Table
from dlkit.storage.dataset import RecordReader
from dlkit.storage.files import (
    Bytes,
    Header,
    checksum,
    corrupt,
    indexed_piece,
    map_file,
    npy_header,
    piece,
    read_header,
    sync,
)
from dlkit.storage.grouping import values_of
from dlkit.storage.schema import Field, Schema

BLOCK = 512
OWN = "__dlkit__"
CLOSING = bytes(2 * BLOCK)
PLACE = struct.Struct("<QQI")  # offset, size, CRC-32


def recognises(head: bytes) -> bool:
    """Whether a file begins with a tar header, or with the end of an empty archive."""
    return head[257:262] == b"ustar" or (len(head) == BLOCK and not any(head))


# ---- writing ------------------------------------------------------------------------------------


def write(target: Path, header: Header, tables: Iterable[Table]) -> None:
    """Write an archive, and the members that make it readable in any order."""
    fields = header.schema.fields
    suffixes = [suffix(field) for field in fields]
    index = bytearray()
    number = 0
    with target.open("wb") as file:
        for table in tables:
            values = values_of(table)
            for row in range(len(table)):
                for field, ending, value in zip(fields, suffixes, values(row), strict=True):
                    content = _encode(field, value)
                    place = _add(file, f"{number:09}.{ending}", content)
                    index += PLACE.pack(place, len(content), checksum(content))
                number += 1
        place = _add(file, f"{OWN}/index", bytes(index))
        about = header.dumps(index=[place, len(index), checksum(bytes(index))]).encode()
        place = _add(file, f"{OWN}/header.json", about)
        end = PLACE.pack(place, len(about), checksum(about))
        _add(file, f"{OWN}/end", end.ljust(BLOCK, b" "))
        file.write(CLOSING)
    sync(target)


def _add(file: Any, name: str, content: bytes) -> int:
    """Write a member, and return where its content begins."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    file.write(info.tobuf(tarfile.GNU_FORMAT))
    place: int = file.tell()
    file.write(content)
    file.write(bytes(-len(content) % BLOCK))
    return place


def suffix(field: Field) -> str:
    """Return how the members of a field end.

    Example:
        >>> suffix(Field("image", "tensor", "uint8", (28, 28), 2)), suffix(Field("jpg", "bytes"))
        ('image.npy', 'jpg')
    """
    # A dot would end the sample's key, and a slash the folder.
    name = quote(field.name, safe="").replace(".", "%2E")
    kind = {"bytes": name, "str": "txt"}.get(field.kind, "cls" if _is_integer(field) else "npy")
    return name if name == kind else f"{name}.{kind}"


def _is_integer(field: Field) -> bool:
    return field.dtype == "int64" and field.shape == ()


def _encode(field: Field, value: Any) -> bytes:
    if field.kind != "tensor":
        return bytes(value)
    if _is_integer(field):
        return str(int(value)).encode()
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(value).reshape(value.shape))
    return stream.getvalue()


# ---- reading ------------------------------------------------------------------------------------


def open_reader(path: Path) -> RecordReader:
    """Map an archive and find where its fields are.

    Raises:
        DatasetCorruptError: if it is truncated or damaged, or has members that are refused.
    """
    mapped = map_file(path)
    about = _own_header(path, mapped)
    if about is None:
        return _open_foreign(path, mapped)
    header, data = read_header(path, about)
    fields = header.schema.fields
    content = indexed_piece(path, mapped, data, PLACE.size * header.length * len(fields))
    kind = np.dtype([("offset", "<u8"), ("size", "<u8"), ("crc", "<u4")])
    places = np.frombuffer(content, kind).reshape(header.length, len(fields))

    def record(number: int) -> list[Any]:
        row = places[number].tolist()
        found: list[Any] = []
        for field, (offset, size, crc) in zip(fields, row, strict=True):
            member = mapped[offset : offset + size].tobytes()
            if len(member) != size or checksum(member) != crc:
                raise DamagedRecordError(0, f"field {field.name!r} fails its checksum")
            found.append(_decode(field, member))
        return found

    return RecordReader(path, header, record)


def _own_header(path: Path, mapped: Bytes) -> bytes | None:
    """Return our header if there is one at the end of the file."""
    tail = mapped[-4 * BLOCK :].tobytes()
    name = f"{OWN}/end".encode()
    if len(tail) < 4 * BLOCK or not tail.startswith(name) or not tail.endswith(CLOSING):
        return None
    return piece(path, mapped, f"{OWN}/header.json", *PLACE.unpack_from(tail, BLOCK))


def _decode(field: Field, content: bytes) -> Any:
    if field.kind != "tensor":
        return content
    if _is_integer(field):
        if not re.fullmatch(rb"-?\d{1,19}", content):
            raise DamagedRecordError(0, f"field {field.name!r} is no integer")
        return np.int64(content)
    found = _npy_header(content[: content.find(b"\n") + 1])
    if found is None:
        raise DamagedRecordError(0, f"field {field.name!r} is no .npy array")
    start, kind, shape = found
    dtype = field.stored
    if kind != dtype.str or field.shape not in (None, shape) or len(shape) > field.dims:
        raise DamagedRecordError(
            0, f"field {field.name!r} is {kind} of {list(shape)}, but the header says {field}"
        )
    size = dtype.itemsize
    for side in shape:
        size *= side
    if size != len(content) - start:
        raise DamagedRecordError(0, f"field {field.name!r} should take {size} bytes")
    return np.frombuffer(content, dtype, offset=start).reshape(shape)


_npy_header = lru_cache(maxsize=4096)(npy_header)  # most of a dataset's are the same bytes


# ---- archives of other programs -----------------------------------------------------------------


def _open_foreign(path: Path, mapped: Bytes) -> RecordReader:
    """Group the members by what stands before the first dot of their names."""
    groups: dict[str, dict[str, tuple[int, int]]] = {}
    for name, place, size in _members(path, mapped):
        if name.startswith(f"{OWN}/"):
            raise corrupt(path, "it is one of dlkit's, but does not end as they do")
        if any(re.fullmatch("__.*__", part) for part in PurePosixPath(name).parts[:1]):
            continue  # metadata
        folder, _, base = name.rpartition("/")
        key, dot, ending = base.partition(".")
        if not dot:
            continue  # WebDataset passes over these too
        group = groups.setdefault(f"{folder}/{key}", {})
        if ending in group:
            raise corrupt(path, f"member {name!r} is there twice")
        group[ending] = (place, size)
    endings = sorted(next(iter(groups.values()), {}))
    for number, (key, group) in enumerate(groups.items()):
        if sorted(group) != endings:
            raise corrupt(
                path,
                f"sample {key.lstrip('/')!r} has the fields {sorted(group)}, but the first one has "
                f"{endings}",
                number,
            )
    samples = [[group[ending] for ending in endings] for group in groups.values()]
    schema = Schema("dict", tuple(Field(ending, "bytes") for ending in endings))

    def record(number: int) -> list[Any]:
        return [mapped[place : place + size].tobytes() for place, size in samples[number]]

    return RecordReader(path, Header(schema, len(samples), token=""), record)


def _members(path: Path, mapped: Bytes) -> list[tuple[str, int, int]]:
    """Return name, place and size of each member, after looking at all of them."""
    found: list[tuple[str, int, int]] = []
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                check_member(path, member, len(found))
                if member.offset_data + member.size > len(mapped):
                    raise corrupt(
                        path,
                        f"member {member.name!r} takes {member.size} bytes, but the file ends "
                        "before",
                        len(found),
                    )
                found.append((member.name, member.offset_data, member.size))
            end = archive.offset
    except (tarfile.TarError, EOFError, OverflowError, UnicodeError) as error:
        raise corrupt(path, f"it is no tar archive, or a damaged one: {error}") from error
    if mapped[end : end + len(CLOSING)].tobytes() != CLOSING:
        raise corrupt(
            path, f"it is truncated: no end of the archive follows its {len(found)} members"
        )
    return found


def check_member(path: Path, member: tarfile.TarInfo, number: int) -> None:
    """Refuse a member that is no plain file, or whose name leads out of the archive.

    Raises:
        DatasetCorruptError: naming the member.
    """
    parts = re.split(r"[/\\]", member.name)
    if not member.isreg() or member.issparse():
        raise corrupt(path, f"member {member.name!r} is no plain file, which is refused", number)
    if ".." in parts or not parts[0] or ":" in parts[0] or "\0" in member.name:
        raise corrupt(
            path, f"the name of member {member.name!r} leads out of the archive; refused", number
        )
