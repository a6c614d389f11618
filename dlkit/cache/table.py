"""The samples in shared memory: which are there, where, and which is used least.

    header | layout | counts | places: slot, length, stamp of each sample | chain, free | slots

Memory is cut into slots of one size. Where all samples have one layout a sample takes one slot,
which is one row in a column for each of its leaves; otherwise its pickle takes as many slots as it
needs. The stamp of a sample is the time of its last use, counted in reads: the smallest one is
evicted first (least recently used).

Zeros mean an empty table, so new memory needs no preparation. Whoever changes the table sets a mark
first and takes it away at the end; the next one who finds it clears the table, for its writer died.
"""

import contextlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlkit.cache import counts
from dlkit.cache.records import Array, Layout, samples_of
from dlkit.cache.slots import (
    CAPACITY,
    CHANGING,
    COUNTERS,
    FREED,
    FRESH,
    GENERATION,
    LAYOUT_BYTES,
    MODE,
    PICKLES,
    QUEUED,
    ROWS,
    SAMPLES,
    SLOT_BYTES,
    USED_BYTES,
    Index,
    Slots,
)
from dlkit.datasets.rows import row_reader
from dlkit.region import Region

_PAGE = 4096
_KEY = slice(512, 544)
_LAYOUT = slice(_PAGE, _PAGE + (1 << 16))
_SMALLEST_SLOT, _LARGEST_SLOT = 256, 1 << 16  # bytes, for pickles


