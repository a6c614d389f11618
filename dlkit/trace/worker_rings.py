"""The rings of a pool's worker processes, and which pass each of their spans is of."""

import weakref
from typing import Any

from dlkit.trace.rings import Records, SharedRing


class WorkerRings:
    """The rings of the worker processes of one pool.

    Args:
        capacity: spans in each.
        size: how many workers.
        samples: whether single samples are noted.
        cpu: whether time on a core is noted.
    """

    def __init__(self, capacity: int, size: int, samples: bool, cpu: bool) -> None:
        self.rings = [SharedRing(capacity, worker) for worker in range(size)]
        self.samples, self.cpu = samples, cpu
        self.epochs: dict[int, int] = {}  # the pool's passes to the trace's
        self._pool: weakref.ref[Any] | None = None

    def belong_to(self, pool: Any) -> None:
        """Say whose workers write here."""
        self._pool = weakref.ref(pool)

    def note_pass(self, pool: Any, epoch: int) -> None:
        """Note which pass of the trace the running pass of a pool is, if it is this one's."""
        if self._pool is not None and self._pool() is pool is not None:
            self.epochs[pool.running] = epoch

    @property
    def over(self) -> bool:
        """Whether nobody writes here any more."""
        pool = self._pool() if self._pool is not None else None
        return pool is None or bool(pool.closed)

    def read(self) -> list[tuple[Records, int]]:
        """Return for each worker its spans, and how many had to go."""
        results = []
        newest = max(self.epochs.values(), default=0)
        for ring in self.rings:
            records, dropped = ring.read()
            passes = records["epoch"].tolist()
            records["epoch"] = [self.epochs.get(number, newest) for number in passes]
            results.append((records, dropped))
        return results

    def close(self) -> None:
        """Give up what new worker processes would need."""
        for ring in self.rings:
            ring.close()
