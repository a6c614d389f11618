"""`Trace`: the spans of all threads and processes of a loader, together.

DataLoader(..., trace=True)  -->  loader.trace  -->  table(), summary(), to_chrome(path), ...
"""

import operator
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from dlkit.trace import export
from dlkit.trace.chain import Chain
from dlkit.trace.recorder import InlineRecorder, Recorder
from dlkit.trace.rings import LocalRing, Records, no_records
from dlkit.trace.spans import CODES, EPOCH, LOOP, STAGES, Span
from dlkit.trace.summary import TraceSummary, summarise
from dlkit.trace.worker_rings import WorkerRings

CAPACITY = 1 << 14  # spans; 0.8 MB, and 4,000 batches of a training loop
LARGEST = 1 << 40  # spans: 48 TB


class Trace:
    """What happened when, in which worker, to which batch.

    Give it to a loader: `DataLoader(..., trace=Trace(samples=True))`, or `trace=True` for one with
    these defaults. It may be read at any time, also while the loader works.

    Args:
        capacity: how many spans each thread and each process keeps; older ones go, and `dropped`
            counts them. A span takes 48 bytes in a worker process, about 150 elsewhere.
        samples: whether to note every sample of a dataset that reads them one by one.
        cpu: whether to note how long a core was used, too, which tells waiting from computing.

    Raises:
        ValueError, TypeError: if `capacity` is not a positive integer, or is beyond any memory.

    Example:
        >>> from dlkit import DataLoader
        >>> loader = DataLoader(range(6), batch_size=3, trace=True)
        >>> batches = list(loader)
        >>> [(span.stage, span.batch) for span in loader.trace.spans() if span.stage == "fetch"]
        [('fetch', 0), ('fetch', 1)]
        >>> loader.trace.dropped
        0
    """

    def __init__(
        self, capacity: int = CAPACITY, *, samples: bool = False, cpu: bool = False
    ) -> None:
        if isinstance(capacity, bool) or not hasattr(capacity, "__index__"):
            raise TypeError(f"capacity must be a positive integer, but got {capacity!r}")
        if operator.index(capacity) < 1:
            raise ValueError(f"capacity must be a positive integer, but got {capacity!r}")
        if operator.index(capacity) > LARGEST:
            raise ValueError(f"capacity must be at most {LARGEST:,} spans, but got {capacity!r}")
        self.capacity = operator.index(capacity)
        self.samples, self.cpu = bool(samples), bool(cpu)
        self.rank = _rank()
        self.epochs = 0  # passes that have begun
        self.parts: tuple[str, ...] = ()  # names of what reading a sample is made of, if recorded
        self._local: dict[int, LocalRing] = {}
        # What the training loop does: where it fetches itself, and where batches come to it.
        self._fetched = Chain(self.capacity, "sample", "fetch")
        self.deliveries = Chain(self.capacity, None, "transfer")
        self._pools: list[WorkerRings] = []
        self._past: dict[int, Records] = {}  # of rings that are gone, by worker
        self._gone: Counter[int] = Counter()  # spans of theirs that were dropped

    # ---- recording ------------------------------------------------------------------------------

    def begin(self) -> int:
        """Begin a pass, and return its number."""
        self.rank = _rank()
        self.settle()
        for chain in (self._fetched, self.deliveries):
            chain.begin()
        self.epochs += 1
        return self.epochs - 1

    def recorder(self, worker: int = LOOP) -> Recorder:
        """Return what notes the spans of a thread of this process."""
        ring = self._local.setdefault(worker, LocalRing(self.capacity, worker))
        recorder = Recorder(ring, self.samples, self.cpu)
        recorder.epoch = max(0, self.epochs - 1) * EPOCH
        return recorder

    def inline_recorder(self) -> Recorder:
        """Return what notes the batches that the training loop fetches itself."""
        if self.samples or self.cpu:
            return self.recorder()
        ring = self._local.setdefault(LOOP, LocalRing(self.capacity, LOOP))
        recorder = InlineRecorder(ring, self._fetched)
        recorder.epoch = (self.epochs - 1) * EPOCH
        return recorder

    def worker_rings(self, size: int) -> WorkerRings:
        """Make rings for the worker processes of a pool.

        Raises:
            MemoryError: if there is no shared memory for them.
        """
        rings = WorkerRings(self.capacity, size, self.samples, self.cpu)
        self._pools.append(rings)
        return rings

    def began(self, pool: Any) -> None:
        """Note that the newest pass uses these workers."""
        for rings in self._pools:
            rings.note_pass(pool, self.epochs - 1)

    def settle(self) -> None:
        """Take over the spans of pools that are gone, and let go of their memory."""
        for pool in [pool for pool in self._pools if pool.over]:
            self._pools.remove(pool)
            for worker, (records, dropped) in enumerate(pool.read()):
                self._gone[worker] += dropped
                past = np.concatenate([self._past.get(worker, no_records()), records])
                self._gone[worker] += max(0, len(past) - self.capacity)
                self._past[worker] = past[-self.capacity :]
            pool.close()

    # ---- reading --------------------------------------------------------------------------------

    @property
    def dropped(self) -> int:
        """How many spans had to go for newer ones, or came too fast for all of them to be noted.

        The latter are of batches that the training loop fetches itself in less than 100
        microseconds: from the 65th on, only groups of them are noted, because noting one takes
        about a microsecond.
        """
        return sum(count for _, count in self._read()) + sum(self._gone.values())

    def records(self) -> Records:
        """Return all spans as a NumPy structured array, in the order in which they began."""
        parts = [*self._past.values(), *(records for records, _ in self._read())]
        records = np.concatenate([no_records(), *parts])
        return records[np.argsort(records["start"], kind="stable")]

    def _read(self) -> list[tuple[Records, int]]:
        """Return what each ring holds, and how many spans it has lost."""
        local = {worker: ring.read() for worker, ring in self._local.items()}
        here = local[LOOP][0] if LOOP in local else no_records()
        fetched = self._fetched.read(here[here["stage"] == CODES["collate"]])
        pools = (read for pool in self._pools for read in pool.read())
        return [*local.values(), fetched, self.deliveries.read(no_records()), *pools]

    def spans(self) -> list[Span]:
        """Return all spans, in the order in which they began."""
        return [
            Span(STAGES[r[7]], r[6], r[2], self.rank, r[0], r[1], r[5], r[3], r[4])
            for r in self.records().tolist()
        ]

    def __len__(self) -> int:
        return len(self.records())

    def clear(self) -> None:
        """Forget all spans; recording goes on."""
        for local in self._local.values():
            local.clear()
        self._fetched.clear()
        self.deliveries.clear()
        for pool in self._pools:
            for ring in pool.rings:
                ring.clear()
        self._past.clear()
        self._gone.clear()

    def table(self) -> Any:
        """Return a row for each span: a pandas DataFrame, or a list of dicts without pandas.

        Times are nanoseconds; `seconds` is the difference.
        """
        rows = [{**span._asdict(), "seconds": span.nanoseconds / 1e9} for span in self.spans()]
        try:
            import pandas as pd
        except ImportError:
            return rows
        return pd.DataFrame(rows, columns=[*Span._fields, "seconds"])

    def summary(self) -> TraceSummary:
        """Return what the stages took in all, and how much of its time training waited."""
        return summarise(self.records(), self.dropped)

    # ---- keeping --------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Return everything as JSON text, which `from_json` reads."""
        return export.to_json(self.records(), self._about())

    @classmethod
    def from_json(cls, text: str) -> "Trace":
        """Return the trace that `to_json` has written.

        Raises:
            ValueError: if the text is no trace.
        """
        return cls._of(*export.from_json(text))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace to a file (JSON), which `load` reads.

        Raises:
            OSError: if it cannot be written, as when the disk is full; no part of a file is left.
        """
        export.write(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Trace":
        """Read a trace that `save` has written.

        Raises:
            ValueError: if the file holds no trace.
            OSError: if it cannot be read.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)} holds no trace: {error}") from None

    def to_chrome(self, path: str | os.PathLike[str]) -> None:
        """Write the trace in Chrome's format, for ui.perfetto.dev and chrome://tracing.

        Raises:
            OSError: if it cannot be written; no part of a file is left.
        """
        export.write(Path(path), export.chrome(self.records(), self.rank, self.dropped, self.parts))

    def _about(self) -> dict[str, Any]:
        return {
            "capacity": self.capacity,
            "samples": self.samples,
            "cpu": self.cpu,
            "rank": self.rank,
            "epochs": self.epochs,
            "parts": self.parts,
            "dropped": self.dropped,
        }

    @classmethod
    def _of(cls, records: Records, about: dict[str, Any]) -> "Trace":
        trace = cls(about["capacity"], samples=about["samples"], cpu=about["cpu"])
        trace.rank, trace.epochs = about["rank"], about["epochs"]
        trace.parts = about["parts"]
        for worker in np.unique(records["worker"]).tolist():
            trace._past[worker] = records[records["worker"] == worker]
        trace._gone[LOOP] = about["dropped"]
        return trace

    def __getstate__(self) -> dict[str, Any]:
        # Rings belong to this process; what they hold travels.
        return {"records": self.records(), "about": self._about()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(Trace._of(state["records"], state["about"]).__dict__)

    def __repr__(self) -> str:
        return f"<Trace: {self.summary().line}>"

    def _repr_html_(self) -> str:
        return export.html(self.summary(), self.records())


def _rank() -> int:
    """The number of this process in a distributed run, 0 outside of one."""
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    text = os.environ.get("RANK", "0")
    return int(text) if text.isdecimal() else 0
