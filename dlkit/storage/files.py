"""Files: mapped instead of read, replaced at once, and named where they are damaged.

A mapped file is one array of bytes over the system's page cache. Nothing is read before it is
touched, all processes share the pages, and it can be used by any number of threads and survives a
fork, because there is no position in it that anybody could move. A size that a header declares is
compared with the array's length before anything is made of that size.
"""

import json
import math
import mmap
import os
import re
import secrets
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from dlkit.datasets.errors import DatasetCorruptError
from dlkit.storage.schema import VERSION, Schema, SchemaError, schema_from_json

Bytes = npt.NDArray[np.uint8]


def corrupt(path: Path, reason: str, record: int | None = None) -> DatasetCorruptError:
    """Return the error that names the file, the record if there is one, and what is wrong."""
    where = f"{path}" if record is None else f"{path}, record {record}"
    return DatasetCorruptError(f"{where}: {reason}")


def map_file(path: Path) -> Bytes:
    """Return a file's bytes, of which none is read before it is used.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "file").write_bytes(b"abc")
        ...     map_file(Path(folder, "file")).tolist()
        [97, 98, 99]
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:  # nothing to map
            return np.empty(0, np.uint8)
        return np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ), np.uint8)


def library(name: str, extra: str = "storage") -> ModuleType:
    """Import the library of a format, or say what installs it.

    Example:
        >>> library("no_such_library")
        Traceback (most recent call last):
        ...
        ModuleNotFoundError: this needs no_such_library: pip install "dlkit[storage]" installs it
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ModuleNotFoundError(
            f'this needs {name.partition(".")[0]}: pip install "dlkit[{extra}]" installs it',
            name=error.name,
        ) from None


def checksum(*parts: Any, start: int = 0) -> int:
    """Return the CRC-32 of arrays and bytes, one after another, as zip and PNG use it."""
    value = start
    for part in parts:
        if isinstance(part, np.ndarray):
            part = np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
        value = zlib.crc32(part, value)
    return value


def sync(path: Path) -> None:
    """Wait until a file's bytes are on the disk, so that a power cut cannot leave a hollow file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until a folder's entries are on the disk."""
    if os.name == "posix":  # Windows cannot open a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class Header:
    """What every file says about itself: the samples' schema, their number, and which file it is.

    Attributes:
        schema: of the samples.
        length: number of samples.
        token: drawn for each file that is written; a worker that opens a file by its path finds out
            by it whether it is still the same one. Files of other programs have none.
    """

    schema: Schema
    length: int
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def dumps(self, **more: Any) -> str:
        """Return it as JSON, with what a format adds."""
        own = {"dlkit": VERSION, "token": self.token, "length": self.length}
        data = {**own, **self.schema.as_json(), **more}
        return json.dumps({**data, "crc32": _header_checksum(data)})


def _header_checksum(data: dict[str, Any]) -> int:
    return checksum(json.dumps(data, sort_keys=True).encode())


def read_header(path: Path, content: bytes | str) -> tuple[Header, dict[str, Any]]:
    """Parse what `Header.dumps` made; returns it with all of the JSON, for what a format added.

    Raises:
        DatasetCorruptError: if it is damaged, or of a later version.
    """
    try:
        data = json.loads(content)
        if not isinstance(data, dict) or "dlkit" not in data:
            raise SchemaError("it has no header of dlkit")
        if data["dlkit"] != VERSION:
            raise SchemaError(
                f"it has version {data['dlkit']!r:.40}, but this dlkit reads {VERSION}"
            )
        if data.pop("crc32", None) != _header_checksum(data):
            raise SchemaError("it fails its checksum")
        length, token = data.get("length"), data.get("token")
        if type(length) is not int or not 0 <= length < 2**63:
            raise SchemaError(f"its header says that it has {length!r:.40} records")
        if not isinstance(token, str) or not token.isalnum():
            raise SchemaError("its header has no token")
        return Header(schema_from_json(data), length, token), data
    except (ValueError, RecursionError) as error:  # a SchemaError is a ValueError too
        raise corrupt(path, f"its header is damaged: {error}") from error


