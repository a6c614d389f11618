"""Rings: memory for the newest spans of one thread or one worker process.

A `LocalRing` lies in this process. A `SharedRing` lies in shared memory: the worker writes, the
main process reads at any time, so nothing has to travel with the batches, and the spans of a worker
that was killed are there up to its last batch.

What is written most often is kept flat, as integers: a tuple for each span would make the garbage
collector run, which looks at all objects of the program and costs more than the recording.
"""

import contextlib
import itertools
import os
import struct
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np
import numpy.typing as npt

from dlkit.trace.spans import EPOCH, RECORD

Records = npt.NDArray[Any]  # of type RECORD
_WIDTH = 7  # numbers of a span in a local ring: its running number, then those of a shared one
_PACKED = struct.Struct("<6q")
_ROW = np.dtype([(name, "i8") for name in ("start", "end", "key", "stage", "index", "cpu")])
_HEADER = 64  # bytes before the spans; the first eight say how many were written


def no_records() -> Records:
    """Return an array without spans."""
    return np.empty(0, dtype=RECORD)


def to_records(rows: Any, worker: int) -> Records:
    """Return rows of start, end, key, stage, index and time on a core as spans of a worker."""
    records = np.empty(len(rows["start"]), dtype=RECORD)
    for name in ("start", "end", "stage", "index", "cpu"):
        records[name] = rows[name]
    records["epoch"], records["batch"] = np.divmod(rows["key"], EPOCH)
    records["worker"] = worker
    return records


class Rows:
    """The newest rows of so many integers each; the first of a row is how many came before it.

    Args:
        capacity: how many rows.
        width: integers in a row.

    Attributes:
        extend: adds a row, given as a tuple.
        numbers: yields the first integer of each row.

    Example:
        >>> rows = Rows(capacity=2, width=2)
        >>> for value in (10, 20, 30):
        ...     rows.extend((next(rows.numbers), value))
        >>> rows.table().tolist(), rows.dropped(rows.table())
        ([[1, 20], [2, 30]], 1)
    """

    def __init__(self, capacity: int, width: int) -> None:
        self._width = width
        self._flat: deque[int] = deque(maxlen=width * capacity)
        self.extend: Callable[[tuple[int, ...]], None] = self._flat.extend
        self.numbers = itertools.count()
        self._cleared = 0

    def table(self) -> npt.NDArray[np.int64]:
        """Return the rows that are there, the oldest first."""
        flat = list(self._flat)  # in one step, so that no row is cut by a thread that writes
        return np.array(flat, dtype=np.int64).reshape(-1, self._width)

    def dropped(self, table: npt.NDArray[np.int64]) -> int:
        """Return how many rows had to go before the first one of a table."""
        return int(table[0, 0]) - self._cleared if len(table) else 0

    def clear(self) -> None:
        """Forget all rows."""
        self._cleared = next(self.numbers) + 1
        self._flat.clear()


class LocalRing(Rows):
    """The newest spans of one thread of this process.

    Args:
        capacity: how many.
        worker: whose they are.

    Attributes:
        write: notes a span; the oldest one goes where there is no more room.

    Example:
        >>> ring = LocalRing(2, worker=0)
        >>> for start in (10, 20, 30):
        ...     ring.write(start, start + 5, 0, 1)
        >>> records, dropped = ring.read()
        >>> records["start"].tolist(), dropped
        ([20, 30], 1)
    """

    def __init__(self, capacity: int, worker: int) -> None:
        super().__init__(capacity, _WIDTH)
        self.worker = worker
        self.write = _writer(self.extend, self.numbers)

    def read(self) -> tuple[Records, int]:
        """Return the spans that are there, the oldest first, and how many are not any more."""
        table = self.table()
        names = ("start", "end", "key", "stage", "index", "cpu")
        rows = {name: table[:, place] for place, name in enumerate(names, 1)}
        return to_records(rows, self.worker), self.dropped(table)


def _writer(
    extend: Callable[[tuple[int, ...]], None], numbers: Iterator[int]
) -> Callable[..., None]:
    """Return the function that writes a span: one that looks nothing up on its way."""

    def write(start: int, end: int, key: int, stage: int, index: int = -1, cpu: int = -1) -> None:
        extend((next(numbers), start, end, key, stage, index, cpu))

    return write


class SharedRing:
    """The newest spans of one worker process, in memory that the main process sees too.

    It may be sent to a process that is being started, like the pipes of `multiprocessing`.

    Args:
        capacity: how many spans.
        worker: whose they are.

    Raises:
        MemoryError: if there is no shared memory for them.

    Example:
        >>> ring = SharedRing(8, worker=0)
        >>> ring.write(10, 15, 0, 1)
        >>> ring.read()[0]["end"].tolist()
        [15]
        >>> ring.close()
    """

    def __init__(self, capacity: int, worker: int) -> None:
        # Here, because workers import this module too.
        from dlkit.workers.shared_memory import create

        memory, handle = create(_HEADER + capacity * _ROW.itemsize, "a trace")
        self._handle: int | str | None = handle
        self._open(memory, capacity, worker)

    def _open(self, memory: Any, capacity: int, worker: int) -> None:
        self.capacity, self.worker = capacity, worker
        self._count = memoryview(memory[:8].data).cast("q")
        self._rows = memory[_HEADER:].view(_ROW)
        self._bytes = memoryview(memory[_HEADER:].data)
        self._pack = _PACKED.pack_into
        self._written = 0
        self._cleared = 0

    def write(
        self, start: int, end: int, key: int, stage: int, index: int = -1, cpu: int = -1
    ) -> None:
        """Note a span; the oldest one goes where there is no more room."""
        number = self._written
        self._pack(self._bytes, number % self.capacity * 48, start, end, key, stage, index, cpu)
        # Last, so that a reader which sees the number finds the span behind it.
        self._count[0] = self._written = number + 1

    def read(self) -> tuple[Records, int]:
        """Return the spans that are there, the oldest first, and how many are not any more."""
        before = self._count[0]
        copy = self._rows.copy()
        # What was overwritten while this copied is neither old nor new: left out.
        after = self._count[0]
        first = max(0, after - self.capacity + (after != before))
        kept = max(first, self._cleared)
        rows = copy[np.arange(kept, max(kept, before)) % self.capacity]
        return to_records(rows, self.worker), max(0, first - self._cleared)

    def clear(self) -> None:
        """Forget all spans."""
        self._cleared = self._count[0]

    def go_on(self) -> None:
        """Write behind what is there: a worker that died may have been at it before."""
        self._written = self._count[0]

    def __reduce__(self) -> Any:
        if self._handle is None:
            raise TypeError("a ring of spans can only be sent to processes while it is open")
        handle = DupFd(self._handle) if isinstance(self._handle, int) else self._handle
        return _attached, (handle, self.capacity, self.worker)

    def close(self) -> None:
        """Give up what new processes would need to open it; what is written stays readable."""
        handle, self._handle = self._handle, None
        if isinstance(handle, int):
            with contextlib.suppress(OSError):
                os.close(handle)

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.close()


def _attached(handle: Any, capacity: int, worker: int) -> SharedRing:
    from dlkit.workers.shared_memory import attach

    nbytes = _HEADER + capacity * _ROW.itemsize
    ring = SharedRing.__new__(SharedRing)
    ring._handle = None
    if isinstance(handle, str):
        ring._open(attach(handle, nbytes), capacity, worker)
        return ring
    descriptor = handle.detach()
    try:
        ring._open(attach(descriptor, nbytes), capacity, worker)
    finally:
        os.close(descriptor)
    return ring
