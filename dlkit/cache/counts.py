"""Counts that many processes and threads add to without waiting for each other.

thread of a process -> a row of its own: [hits, misses, ...]      total = sum over the rows
"""

import os
import threading

from dlkit.memory import Bytes
from dlkit.region import Region

ROWS = 4096
NBYTES = ROWS * 64  # a cache line for each row, or writers would slow each other down


class Counts:
    """Hits, misses, samples that were refused and samples that were damaged, in shared memory.

    Args:
        region: whose lock is held while a row is given out.
        memory: `NBYTES` of zeros in it.
        given_out: one number in it, as a memoryview.

    Example:
        >>> region = Region(NBYTES + 8)
        >>> number = memoryview(region.memory.data)[NBYTES:].cast("q")
        >>> counts = Counts(region, region.memory[:NBYTES], number)
        >>> counts.add(3, 1)
        >>> counts.total()
        [3, 1, 0, 0]
    """

    def __init__(self, region: Region, memory: Bytes, given_out: memoryview) -> None:
        self._region = region
        self._rows = memory.view("int64").reshape(ROWS, 8)
        self._given_out = given_out
        self._mine = _Mine()

    def add(self, hits: int = 0, misses: int = 0, refused: int = 0, damaged: int = 0) -> None:
        """Count what this thread has met."""
        mine = self._mine
        row = mine.row if mine.forks == _forks else None
        if row is None:
            row = self._new_row()
        row[0] += hits
        row[1] += misses
        if refused or damaged:
            row[2] += refused
            row[3] += damaged

    def _new_row(self) -> memoryview:
        with self._region.lock():
            # After 4096 threads the rows start over: two may then share one, and lose a count.
            number = self._given_out[0] % ROWS
            self._given_out[0] += 1
        row = memoryview(self._rows[number].data)
        self._mine.row, self._mine.forks = row, _forks
        return row

    def total(self) -> list[int]:
        """Return hits, misses, refused and damaged samples of all processes together."""
        used = min(self._given_out[0], ROWS)
        return [int(number) for number in self._rows[:used, :4].sum(0)]


class _Mine(threading.local):
    row: memoryview | None = None
    forks = 0


# A forked process must not go on with its parent's row. It counts its forks instead of asking for
# the number of its process, which would be a call of the system for each batch.
_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)
