"""The samples of a conversion that is under way, kept so that it can go on where it stopped.

    .images.arrow.converting/        beside the target, and gone when it is written
        samples    frame | frame | frame ...       frame = length, CRC-32, columns of some samples
        written    the target, which gets its name when it is whole

Reading a data set may take hours, of decoding or of downloading; copying it within a disk takes
seconds. So the samples are read once, into this file, and written from it: the schema is known
before the target's first byte is written, and every format can be resumed in the same way.
"""

import json
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dlkit.storage.columns import Column, Pieces, Rows, Table
from dlkit.storage.files import checksum
from dlkit.storage.grouping import arrays_of
from dlkit.storage.schema import Schema, SchemaError, schema_from_json, widen

FRAME = struct.Struct("<QI")  # bytes of the content, and its CRC-32
MAGIC = b"dlkit spool 1\n"


class Spool:
    """Tables of samples in a file that is only ever appended to.

    Args:
        path: what is converted to; the folder is made beside it.
        identity: says which data set the samples are of; a spool of another one is thrown away.

    Raises:
        BlockingIOError: if another process is converting to the same path.

    Attributes:
        folder: holds the samples and what is being written.
        written: where the target is to be written.
        schema: of all samples so far.
        done: number of samples so far.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.folder = path.parent / f".{path.name}.converting"
        self.written = self.folder / "written"
        self.schema = Schema()
        self.done = 0
        self.folder.mkdir(exist_ok=True)
        self._file: BinaryIO = (self.folder / "samples").open("a+b")
        try:
            _lock(self._file, path)
            self._clear()  # half a target of an attempt that was killed
            self._start = MAGIC + json.dumps(identity, sort_keys=True).encode() + b"\n"
            self._take_up()
        except BaseException:
            self._file.close()
            raise

    def _take_up(self) -> None:
        """Find the frames that are whole, and cut off what follows them."""
        self._file.seek(0)
        if self._file.read(len(self._start)) != self._start:
            self.restart()
            return
        end = self._file.tell()
        for table, place in self._frames():
            self._count(table)
            end = place
        self._file.truncate(end)
        self._file.seek(end)

    def restart(self) -> None:
        """Forget all samples."""
        self.schema, self.done = Schema(), 0
        self._file.truncate(0)
        self._file.seek(0)
        self._file.write(self._start)
        self._file.flush()

    def append(self, table: Table) -> None:
        """Add samples.

        Raises:
            ValueError: if they differ from those before in more than their shapes.
            OSError: if there is no room for them.
        """
        try:
            if self.done:
                widen(self.schema, table.schema)
        except SchemaError as error:
            raise ValueError(f"sample {self.done}: {error}") from error
        content = _dumps(table)
        self._file.write(FRAME.pack(sum(map(len, content)), checksum(*content)))
        for part in content:
            self._file.write(part)
        self._file.flush()
        self._count(table)

    def _count(self, table: Table) -> None:
        self.schema = widen(self.schema, table.schema) if self.done else table.schema
        self.done += len(table)

    def tables(self) -> Iterator[Table]:
        """Yield what was appended, in that order."""
        self._file.seek(len(self._start))
        for table, _ in self._frames():
            yield table

    def _frames(self) -> Iterator[tuple[Table, int]]:
        """Yield each whole frame and where it ends, as far as there is one."""
        size = os.fstat(self._file.fileno()).st_size
        while len(head := self._file.read(FRAME.size)) == FRAME.size:
            length, crc = FRAME.unpack(head)
            if length > size - self._file.tell():
                return
            content = self._file.read(length)
            if len(content) < length or checksum(content) != crc:
                return
            yield _loads(content), self._file.tell()

    def remove(self) -> None:
        """Delete everything; what was written has been moved to its place."""
        self._file.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Leave the samples there for a later attempt, but not half a target."""
        if self.done:
            self._clear()
            self._file.close()
        else:
            self.remove()

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != "samples":
                path.unlink(missing_ok=True)


def _lock(file: BinaryIO, path: Path) -> None:
    """Hold the file until it is closed, or until the process ends in whatever way."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows, which does not let two processes append to one file
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(
            error.errno, "another process is converting to this path", str(path)
        ) from None


def _dumps(table: Table) -> list[bytes]:
    """Return a table as bytes: the length of a description, the description, the arrays."""
    arrays = arrays_of(table)
    kinds = [
        "rows" if isinstance(c, Rows) else "pieces" if c.shapes is None else "shaped"
        for c in table.columns
    ]
    description = json.dumps(
        {
            **table.schema.as_json(),
            "length": table.length,
            "kinds": kinds,
            "arrays": [(array.dtype.str, array.shape) for array in arrays],
        }
    ).encode()
    return [struct.pack("<I", len(description)), description, *(a.tobytes() for a in arrays)]


def _loads(content: bytes) -> Table:
    """Read what `_dumps` made; its checksum has been compared."""
    (size,) = struct.unpack_from("<I", content)
    description = json.loads(content[4 : 4 + size])
    place, arrays = 4 + size, []
    for dtype, shape in description["arrays"]:
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(content, np.dtype(dtype), count, place).reshape(shape)
        place += array.nbytes
        arrays.append(array)
    rest, columns = iter(arrays), list[Column]()
    for kind in description["kinds"]:
        if kind == "rows":
            columns.append(Rows(next(rest)))
        else:
            columns.append(Pieces(next(rest), next(rest), next(rest) if kind == "shaped" else None))
    return Table(schema_from_json(description), tuple(columns), description["length"])
