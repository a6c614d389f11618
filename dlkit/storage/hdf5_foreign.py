"""HDF5 files of other programs: the datasets at the top are the fields of dictionaries.

What is contiguous is mapped. Chunks, compression and strings need the HDF5 library, which picks
rows in increasing order only and must not be used by a forked process with its parent's handle.
"""

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np

from dlkit.storage.columns import Column, IndexArray, Pieces, Rows, Table
from dlkit.storage.dataset import ColumnReader, Reader, read_all
from dlkit.storage.files import Bytes, Header, array_at, attempt, corrupt, library
from dlkit.storage.schema import DTYPES, Field, Schema

# What h5py raises for a damaged file depends on where the damage is.
ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError)


def open_foreign(path: Path, file: Any, mapped: Bytes) -> Reader:
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
            start, dtype = dataset.id.get_offset(), dataset.dtype
            columns.append(Rows(array_at(path, name, start, dtype, dataset.shape, mapped)))
        _check_allocated(path, name, dataset, len(mapped))
    header = Header(Schema("dict", tuple(fields)), length or 0, token="")
    if len(columns) == len(fields):
        table = Table(header.schema, tuple(columns), header.length)
        return ColumnReader(path, header, [table])
    return LibraryReader(path, header)


def _dataset(path: Path, file: Any, name: str) -> Any:
    """Return a dataset that lies in this file itself, not behind a link to another one."""
    h5py = library("h5py")
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise corrupt(path, f"{name} is a link to somewhere else, which is not followed")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise corrupt(path, f"{name} is no dataset")
    if dataset.external or dataset.is_virtual:
        raise corrupt(path, f"{name} keeps its values in other files, which are not opened")
    return dataset


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
        """Read everything; the library compares checksums where the file has them."""
        read_all(self, self.path)
