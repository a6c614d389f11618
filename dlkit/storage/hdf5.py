"""HDF5: one dataset for each column; our own files are read without the HDF5 library.

    numbers.h5   attribute "dlkit": the header
        /0/values    [n, *shape], or all values end to end
        /0/offsets   where the values differ in size: [n + 1]
        /0/shapes    and for tensors their shapes: [n, dims]
    and behind it, where HDF5 does not look: the header again, with the place of each dataset

The library holds a lock of its own around every call, keeps state that a forked process must not
use, takes some ten microseconds for each row that it picks, and can crash over a damaged file. But
a dataset that is neither cut into chunks nor compressed lies in the file as an array does. So ours
are mapped, as NumPy's are. Files of other programs open through the library: what is contiguous in
them is mapped as well, and the rest is read through it (`hdf5_foreign`).
"""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlkit.storage.columns import Column, Pieces, Rows, Table
from dlkit.storage.dataset import ColumnReader, Reader
from dlkit.storage.files import (
    Bytes,
    Header,
    append_header,
    array_at,
    attempt,
    checksum,
    corrupt,
    header_at_end,
    library,
    map_file,
    sync,
)
from dlkit.storage.schema import Field

MAGIC = b"\x89HDF\r\n\x1a\n"
ALIGNMENT = 64  # bytes; arrays that begin anywhere are slower to gather
INT64 = np.dtype("<i8")


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
        places = {dataset.name: dataset.place() for dataset in datasets.values()}
    append_header(target, header, columns=places)
    sync(target)


class _Filling:
    """A dataset in a file that is filled from its first row to its last."""

    def __init__(self, file: Any, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.dataset = file.create_dataset(name, shape, dtype)
        self.name, self.dtype, self.done, self.crc = name, dtype, 0, 0

    def append(self, values: npt.NDArray[Any]) -> None:
        """Write the next rows."""
        values = np.ascontiguousarray(values, self.dtype)
        if values.size:
            self.dataset[self.done : self.done + len(values)] = values
        self.done += len(values)
        self.crc = checksum(values, start=self.crc)

    def place(self) -> list[int]:
        """Return where the values begin in the file, how many bytes they are, and their CRC-32."""
        start = self.dataset.id.get_offset()  # None where there are no bytes
        return [start or 0, int(self.dataset.size) * self.dtype.itemsize, self.crc]


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
    """Map the columns; the header at the end of the file says where each one is.

    Raises:
        DatasetCorruptError: if the file is truncated or damaged, if its datasets cannot be samples,
            or if they lie in another file.
    """
    mapped = map_file(path)
    found = header_at_end(path, mapped)
    if found is not None:
        return _open_own(path, mapped, *found)
    from dlkit.storage.hdf5_foreign import ERRORS, open_foreign

    h5py = library("h5py")

    def read() -> Reader:
        with h5py.File(path, "r") as file:
            if "dlkit" in file.attrs:
                raise corrupt(path, "it is truncated, or was changed: its end is missing")
            return open_foreign(path, file, mapped)

    reader: Reader = attempt(path, "it is truncated or damaged", read, *ERRORS)
    return reader


def _open_own(path: Path, mapped: Bytes, header: Header, data: dict[str, Any]) -> ColumnReader:
    places = data.get("columns")
    columns: list[Column] = []
    checks: list[Callable[[], None]] = []
    for number, field in enumerate(header.schema.fields):
        found = {}
        for part, dtype, shape in _parts(field, header.length, 0):
            name = f"{number}/{part}"
            place = places.get(name) if isinstance(places, dict) else None
            if not isinstance(place, list) or [type(p) for p in place] != [int] * 3:
                raise corrupt(path, f"its header does not say where {name} is")
            start, size, crc = place
            if part == "values" and field.shape is None:  # their number is known from here alone
                shape = (size // dtype.itemsize,)
            if size != math.prod(shape) * dtype.itemsize or min(start, size) < 0:
                raise corrupt(path, f"{name} of shape {shape} is said to take {size} bytes")
            found[part] = array_at(path, name, start, dtype, shape, mapped)
            checks.append(_check(path, name, found[part], crc))
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
