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
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np
import numpy.typing as npt

from dlkit.trace.spans import CODES, EPOCH, LOOP, RECORD

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


class LocalRing:
    """The newest spans of one thread of this process.

    Args:
        capacity: how many.
        worker: whose they are.

    Example:
        >>> ring = LocalRing(2, worker=0)
        >>> for start in (10, 20, 30):
        ...     ring.write(start, start + 5, 0, 1)
        >>> records, dropped = ring.read()
        >>> records["start"].tolist(), dropped
        ([20, 30], 1)
    """

    def __init__(self, capacity: int, worker: int) -> None:
        self.worker = worker
        self.numbers = itertools.count()
        self.rows: deque[int] = deque(maxlen=_WIDTH * capacity)
        self._cleared = 0

    def write(
        self, start: int, end: int, key: int, stage: int, index: int = -1, cpu: int = -1
    ) -> None:
        """Note a span; the oldest one goes where there is no more room."""
        self.rows.extend((next(self.numbers), start, end, key, stage, index, cpu))

    def read(self) -> tuple[Records, int]:
        """Return the spans that are there, the oldest first, and how many are not any more."""
        flat = list(self.rows)  # in one step, so that no span is cut by a thread that writes
        table = np.array(flat, dtype=np.int64).reshape(-1, _WIDTH)
        names = ("start", "end", "key", "stage", "index", "cpu")
        rows = {name: table[:, place] for place, name in enumerate(names, 1)}
        dropped = int(table[0, 0]) - self._cleared if len(table) else 0
        return to_records(rows, self.worker), dropped

    def clear(self) -> None:
        """Forget all spans."""
        self._cleared = next(self.numbers) + 1
        self.rows.clear()


class Chain:
    """The newest batches that the training loop fetched itself, each as four numbers.

    They are the batch's key, when it was asked for, when its task was drawn, and when it was ready;
    at the end of a pass, -1 and when there was nothing more.

    Args:
        capacity: how many batches.

    Example:
        >>> from dlkit.trace.spans import STAGES
        >>> chain = Chain(10)
        >>> chain.rows.extend((0, 100, 103, 150))
        >>> chain.rows.extend((-1, 200, 200, 200))
        >>> records, dropped = chain.read(no_records())
        >>> [(STAGES[r["stage"]], int(r["start"]), int(r["end"])) for r in records]
        [('sample', 100, 103), ('fetch', 103, 150), ('wait', 100, 150), ('compute', 150, 200)]
    """

    def __init__(self, capacity: int) -> None:
        self.rows: deque[int] = deque(maxlen=4 * capacity)
        self._before = 0  # batches of earlier passes

    def begin(self) -> None:
        """A pass begins, with the key that follows."""
        self._before += self._newest()
        self.rows.extend((-1, 0, 0, 0))

    def clear(self) -> None:
        """Forget all batches."""
        self._before = -self._newest()
        self.rows.clear()

    def _newest(self) -> int:
        """How many batches of the running pass there were."""
        keys = list(self.rows)[-8::4]
        return max((key % EPOCH + 1 for key in keys if key >= 0), default=0)

    def read(self, collated: Records) -> tuple[Records, int]:
        """Return the spans of the batches, and how many are not there any more.

        Args:
            collated: spans of collating, which ends fetching where a batch has one.
        """
        table = np.array(list(self.rows), dtype=np.int64).reshape(-1, 4)
        batch = table[:, 0] >= 0
        key, asked, drawn, ready = table[batch].T
        fetched = ready.copy()
        begun = dict(zip(_keys(collated), collated["start"].tolist(), strict=True))
        if begun:
            fetched = np.array([begun.get(k, r) for k, r in zip(key.tolist(), ready, strict=True)])
        # Training computes from one batch until it asks for the next, or finds the end.
        follows = np.flatnonzero(batch[:-1]) if len(table) else np.empty(0, dtype=np.int64)
        follows = follows[table[follows + 1, 1] > 0]
        computed = (table[follows, 3], table[follows + 1, 1], table[follows, 0])
        parts = []
        for stage, (start, end, keys) in {
            "sample": (asked, drawn, key),
            "fetch": (drawn, fetched, key),
            "wait": (asked, ready, key),
            "compute": computed,
        }.items():
            code = np.full(len(keys), CODES[stage])
            none = np.full(len(keys), -1)
            rows = {"start": start, "end": end, "key": keys, "stage": code}
            parts.append(to_records({**rows, "index": none, "cpu": none}, LOOP))
        return np.concatenate(parts), 4 * max(0, self._before + self._newest() - len(key))


def _keys(records: Records) -> list[int]:
    keys: list[int] = (records["epoch"].astype(np.int64) * EPOCH + records["batch"]).tolist()
    return keys


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

        memory, handle = create(_HEADER + capacity * _ROW.itemsize)
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
