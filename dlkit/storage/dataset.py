"""`StoredDataset`: samples in a file, as a dataset that any number of workers can read.

    dataset[i], dataset.__getitems__(indices)  ->  the reader of this process  ->  mapped file

A dataset is sent to workers as its path. Each process opens the file when it reads its first
sample, and the header's token says whether it is still the file that the dataset was made from. A
reader is one of three: `ColumnReader` (columns in memory), `RecordReader` (one record after
another), or a format's own where samples are decoded in groups.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch.utils import data as torch_data

from dlkit.datasets.base import ArrayIndexed, GathersBatches, Indices, as_index_array
from dlkit.storage.columns import DamagedRecordError, IndexArray, Table
from dlkit.storage.files import Header, corrupt
from dlkit.storage.grouping import joined
from dlkit.storage.schema import Schema
from dlkit.storage.tabulate import empty, from_values


class Reader(Protocol):
    """An open file of one format.

    Attributes:
        header: schema and number of samples.
        survives_fork: whether a forked process may go on with it.
    """

    header: Header
    survives_fork: bool

    def read(self, indices: IndexArray) -> Table:
        """Return the samples at `indices`, which are inside and may repeat."""
        ...

    def verify(self) -> None:
        """Read everything and compare every checksum; raise `DatasetCorruptError` if one fails."""
        ...


class StoredDataset(ArrayIndexed, GathersBatches, torch_data.Dataset[Any]):
    """The samples in a file; `dlkit.storage.open_dataset` makes one.

    Samples come back as they were stored: tuples, dictionaries or single values, with numbers and
    arrays as tensors. It can be pickled, and used by forked processes and by threads.

    Args:
        path: the file, or the folder.
        format: name of its format.
        open_reader: opens the path; called once in each process.

    Attributes:
        path: absolute.
        format: name of the format.
        schema: what the samples look like.
    """

    def __init__(self, path: Path, format: str, open_reader: Callable[[Path], Reader]) -> None:
        self.path = Path(os.path.abspath(path))
        self.format = format
        self._open = open_reader
        reader = open_reader(self.path)
        self._mine: tuple[int, Reader] | None = (os.getpid(), reader)
        self._header = reader.header
        self.schema = reader.header.schema

    def __len__(self) -> int:
        return self._header.length

    def __getitem__(self, index: int) -> Any:
        return self._read(as_index_array([index]))[0]

    def __getitems__(self, indices: Indices) -> Sequence[Any]:
        return self._read(as_index_array(indices))

    def _read(self, indices: IndexArray) -> Sequence[Any]:
        length = self._header.length
        if len(indices) and (indices.min() < 0 or indices.max() >= length):
            outside = (indices < -length) | (indices >= length)
            if outside.any():
                index = int(indices[outside][0])
                raise IndexError(f"index {index} is out of range for {length} samples")
            indices = np.where(indices < 0, indices + length, indices)
        try:
            return self.reader.read(indices).samples()
        except DamagedRecordError as error:
            raise corrupt(self.path, error.reason, int(indices[error.place])) from None

    @property
    def reader(self) -> Reader:
        """The reader of this process, which is opened here if it has none yet."""
        # Without a lock: two threads may both open the file, and then one reader is let go; a lock
        # that another thread holds while this process forks would stay locked in the child.
        if self._mine is not None:
            process, reader = self._mine
            if reader.survives_fork or process == os.getpid():
                return reader
        reader = self._open_same()
        self._mine = (os.getpid(), reader)
        return reader

    def _open_same(self) -> Reader:
        reader = self._open(self.path)
        if reader.header != self._header:
            raise RuntimeError(
                f"{self.path} was replaced since this dataset was opened: it held "
                f"{self._header.length} samples and now holds {reader.header.length}, or others; "
                "open it again"
            )
        return reader

    def verify(self) -> None:
        """Read the whole file and compare its checksums.

        Raises:
            DatasetCorruptError: naming the file, the record and what is wrong.
        """
        self.reader.verify()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_mine": None}

    def __repr__(self) -> str:
        fields = ", ".join(f"{field.name}: {field}" for field in self.schema.fields)
        return f"<{self.format} dataset of {len(self):,} samples ({fields}) in {self.path.name}>"


class ColumnReader:
    """Reads samples whose columns lie in memory, in one part or several with equal fields.

    Args:
        path: for the messages.
        header: schema and number of samples.
        parts: tables in the order of the samples.
        checks: for each part, what compares its checksum; called by `verify`.
    """

    survives_fork = True

    def __init__(
        self,
        path: Path,
        header: Header,
        parts: Sequence[Table],
        checks: Sequence[Callable[[], None]] = (),
    ) -> None:
        self.path, self.header, self.checks = path, header, checks
        self.parts = [part for part in parts if len(part)]
        self._starts = np.cumsum([0, *map(len, self.parts)], dtype=np.int64)
        if self._starts[-1] != header.length:
            raise corrupt(
                path, f"it has {self._starts[-1]} records, but there should be {header.length}"
            )

    def read(self, indices: IndexArray) -> Table:
        """Gather the samples at `indices`."""
        if len(self.parts) == 1:
            return self.parts[0].gather(indices)
        return gather_parts(self.header.schema, self.parts.__getitem__, self._starts, indices)

    def verify(self) -> None:
        """Compare the checksums, then read every sample."""
        for check in self.checks:
            check()
        read_all(self, self.path)


def gather_parts(
    schema: Schema, part: Callable[[int], Table], starts: IndexArray, indices: IndexArray
) -> Table:
    """Take from each part what it has, and put it into the order that was asked for.

    Args:
        schema: of all parts.
        part: from a number to the part; each one is asked for once, after the one before was used.
        starts: index of each part's first sample, and the number of all samples.
        indices: of the samples.
    """
    if not len(indices):
        return Table(schema, tuple(empty(schema)), 0)
    owners = np.searchsorted(starts, indices, side="right") - 1
    order = np.argsort(owners, kind="stable")
    found, begins = np.unique(owners[order], return_index=True)
    if len(found) == 1:
        return part(int(found[0])).gather(indices - starts[found[0]])
    taken: list[Table] = []
    for owner, places in zip(found.tolist(), np.split(order, begins[1:]), strict=True):
        try:
            taken.append(part(owner).take(indices[places] - starts[owner]))
        except DamagedRecordError as error:
            raise DamagedRecordError(int(places[error.place]), error.reason) from None
    back = np.empty(len(indices), np.int64)
    back[order] = np.arange(len(indices))
    return joined(schema, taken).gather(back)


class RecordReader:
    """Reads samples that lie in a file one after another, each decoded by itself.

    Args:
        path: for the messages.
        header: schema and number of samples.
        record: from an index to the arrays and bytes of one sample; checks what it reads and raises
            `DamagedRecordError` with place 0.
    """

    survives_fork = True

    def __init__(self, path: Path, header: Header, record: Callable[[int], list[Any]]) -> None:
        self.path, self.header, self.record = path, header, record

    def read(self, indices: IndexArray) -> Table:
        """Decode the records at `indices`."""
        rows = []
        for place, index in enumerate(indices.tolist()):
            try:
                rows.append(self.record(index))
            except DamagedRecordError as error:
                raise DamagedRecordError(place, error.reason) from None
        return from_values(self.header.schema, rows)

    def verify(self) -> None:
        """Read every record, which compares its checksum."""
        read_all(self, self.path)


def read_all(reader: Reader, path: Path, step: int = 256) -> None:
    """Read every sample of a reader, a few at a time."""
    for start in range(0, reader.header.length, step):
        indices = np.arange(start, min(start + step, reader.header.length))
        try:
            reader.read(indices).samples()
        except DamagedRecordError as error:
            raise corrupt(path, error.reason, start + error.place) from None
