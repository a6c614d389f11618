"""NumPy memmap: a folder with one `.npy` file for each column, mapped and gathered.

    numbers.memmap/
        index.json                   schema, number of records, checksums; names the files below
        0.values.<token>.npy         field 0: [n, *shape], or all values end to end
        0.offsets.<token>.npy        where the values differ in size: [n + 1]
        0.shapes.<token>.npy         and for tensors their shapes: [n, dims]

Any NumPy reads the columns: `np.load(file, mmap_mode="r")`. The folder is replaced by replacing its
`index.json`: the columns of a new version have other names and are there before it.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dlkit.storage.columns import Column, IndexArray, Pieces, Rows, Table
from dlkit.storage.dataset import ColumnReader
from dlkit.storage.files import (
    Bytes,
    Header,
    checksum,
    corrupt,
    map_file,
    npy_header,
    read_header,
    sync,
    sync_folder,
)
from dlkit.storage.schema import Field

INDEX = "index.json"
BEGINNING = b'{"dlkit":'
COLUMN = re.compile(r"\d+\.(values|offsets|shapes)\.[0-9a-f]+\.npy")  # see `_name`
INDEX_LIMIT = 1 << 24  # bytes; no index of ours is longer
HEADER_LIMIT = 1 << 16  # of a .npy file


def recognises(head: bytes) -> bool:
    """A memmap is a folder, so no file is one."""
    return False


def is_memmap(folder: Path) -> bool:
    """Whether a folder holds a memmap, whole or damaged; others have an `index.json` as well."""
    try:
        with (folder / INDEX).open("rb") as file:
            return file.read(len(BEGINNING)) == BEGINNING
    except OSError:
        return False


class _Growing:
    """A `.npy` file that grows row by row; its header is written again at the end."""

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.path, self.dtype, self.shape = path, dtype, shape
        self.rows = self.crc = 0
        self._file: BinaryIO = path.open("wb")
        self._write_header()

    def _write_header(self) -> None:
        # NumPy leaves room for the first side to grow to 21 digits, so the length stays.
        header = {
            "descr": self.dtype.str,
            "fortran_order": False,
            "shape": (self.rows, *self.shape),
        }
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, values: npt.NDArray[Any]) -> None:
        """Add rows."""
        values = np.ascontiguousarray(values, self.dtype)
        self.crc = checksum(values, start=self.crc)
        self._file.write(values.reshape(-1).view(np.uint8).data)
        self.rows += len(values)

    def finish(self) -> dict[str, int]:
        """Close the file, and say what `index.json` is to say about it."""
        with self._file:
            self._file.seek(0)
            self._write_header()
        sync(self.path)
        return {"bytes": self.path.stat().st_size, "crc32": self.crc}


def write(target: Path, header: Header, tables: Iterable[Table]) -> None:
    """Write a new folder."""
    target.mkdir()
    files = {
        _name(number, part, header): _Growing(target / _name(number, part, header), dtype, shape)
        for number, field in enumerate(header.schema.fields)
        for part, dtype, shape in _parts(field)
    }
    base = [0] * len(header.schema.fields)  # elements of each field so far

    def append(number: int, part: str, values: npt.NDArray[Any]) -> None:
        files[_name(number, part, header)].append(values)

    for number, field in enumerate(header.schema.fields):
        if field.shape is None:
            append(number, "offsets", np.zeros(1, np.int64))
    for table in tables:
        for number, column in enumerate(table.columns):
            append(number, "values", column.values)
            if isinstance(column, Pieces):
                append(number, "offsets", column.offsets[1:] + base[number])
                base[number] += int(column.offsets[-1])
                if column.shapes is not None:
                    append(number, "shapes", column.shapes)
    written = {name: file.finish() for name, file in files.items()}
    (target / INDEX).write_text(header.dumps(format="memmap", files=written))
    sync(target / INDEX)


def install(written: Path, target: Path) -> None:
    """Give the folder its name, or put its files into the folder that is there, the index last."""
    if not target.exists():
        os.replace(written, target)
        return
    columns = {file.name for file in written.iterdir()} - {INDEX}
    for name in columns:
        os.replace(written / name, target / name)
    sync_folder(target)
    os.replace(written / INDEX, target / INDEX)
    for file in target.iterdir():
        if COLUMN.fullmatch(file.name) and file.name not in columns:
            file.unlink(missing_ok=True)


def open_reader(path: Path) -> ColumnReader:
    """Map the columns that the index names.

    Raises:
        DatasetCorruptError: if a file is missing, or is not what the index says.
    """
    for last in (False, False, True):
        content = _read_index(path)
        try:
            return _open(path, content)
        except FileNotFoundError as error:
            # Between reading the index and opening its files, a new version may have come.
            if last or content == _read_index(path):
                raise corrupt(path, f"{Path(error.filename).name} is missing") from error
    raise AssertionError("unreachable")


def _read_index(path: Path) -> bytes:
    with (path / INDEX).open("rb") as file:
        content = file.read(INDEX_LIMIT + 1)
    if len(content) > INDEX_LIMIT:
        raise corrupt(path / INDEX, f"it is longer than {INDEX_LIMIT} bytes")
    return content


def _open(path: Path, content: bytes) -> ColumnReader:
    header, data = read_header(path / INDEX, content)
    files = data.get("files")
    if not isinstance(files, dict):
        raise corrupt(path / INDEX, "it names no files")
    checks = []

    def array(number: int, part: str, dtype: np.dtype[Any], rows: int | None, shape: Any) -> Any:
        name = _name(number, part, header)
        said = files.get(name)
        if not isinstance(said, dict):
            raise corrupt(path / INDEX, f"it does not name {name}")
        mapped = map_file(path / name)
        if len(mapped) != said.get("bytes"):
            raise corrupt(path / name, f"it should have {said.get('bytes')} bytes, "
                          f"but has {len(mapped)}")  # fmt: skip
        values = _parse(path / name, mapped, dtype, rows, shape)

        def check() -> None:
            if checksum(values) != said.get("crc32"):
                raise corrupt(path / name, "its values fail their checksum")

        checks.append(check)
        return values

    columns: list[Column] = []
    for number, field in enumerate(header.schema.fields):
        n = header.length
        if field.shape is not None:
            columns.append(Rows(array(number, "values", field.stored, n, field.shape)))
            continue
        values = array(number, "values", field.stored, None, ())
        offsets: IndexArray = array(number, "offsets", np.dtype("<i8"), n + 1, ())
        shapes = None
        if field.kind == "tensor":
            shapes = array(number, "shapes", np.dtype("<i8"), n, (field.dims,))
        columns.append(Pieces(values, offsets, shapes))
    table = Table(header.schema, tuple(columns), header.length)
    return ColumnReader(path, header, [table], checks)


def _name(number: int, part: str, header: Header) -> str:
    return f"{number}.{part}.{header.token}.npy"


def _parts(field: Field) -> list[tuple[str, np.dtype[Any], tuple[int, ...]]]:
    """The files of a field: name, type and shape of a row."""
    if field.shape is not None:
        return [("values", field.stored, field.shape)]
    parts: list[tuple[str, np.dtype[Any], tuple[int, ...]]] = [
        ("values", field.stored, ()),
        ("offsets", np.dtype("<i8"), ()),
    ]
    if field.kind == "tensor":
        parts.append(("shapes", np.dtype("<i8"), (field.dims,)))
    return parts


def _parse(
    path: Path, mapped: Bytes, dtype: np.dtype[Any], rows: int | None, shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """Return the array in a `.npy` file, which must have this type and shape."""
    found = npy_header(mapped[:HEADER_LIMIT].tobytes())
    if found is None:
        raise corrupt(path, "its header is damaged")
    start, kind, shape_said = found
    expected = (shape_said[0] if rows is None and shape_said else rows, *shape)
    if kind != dtype.str or shape_said != expected:
        raise corrupt(path, f"it holds {kind} of shape {shape_said}, but the index says "
                      f"{dtype.str} of {expected}")  # fmt: skip
    size = dtype.itemsize
    for side in shape_said:
        size *= side  # Python's integers do not overflow
    if start + size != len(mapped):
        raise corrupt(
            path,
            f"its header announces {size} bytes of values, but {len(mapped) - start} are there",
        )
    return mapped[start:].view(dtype).reshape(shape_said)