class Table(Slots):
    """A map from index to sample inside a `Region`, for many processes at once.

    All methods but `fetch_complete` are called with the region's lock held.

    Args:
        samples: how many different indices there are.
        max_bytes: of the slots together.
        evicts: whether a new sample takes the place of the least recently used one when there is
            no room; otherwise it is refused.
    """

    def __init__(self, samples: int, max_bytes: int, evicts: bool) -> None:
        self.samples = samples
        self.max_bytes = max_bytes
        self.evicts = evicts
        self.region = Region(self._sections()[-1][1])
        self._open()

    def _sections(self) -> list[tuple[int, int]]:
        """Begin and end of what lies behind the layout, in bytes."""
        slots = max(self.samples, self.max_bytes // _SMALLEST_SLOT)
        sizes = [counts.NBYTES, *[8 * self.samples] * 5, 8 * slots, 8 * slots]
        ends = [_LAYOUT.stop]
        for size in [*sizes, self.max_bytes + (1 << 14)]:  # columns begin at multiples of 64
            ends.append(-(-(ends[-1] + size) // _PAGE) * _PAGE)
        return list(pairwise(ends))

    def _open(self) -> None:
        memory = self.region.memory
        # A memoryview reads and writes single numbers in a third of the time.
        self.header = memoryview(memory.data)[:512].cast("q")
        numbers = [memory[start:end].view(np.int64) for start, end in self._sections()[:-1]]
        given_out = self.header[COUNTERS : COUNTERS + 1]
        start = self._sections()[0][0]
        self.counts = counts.Counts(self.region, memory[start : start + counts.NBYTES], given_out)
        self._first, self._length, self._stamp, self._queue, self._queued = (
            part[: self.samples] for part in numbers[1:6]
        )
        self._chain, self._free = numbers[6:]
        self._data = memory[slice(*self._sections()[-1])]
        self._seen = -1  # the generation whose layout this process knows
        self.layout: Layout | None = None
        self._columns: list[Array] = []
        self._readers: list[Any] = []
        self._samples: Callable[[Sequence[Tensor]], Sequence[Any]] = list
        self._complete = False  # everything is in its row, for good

    def __getstate__(self) -> dict[str, Any]:
        names = ("samples", "max_bytes", "evicts", "region")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    # ---- the life of the table ------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Exclude everybody else, and see what they have changed."""
        with self.region.lock():
            if self.header[CHANGING]:
                self.clear()
            if self._seen != self.header[GENERATION]:
                self._look_again()
            yield

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        self.header[CHANGING] = 1
        yield  # an error or a kill in here leaves the mark
        self.header[CHANGING] = 0

    @property
    def generation(self) -> int:
        """Grows by one whenever the table is cleared."""
        return self.header[GENERATION]

    @property
    def key(self) -> str:
        """What the samples are those of; empty in a new table."""
        return bytes(self.region.memory[_KEY]).rstrip(b"\0").decode("ascii")

    def clear(self, key: str | None = None) -> None:
        """Forget all samples, and say what the next ones will be those of."""
        header = self.header
        header[GENERATION] += 1
        header[CHANGING] = 1
        if key is not None:
            self.region.memory[_KEY] = np.frombuffer(key.encode("ascii").ljust(32, b"\0"), np.uint8)
        for number in (MODE, CAPACITY, SLOT_BYTES, FRESH, FREED, SAMPLES, USED_BYTES, QUEUED):
            header[number] = 0
        self._first[:] = 0
        header[CHANGING] = 0
        self._look_again()

    def _look_again(self) -> None:
        """Learn the mode and the layout from the header."""
        self._seen = self.header[GENERATION]
        self._complete, self.layout, self._columns = False, None, []
        if self.header[MODE] == ROWS:
            stored = self.region.memory[_LAYOUT][: self.header[LAYOUT_BYTES]]
            layout: Layout = pickle.loads(stored.tobytes())
            self.layout, self._columns = layout, self._cut(layout)
            self._samples = samples_of(layout)
            self._readers = [row_reader(torch.from_numpy(column)) for column in self._columns]
        elif self.header[MODE] == PICKLES:
            shape = (self.header[CAPACITY], self.header[SLOT_BYTES])
            self._columns = [self._data[: shape[0] * shape[1]].reshape(shape)]
        else:
            self._seen = -1  # the first sample will decide

    def _cut(self, layout: Layout) -> list[Array]:
        columns, start, slots = [], 0, self.header[CAPACITY]
        for leaf in layout.leaves:
            end = start + slots * leaf.nbytes
            column = self._data[start:end].view(np.dtype(leaf.dtype))
            columns.append(column.reshape(slots, *leaf.shape))
            start = -(-end // 64) * 64
        return columns

    def store_rows_of(self, layout: Layout) -> bool:
        """Begin to store samples of one layout; returns whether that can be."""
        stored = np.frombuffer(pickle.dumps(layout), np.uint8)
        too_long = len(stored) > _LAYOUT.stop - _LAYOUT.start or len(layout.leaves) > 256
        if too_long or layout.nbytes > self.max_bytes:
            return False
        with self._changing():
            self.region.memory[_LAYOUT][: len(stored)] = stored
            self.header[LAYOUT_BYTES] = len(stored)
            self.header[SLOT_BYTES] = layout.nbytes
            self.header[CAPACITY] = min(self.samples, self.max_bytes // layout.nbytes)
            self.header[MODE] = ROWS
        self._look_again()
        return True

    def store_pickles(self, typical: int) -> None:
        """Begin to store samples of any size, `typical` bytes for instance."""
        # Small enough that little of a sample's last slot stays empty, and of few slots all the
        # same.
        size = min(max(-(-typical // 8 // 64) * 64, _SMALLEST_SLOT), _LARGEST_SLOT)
        size = max(min(size, self.max_bytes), 1)
        with self._changing():
            self.header[SLOT_BYTES] = size
            self.header[CAPACITY] = min(self.max_bytes // size, len(self._chain))
            self.header[MODE] = PICKLES
        self._look_again()

    # ---- reading --------------------------------------------------------------------------------

    def fetch_complete(self, indices: Index, generation: int) -> Sequence[Any] | None:
        """Gather samples without the lock, if all are there and none will ever leave.

        Args:
            indices: of the samples.
            generation: whose samples are wanted; None is returned if they are others by now.
        """
        if not self._complete:
            return None
        columns = [read(indices) for read in self._readers]
        # A table that was cleared in the meantime may hold other samples already.
        if self.header[GENERATION] != generation:
            return None
        self.counts.add(len(indices))
        return self._samples(columns)

    def present(self, indices: Index) -> npt.NDArray[np.bool_]:
        """Say which samples are there, and count them as used now."""
        there = self._first[indices] > 0
        if self.evicts:
            self.touch(indices[there])
        elif self.header[SAMPLES] == self.samples == self.header[CAPACITY]:
            self._complete = self.header[MODE] == ROWS
        return there

    def rows(self, indices: Index) -> list[Tensor]:
        """Gather the columns of samples that are there."""
        slots = self._first[indices] - 1
        return [read(slots) for read in self._readers]

    def pickles(self, indices: Sequence[int]) -> list[bytes]:
        """Return the pickles of samples that are there."""
        found = []
        for index in indices:
            slots = self.slots_of(index)
            data = self._columns[0][slots].reshape(-1)[: self._length[index]]
            found.append(data.tobytes())
        return found

    # ---- writing --------------------------------------------------------------------------------

    def put_row(self, index: int, leaves: Sequence[Any]) -> None:
        """Store a sample of the layout, if there is room and it is not there yet."""
        if self._first[index]:
            return
        with self._changing():
            if self._identity:
                slots = [index]
            elif not (slots := self.take(1)):
                return
            for column, leaf in zip(self._columns, leaves, strict=True):
                column[slots[0]] = leaf
            self._enter(index, slots, self.header[SLOT_BYTES])

    def put_pickle(self, index: int, data: bytes) -> None:
        """Store a sample of any form, if there is room and it is not there yet."""
        if self._first[index]:
            return
        with self._changing():
            count = self.slots_for(len(data))
            if not (slots := self.take(count)):
                return
            size = self.header[SLOT_BYTES]
            view = np.frombuffer(data, np.uint8)
            for position, slot in enumerate(slots):
                piece = view[position * size : (position + 1) * size]
                self._columns[0][slot, : len(piece)] = piece
            self._chain[slots[:-1]] = slots[1:]
            self._enter(index, slots, len(data))

    @property
    def _identity(self) -> bool:
        """Whether there is a row for each sample, so that it stands in that of its number."""
        return self.header[MODE] == ROWS and self.header[CAPACITY] == self.samples

    def _enter(self, index: int, slots: list[int], length: int) -> None:
        self._length[index] = length
        self.touch(np.array([index]))
        self._first[index] = slots[0] + 1
        self.header[SAMPLES] += 1
        self.header[USED_BYTES] += len(slots) * self.header[SLOT_BYTES]
