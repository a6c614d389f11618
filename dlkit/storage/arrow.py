"""Apache Arrow IPC: record batches in a file that is mapped, not read.

    ARROW1 | schema, with our header in its metadata | batch | batch ... | footer | ARROW1

A batch lies in the file as it lies in memory, so opening costs nothing and a gather touches only
the pages of its rows. Batches are made large, because a gather takes one step for each. Files of
other programs open too, and so do Arrow streams, as Hugging Face's `datasets` keeps them.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dlkit.storage.arrow_columns import META, arrow_schema, from_arrow, schema_from_arrow, to_arrow
from dlkit.storage.columns import Table
from dlkit.storage.dataset import ColumnReader
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
from dlkit.storage.grouping import arrays_of, regrouped

BATCH_BYTES = 64 << 20
MAGIC, CONTINUATION, END = b"ARROW1", b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\0\0\0\0"


def recognises(head: bytes) -> bool:
    """Whether a file begins as an Arrow file or an Arrow stream."""
    return head.startswith((MAGIC, CONTINUATION))


def write(target: Path, header: Header, tables: Iterable[Table]) -> None:
    """Write a file, each batch with a checksum in its metadata."""
    pa = library("pyarrow")
    schema = arrow_schema(header)
    with target.open("wb") as file, pa.ipc.new_file(file, schema) as writer:
        for table in regrouped(tables, BATCH_BYTES):
            crc = str(checksum(*arrays_of(table)))
            writer.write_batch(to_arrow(table, schema), custom_metadata={"crc32": crc})
    sync(target)


def open_reader(path: Path) -> ColumnReader:
    """Map a file and take the columns of its batches where they lie.

    Raises:
        DatasetCorruptError: if it is truncated or damaged, or has columns that cannot be samples.
    """
    pa = library("pyarrow")
    # Arrow's own errors are of all three kinds.
    errors = (pa.ArrowException, OSError, ValueError)
    mapped = map_file(path)  # whose own errors are not about damage
    reader: ColumnReader = attempt(
        path, "it is truncated or damaged", lambda: _open(path, mapped), *errors
    )
    return reader


def _open(path: Path, mapped: Bytes) -> ColumnReader:
    schema, batches = _batches(path, mapped)
    about = (schema.metadata or {}).get(META)
    if about is None:
        length = sum(batch.num_rows for batch, _ in batches)
        header = Header(schema_from_arrow(schema, path), length, token="")
    else:
        header, _ = read_header(path, about)
    parts, checks = [], []
    for number, (batch, more) in enumerate(batches):
        batch.validate()  # that its buffers are as long as its length says
        parts.append(from_arrow(batch, header.schema, path))
        if more is not None and b"crc32" in more:
            checks.append(_check(path, number, parts[-1], bytes(more[b"crc32"])))
    return ColumnReader(path, header, parts, checks)


def _batches(path: Path, mapped: Bytes) -> tuple[Any, list[tuple[Any, Any]]]:
    """Return the schema and each batch with its metadata; nothing is copied."""
    pa = library("pyarrow")
    buffer = pa.py_buffer(mapped)
    if mapped[:6].tobytes() == MAGIC:
        file = pa.ipc.open_file(buffer)
        numbers = range(file.num_record_batches)
        return file.schema, [file.get_batch_with_custom_metadata(n) for n in numbers]
    if mapped[-8:].tobytes() != END:
        raise corrupt(path, "it is no Arrow file, or a stream that is truncated")
    stream = pa.ipc.open_stream(buffer)
    return stream.schema, list(stream.iter_batches_with_custom_metadata())


def _check(path: Path, number: int, table: Table, crc: bytes) -> Callable[[], None]:
    def check() -> None:
        if str(checksum(*arrays_of(table))).encode() != crc:
            raise corrupt(path, f"batch {number} fails its checksum")

    return check
