"""Apache Parquet: compressed row groups, the smallest of files and the slowest of shuffled reads.

    PAR1 | row group: column, column ... | row group ... | footer with all places | PAR1

A row group is decoded as a whole, so a sample costs as much as its group. Groups are therefore
small here, and the last ones stay decoded: a sequential pass decodes each once, and a shuffled one
nearly every time. Shuffle in blocks of a group, or convert to Arrow once.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from dlkit.storage.arrow_columns import META, arrow_schema, from_arrow, schema_from_arrow, to_arrow
from dlkit.storage.columns import IndexArray, Table
from dlkit.storage.dataset import gather_parts, read_all
from dlkit.storage.files import (
    Header,
    attempt,
    corrupt,
    library,
    map_file,
    read_header,
    sync,
)
from dlkit.storage.grouping import regrouped

GROUP_BYTES = 1 << 20
CACHE_BYTES = 32 << 20  # of decoded row groups, in each process
EXPANSION = 1 << 15  # times that a page may grow: zstd's blocks of 128 KiB of one byte take 4


def recognises(head: bytes) -> bool:
    """Whether a file begins as Parquet does."""
    return head.startswith(b"PAR1")


def write(target: Path, header: Header, tables: Iterable[Table]) -> None:
    """Write a file with a checksum for each page."""
    pq = library("pyarrow.parquet")
    schema = arrow_schema(header)
    options = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True,
               "write_statistics": False}  # fmt: skip
    with target.open("wb") as file, pq.ParquetWriter(file, schema, **options) as writer:
        for table in regrouped(tables, GROUP_BYTES):
            writer.write_batch(to_arrow(table, schema), row_group_size=len(table))
    sync(target)


def open_reader(path: Path) -> "ParquetReader":
    """Read the footer, and compare what it announces with the file.

    Raises:
        DatasetCorruptError: if it is truncated or damaged, or has columns that cannot be samples.
    """
    return ParquetReader(path)


class ParquetReader:
    """Decodes row groups, and keeps the last ones.

    Args:
        path: the file.
    """

    # Arrow decodes on threads of its own, which a forked process does not have.
    survives_fork = False

    def __init__(self, path: Path) -> None:
        pa, pq = library("pyarrow"), library("pyarrow.parquet")
        self.path = path
        self._errors = (pa.ArrowException, OSError, ValueError)
        mapped = map_file(path)
        source = pa.BufferReader(pa.py_buffer(mapped))
        self._file = attempt(
            path,
            "it is truncated or damaged",
            lambda: pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=False),
            *self._errors,
        )
        schema = attempt(
            path, "its schema is damaged", lambda: self._file.schema_arrow, *self._errors
        )
        about = (schema.metadata or {}).get(META)
        groups = self._check_places(len(mapped))
        if about is None:
            own = attempt(
                path, "its schema is damaged", lambda: schema_from_arrow(schema, path), ValueError
            )
            self.header = Header(own, sum(groups), token="")
        else:
            self.header, _ = read_header(path, about)
            self._check_rows(groups)
        self._starts = np.cumsum([0, *groups], dtype=np.int64)
        if self._starts[-1] != self.header.length:
            raise corrupt(
                path, f"it has {self._starts[-1]} records, but there should be {self.header.length}"
            )
        self._decoded: OrderedDict[int, Table] = OrderedDict()
        self._lock = threading.Lock()  # a decoder is used by one thread at a time

    def _check_places(self, size: int) -> list[int]:
        """Return the rows of each group, if everything that the footer announces is in the file."""
        footer = self._file.metadata
        rows = []
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            rows.append(group.num_rows)
            for column in map(group.column, range(group.num_columns)):
                packed, unpacked = column.total_compressed_size, column.total_uncompressed_size
                start = column.data_page_offset
                if column.has_dictionary_page:
                    start = min(start, column.dictionary_page_offset)
                fits = start >= 0 and 0 <= packed <= size - start
                if not fits or not 0 <= unpacked <= EXPANSION * (packed + 64) or rows[-1] < 0:
                    raise corrupt(
                        self.path,
                        f"row group {number} announces {packed} bytes at {start} that become "
                        f"{unpacked}, but the file has {size}",
                    )
        return rows

    def _check_rows(self, groups: list[int]) -> None:
        """Refuse more rows of one shape than the pages of a group can hold: ours are plain."""
        row = sum(f.row_bytes for f in self.header.schema.fields if f.shape is not None)
        for number, rows in enumerate(groups):
            group = self._file.metadata.row_group(number)
            there = sum(group.column(n).total_uncompressed_size for n in range(group.num_columns))
            if rows * row > there:
                raise corrupt(
                    self.path,
                    f"row group {number} announces {rows} records of {row} bytes, but its pages "
                    f"hold {there}",
                )

    def read(self, indices: IndexArray) -> Table:
        """Decode the groups of the samples at `indices`, each once and one after another."""
        return gather_parts(self.header.schema, self._group, self._starts, indices)

    def _group(self, number: int) -> Table:
        with self._lock:
            return self._decoded_group(number)

    def _decoded_group(self, number: int) -> Table:
        if number in self._decoded:
            self._decoded.move_to_end(number)
            return self._decoded[number]

        def decode() -> Any:
            table = self._file.read_row_group(number, use_threads=False).combine_chunks()
            table.validate()
            batches = table.to_batches()
            if len(batches) != 1 or len(batches[0]) != rows:
                raise corrupt(self.path, f"row group {number} does not hold its {rows} records")
            return from_arrow(batches[0], self.header.schema, self.path)

        rows = int(self._starts[number + 1] - self._starts[number])
        table: Table = attempt(self.path, f"row group {number} is damaged", decode, *self._errors)
        self._decoded[number] = table
        while (
            len(self._decoded) > 1 and sum(t.nbytes for t in self._decoded.values()) > CACHE_BYTES
        ):
            self._decoded.popitem(last=False)
        return table

    def verify(self) -> None:
        """Decode every row group, which compares the checksums of its pages."""
        read_all(self, self.path)