END = struct.Struct("<QQI8s")  # where the header is, its length, its CRC-32, and a mark
END_MARK = b"dlkitend"


def append_header(path: Path, header: Header, **more: Any) -> None:
    """Add a header behind everything else in a file, where its reader looks first."""
    about = header.dumps(**more).encode()
    with path.open("ab") as file:
        place = file.tell()
        file.write(about + END.pack(place, len(about), checksum(about), END_MARK))


def header_at_end(path: Path, mapped: Bytes) -> tuple[Header, dict[str, Any]] | None:
    """Return what `append_header` added, or None if the file does not end with that.

    Raises:
        DatasetCorruptError: if it is damaged.
    """
    tail = mapped[-END.size :].tobytes()
    if not tail.endswith(END_MARK) or len(tail) < END.size:
        return None
    return read_header(path, piece(path, mapped, "its header", *END.unpack(tail)[:3]))


def piece(path: Path, mapped: Bytes, name: str, place: int, size: int, crc: int) -> bytes:
    """Return a part of a file after comparing its place with the file and its checksum.

    Raises:
        DatasetCorruptError: if it is not inside, or fails its checksum.
    """
    if place < 0 or size < 0 or place + size > len(mapped):
        raise corrupt(
            path, f"{name} should be {size} bytes at {place}, but the file has {len(mapped)}"
        )
    content = mapped[place : place + size].tobytes()
    if checksum(content) != crc:
        raise corrupt(path, f"{name} fails its checksum")
    return content


def indexed_piece(path: Path, mapped: Bytes, data: dict[str, Any], size: int) -> bytes:
    """Return the index that a header tells the place of, which must have this size.

    Raises:
        DatasetCorruptError: if it is not there, not whole, or of another size.
    """
    place = data.get("index")
    if not isinstance(place, list) or [type(part) for part in place] != [int] * 3:
        raise corrupt(path, "its header does not say where the index is")
    content = piece(path, mapped, "its index", *place)
    if len(content) != size:
        raise corrupt(path, f"its index has {len(content)} bytes, but should have {size}")
    return content


def array_at(
    path: Path,
    name: str,
    start: int | None,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    mapped: Bytes,
) -> npt.NDArray[Any]:
    """Return an array where it lies in a file.

    Raises:
        DatasetCorruptError: if the file ends before it does.
    """
    count = math.prod(shape)
    if count == 0:
        return np.empty(shape, dtype)
    if start is None or start + count * dtype.itemsize > len(mapped):
        raise corrupt(
            path,
            f"{name} announces {count * dtype.itemsize} bytes at {start}, but the file has "
            f"{len(mapped)}",
        )
    return np.frombuffer(mapped, dtype, count, start).reshape(shape)


# As NumPy writes it for arrays in C's order, to the end of its line.
_NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([!-&(-~]+)', 'fortran_order': False, "
    rb"'shape': \(((?:[0-9]+, ?)*[0-9]*)\), \} *\n",
    re.DOTALL,
)


def npy_header(head: bytes) -> tuple[int, str, tuple[int, ...]] | None:
    """Return where the values of a `.npy` file begin, their type and their shape.

    `np.lib.format` reads it too, but evaluates it as Python, which CPython 3.11 and 3.12 cannot do
    in two threads at once without failing at times.

    Args:
        head: the first bytes of the file.

    Returns:
        None if they are no such header.

    Example:
        >>> import io
        >>> stream = io.BytesIO()
        >>> np.save(stream, np.zeros((2, 3), np.uint8))
        >>> npy_header(stream.getvalue())
        (128, '|u1', (2, 3))
    """
    found = _NPY_HEADER.match(head)
    if found is None:
        return None
    kind, sides = (part.decode() for part in found.groups())
    return found.end(), kind, tuple(int(side) for side in sides.split(",") if side.strip())


def attempt(path: Path, what: str, work: Callable[[], Any], *errors: type[Exception]) -> Any:
    """Let a library work on a file; its `errors` become a `DatasetCorruptError`."""
    try:
        return work()
    except DatasetCorruptError:
        raise
    except errors as error:
        raise corrupt(path, f"{what}: {error}") from error
