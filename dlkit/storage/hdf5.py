"""HDF5: one dataset for each column; read without the HDF5 library where that is possible.

    numbers.h5   attribute "dlkit": the header
        /0/values    [n, *shape], or all values end to end        attribute "crc32"
        /0/offsets   where the values differ in size: [n + 1]
        /0/shapes    and for tensors their shapes: [n, dims]

The library holds a lock of its own around every call, keeps state that a forked process must not
use, and takes some ten microseconds for each row that it picks. But a dataset that is neither cut
into chunks nor compressed lies in the file as an array does, and the library says where. So columns
of such files are mapped, as NumPy's are. Files of other programs that are chunked or compressed are
read through the library, in increasing order of the rows, from a handle that each process opens.
"""

import math
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlkit.storage.columns import Column, IndexArray, Pieces, Rows, Table
from dlkit.storage.dataset import ColumnReader, Reader, read_all
from dlkit.storage.files import (
    Bytes,
    Header,
    attempt,
    checksum,
    corrupt,
    library,
    map_file,
    read_header,
    sync,
)
from dlkit.storage.schema import DTYPES, Field, Schema

MAGIC = b"\x89HDF\r\n\x1a\n"
ALIGNMENT = 64  # bytes; arrays that begin anywhere are slower to gather
INT64 = np.dtype("<i8")
# What h5py raises for a damaged file depends on where the damage is.
ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError)


def recognises(head: bytes) -> bool:
    """Whether a file begins as HDF5 does."""
    return head.startswith(MAGIC)


# ---- writing ------------------------------------------------------------------------------------


def write(target: Path, header: Header, tables: Iterable[Table]) -> None:
    """Write a file: first count what has no fixed size, then fill datasets of the right length."""
    h5py = library("h5py")
    sizes = [0] * len(header.schema.fields)
    if any(field.shape is None for field in header.schema.fields):
        for table in tables:
            for number, column in enumerate(table.columns):
                sizes[number] += len(column.values)
    options = {"alignment_threshold": 1, "alignment_interval": ALIGNMENT}
    with h5py.File(target, "w", **options) as file:
        file.attrs["dlkit"] = header.dumps()
        datasets = {}
        for number, field in enumerate(header.schema.fields):
            for part, dtype, shape in _parts(field, header.length, sizes[number]):
                datasets[number, part] = _Filling(file, f"{number}/{part}", dtype, shape)
            if field.shape is None:
                datasets[number, "offsets"].append(np.zeros(1, np.int64))
        base = [0] * len(sizes)
        for table in tables:
            for number, column in enumerate(table.columns):
                datasets[number, "values"].append(column.values)
                if isinstance(column, Pieces):
                    datasets[number, "offsets"].append(column.offsets[1:] + base[number])
                    base[number] += int(column.offsets[-1])
                    if column.shapes is not None:
                        datasets[number, "shapes"].append(column.shapes)
        for dataset in datasets.values():
            dataset.finish()
    sync(target)


