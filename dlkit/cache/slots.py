"""Slots of shared memory: which sample has which, and which sample goes when there is none left.

    take(3) --> three free slots; without, the least recently used samples are dropped until there
    are three

Everything is arrays of integers in shared memory, so the methods are called with a lock held.
"""

import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.int64]

# Numbers in the header.
(
    GENERATION,  # grows by one whenever the table is cleared
    CHANGING,  # whether a process is in the middle of a change
    MODE,
    CAPACITY,  # slots
    SLOT_BYTES,
    FRESH,  # slots that were never used start here
    FREED,  # slots that were used before and are free
    SAMPLES,
    USED_BYTES,
    CLOCK,
    EVICTED,
    REFUSED,  # samples that were not stored, for lack of room
    LAYOUT_BYTES,
    QUEUED,  # samples in the queue for eviction
    QUEUE_HEAD,
    COUNTERS,  # rows of counts that have been given out
) = range(16)
EMPTY, ROWS, PICKLES = range(3)  # modes


class Slots:
    """The part of a `Table` that hands out slots.

    Attributes:
        header: the numbers that are named above.
        evicts: whether samples are dropped to make room.
    """

    header: memoryview
    evicts: bool
    _first: Index  # of each sample: one more than its first slot; 0 if it is not there
    _length: Index  # of each sample, in bytes
    _stamp: Index  # of each sample: when it was used last
    _chain: Index  # of each slot: the next one of the same sample
    _free: Index  # a stack of slots
    _queue: Index  # samples to evict next, oldest first
    _queued: Index  # the stamps that they had when they were queued

    def touch(self, indices: Index) -> None:
        """Note that samples were used now, the last of them last."""
        clock = self.header[CLOCK]
        self._stamp[indices] = np.arange(clock + 1, clock + 1 + len(indices))
        self.header[CLOCK] = clock + len(indices)

    def slots_for(self, length: int) -> int:
        """Return how many slots a sample of so many bytes takes."""
        return -(-length // self.header[SLOT_BYTES]) or 1

    def take(self, count: int) -> list[int]:
        """Take free slots, after evicting samples if need be; an empty list if there is no room."""
        header = self.header
        if count > header[CAPACITY]:
            header[REFUSED] += 1
            return []
        while header[FREED] + header[CAPACITY] - header[FRESH] < count:
            if not self.evicts:
                header[REFUSED] += 1
                return []
            self.drop(self.oldest())
            header[EVICTED] += 1
        again = min(count, header[FREED])
        header[FREED] -= again
        slots: list[int] = self._free[header[FREED] : header[FREED] + again].tolist()
        fresh = header[FRESH]
        header[FRESH] += count - again
        return [*slots, *range(fresh, header[FRESH])]

    def drop(self, index: int) -> None:
        """Forget a sample, and free its slots."""
        slots = self.slots_of(index)
        self._first[index] = 0
        self._free[self.header[FREED] : self.header[FREED] + len(slots)] = slots
        self.header[FREED] += len(slots)
        self.header[SAMPLES] -= 1
        self.header[USED_BYTES] -= len(slots) * self.header[SLOT_BYTES]

    def oldest(self) -> int:
        """Return the sample that was used least recently.

        A queue of the oldest is sorted once for many evictions. A sample in it that was used since
        has another stamp and is passed over: it is younger than everything that waits.
        """
        header = self.header
        while True:
            while header[QUEUE_HEAD] < header[QUEUED]:
                place = header[QUEUE_HEAD]
                header[QUEUE_HEAD] += 1
                index = int(self._queue[place])
                if self._first[index] and self._stamp[index] == self._queued[place]:
                    return index
            there = np.flatnonzero(self._first)
            stamps = self._stamp[there]
            count = min(len(there), max(64, len(there) // 16))
            oldest = np.argpartition(stamps, count - 1)[:count]
            oldest = oldest[np.argsort(stamps[oldest])]
            self._queue[:count], self._queued[:count] = there[oldest], stamps[oldest]
            header[QUEUED], header[QUEUE_HEAD] = count, 0

    def slots_of(self, index: int) -> list[int]:
        """Return the slots of a sample that is there, in order."""
        slots = [int(self._first[index]) - 1]
        if self.header[MODE] == PICKLES:
            for _ in range(self.slots_for(int(self._length[index])) - 1):
                slots.append(int(self._chain[slots[-1]]))  # each leads to the next
        return slots