class _Filling:
    """A dataset in a file that is filled from its first row to its last."""

    def __init__(self, file: Any, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.dataset = file.create_dataset(name, shape, dtype)
        self.dtype, self.done, self.crc = dtype, 0, 0

    def append(self, values: npt.NDArray[Any]) -> None:
        """Write the next rows."""
        values = np.ascontiguousarray(values, self.dtype)
        if values.size:
            self.dataset[self.done : self.done + len(values)] = values
        self.done += len(values)
        self.crc = checksum(values, start=self.crc)

    def finish(self) -> None:
        """Add the checksum."""
        self.dataset.attrs["crc32"] = self.crc


def _parts(
    field: Field, length: int, size: int
) -> list[tuple[str, np.dtype[Any], tuple[int, ...]]]:
    """The datasets of a field: name, type and shape."""
    if field.shape is not None:
        return [("values", field.stored, (length, *field.shape))]
    parts: list[tuple[str, np.dtype[Any], tuple[int, ...]]] = [
        ("values", field.stored, (size,)),
        ("offsets", INT64, (length + 1,)),
    ]
    if field.kind == "tensor":
        parts.append(("shapes", INT64, (length, field.dims)))
    return parts


# ---- reading ------------------------------------------------------------------------------------


def open_reader(path: Path) -> Reader:
    """Ask the library where the columns lie, and map them.

    Raises:
        DatasetCorruptError: if the file is truncated or damaged, if its datasets are no samples, or
            if they lie in another file.
    """
    h5py = library("h5py")
    mapped = map_file(path)

    def read() -> Reader:
        with h5py.File(path, "r") as file:
            about = file.attrs.get("dlkit")
            if about is None:
                return _open_foreign(path, file, mapped)
            header, _ = read_header(path, about)
            return _open_own(path, file, header, mapped)

    reader: Reader = attempt(path, "it is truncated or damaged", read, *ERRORS)
    return reader


def _open_own(path: Path, file: Any, header: Header, mapped: Bytes) -> ColumnReader:
    columns: list[Column] = []
    checks: list[Callable[[], None]] = []
    for number, field in enumerate(header.schema.fields):
        found = {}
        for part, dtype, shape in _parts(field, header.length, 0):
            name = f"{number}/{part}"
            dataset = _dataset(path, file, name)
            # The length of values that differ in size is known from the dataset alone.
            expected = dataset.shape if part == "values" and field.shape is None else shape
            _check_shape(path, name, dataset, dtype, expected)
            found[part] = _mapped(path, name, dataset, dtype, mapped)
            checks.append(_check(path, name, found[part], int(dataset.attrs["crc32"])))
        columns.append(
            Rows(found["values"])
            if field.shape is not None
            else Pieces(found["values"], found["offsets"], found.get("shapes"))
        )
    table = Table(header.schema, tuple(columns), header.length)
    return ColumnReader(path, header, [table], checks)


def _check(path: Path, name: str, values: Any, crc: int) -> Callable[[], None]:
    def check() -> None:
        if checksum(values) != crc:
            raise corrupt(path, f"dataset {name} fails its checksum")

    return check


def _dataset(path: Path, file: Any, name: str) -> Any:
    """Return a dataset that lies in this file itself, not behind a link to another one."""
    h5py = library("h5py")
    place = file
    for step in name.split("/"):
        if not isinstance(place, h5py.Group) or step not in place:
            raise corrupt(path, f"it has no dataset {name}")
        if not isinstance(place.get(step, getlink=True), h5py.HardLink):
            raise corrupt(path, f"{name} is a link to somewhere else, which is not followed")
        place = place[step]
    if not isinstance(place, h5py.Dataset):
        raise corrupt(path, f"{name} is no dataset")
    if place.external or place.is_virtual:
        raise corrupt(path, f"{name} keeps its values in other files, which are not opened")
    return place


def _check_shape(
    path: Path, name: str, dataset: Any, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> None:
    if dataset.shape != shape or dataset.dtype != dtype:
        raise corrupt(
            path,
            f"dataset {name} is {dataset.dtype} of {dataset.shape}, but the header says {dtype} of "
            f"{shape}",
        )


def _mapped(path: Path, name: str, dataset: Any, dtype: np.dtype[Any], mapped: Bytes) -> Any:
    """Return the values of a dataset where they lie in the file."""
    count = math.prod(dataset.shape)
    if count == 0:
        return np.empty(dataset.shape, dtype)
    start = dataset.id.get_offset()
    if start is None or start + count * dtype.itemsize > len(mapped):
        raise corrupt(
            path,
            f"dataset {name} announces {count * dtype.itemsize} bytes at {start}, but the file has "
            f"{len(mapped)}",
        )
    return np.frombuffer(mapped, dtype, count, start).reshape(dataset.shape)


# ---- files of other programs --------------------------------------------------------------------


def _open_foreign(path: Path, file: Any, mapped: Bytes) -> Reader:
    """Take the datasets at the top of a file as the fields of dictionaries."""
    fields, columns, length = [], [], None
    for name in file:
        dataset = _dataset(path, file, name)
        text = library("h5py").check_string_dtype(dataset.dtype)
        if dataset.shape in (None, ()) or (text is None and dataset.dtype.name not in DTYPES):
            raise corrupt(path, f"dataset {name} is {dataset.dtype} of {dataset.shape}, no samples")
        if length is not None and len(dataset) != length:
            raise corrupt(path, f"dataset {name} has {len(dataset)} records, others {length}")
        length = len(dataset)
        shape = dataset.shape[1:]
        if text is not None:
            fields.append(Field(name, "str"))
        else:
            fields.append(Field(name, "tensor", dataset.dtype.name, shape, len(shape)))
        if text is None and dataset.id.get_offset() is not None and dataset.dtype.isnative:
            columns.append(Rows(_mapped(path, name, dataset, dataset.dtype, mapped)))
        _check_allocated(path, name, dataset, len(mapped))
    header = Header(Schema("dict", tuple(fields)), length or 0, token="")
    if len(columns) == len(fields):
        table = Table(header.schema, tuple(columns), header.length)
        return ColumnReader(path, header, [table])
    return LibraryReader(path, header)


def _check_allocated(path: Path, name: str, dataset: Any, size: int) -> None:
    """Refuse a dataset that is said to be there and is not: reading it would give zeros."""
    stored = dataset.id.get_storage_size()
    if stored > size or (math.prod(dataset.shape) and not stored):
        raise corrupt(path, f"dataset {name} of {dataset.shape} has {stored} bytes in the file")
    if dataset.chunks is not None:
        chunks = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
        if dataset.id.get_num_chunks() != chunks:
            raise corrupt(
                path, f"dataset {name} has {dataset.id.get_num_chunks()} of its {chunks} chunks"
            )


class LibraryReader:
    """Reads files of other programs through h5py, from a handle of this process.

    Args:
        path: the file.
        header: what was found in it.
    """

    survives_fork = False

    def __init__(self, path: Path, header: Header) -> None:
        self.path, self.header = path, header
        self._file = library("h5py").File(path, "r")
        self._lock = threading.Lock()  # of ours, because a read is several calls

    def read(self, indices: IndexArray) -> Table:
        """Read rows in increasing order, each once, and put them into the order asked for."""
        rows, back = np.unique(indices, return_inverse=True)
        columns: list[Column] = []

        def take() -> None:
            for field in self.header.schema.fields:
                values = self._file[field.name][rows] if len(rows) else []
                if field.kind == "str":
                    parts = [np.frombuffer(bytes(text), np.uint8) for text in values]
                    offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
                    joined = np.concatenate([np.empty(0, np.uint8), *parts])
                    columns.append(Pieces(joined, offsets).take(back))
                else:
                    array = np.asarray(values, field.stored).reshape(-1, *(field.shape or ()))
                    columns.append(Rows(array.take(back, 0)))

        with self._lock:
            attempt(self.path, "it is truncated or damaged", take, *ERRORS)
        return Table(self.header.schema, tuple(columns), len(indices))

    def verify(self) -> None:
        """Read everything; whether there are checksums is the file's own affair."""
        read_all(self, self.path)
