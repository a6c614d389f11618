"""When each batch would be fetched, be ready and be delivered: workers on a clock of their own.

    seconds of each batch --Ahead, over a pool that only counts time--> journeys

The order of everything is decided by `Ahead`, the class that runs real workers. Only the pool is
another one: it keeps a clock that jumps to the next result instead of waiting for it.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dlkit.workers.ahead import Ahead
from dlkit.workers.interface import Position, Result, Sizes, Task


@dataclass(frozen=True, slots=True)
class Journey:
    """What happened to one batch, in seconds since the pass began.

    Attributes:
        number: which batch of the pass, from 0.
        worker: who fetched it; None if the training loop did so itself.
        asked: the training loop began to wait for a batch, and got this one.
        started: its fetching began.
        ready: its fetching ended.
        delivered: the training loop got it.
        used: the training loop was done with it.
    """

    number: int
    worker: int | None
    asked: float
    started: float
    ready: float
    delivered: float
    used: float


def simulate(
    seconds: Sequence[float],
    workers: int,
    prefetch_factor: int = 2,
    in_order: bool = True,
    step: float = 0.0,
) -> list[Journey]:
    """Return the journeys of all batches of a pass, in the order in which they are delivered.

    Workers have a core each here, starting them and sending batches costs nothing: what is left is
    what the order of things alone decides.

    Args:
        seconds: how long fetching each batch takes.
        workers: how many workers share the batches; 0 fetches in the training loop.
        prefetch_factor: batches in flight for each worker.
        in_order: whether a batch that is ready early waits for its turn.
        step: seconds that the training loop computes on each batch.

    Raises:
        ValueError: if a time is negative, or there is no worker to prefetch for.

    Example:
        >>> [j.delivered for j in simulate([1.0, 1.0, 1.0], workers=0, step=1.0)]
        [1.0, 3.0, 5.0]
        >>> [j.delivered for j in simulate([1.0, 1.0, 1.0], workers=1, step=1.0)]
        [1.0, 2.0, 3.0]
        >>> [j.number for j in simulate([5.0, 1.0, 1.0, 1.0], workers=2, in_order=False)]
        [1, 3, 0, 2]
    """
    if workers < 0 or prefetch_factor < 1:
        raise ValueError(
            f"workers must be 0 or more and prefetch_factor 1 or more, but got {workers!r} "
            f"and {prefetch_factor!r}"
        )
    if step < 0 or any(duration < 0 for duration in seconds):
        raise ValueError(f"times must be 0 seconds or more, but got {list(seconds)!r} and {step!r}")
    pool = _Clockwork(seconds, max(workers, 1))
    results: Iterator[Result]
    if workers:
        limit = prefetch_factor * workers
        results = Ahead(pool, iter(range(len(seconds))), limit=limit, in_order=in_order)
    else:
        results = pool.one_by_one()
    journeys = []
    asked = 0.0
    for result in results:
        started, ready = pool.fetched[result.number]
        delivered = pool.now
        pool.now += step
        worker = result.worker if workers else None
        journeys.append(Journey(result.number, worker, asked, started, ready, delivered, pool.now))
        asked = pool.now
    return journeys


class _Clockwork:
    """A pool of workers that fetch nothing and say when they would have."""

    def __init__(self, seconds: Sequence[float], size: int) -> None:
        self.size = size
        self.sizes = Sizes()
        self.running = 0
        self.closed = False
        self.now = 0.0
        self.fetched: dict[int, tuple[float, float]] = {}  # of each batch: when from, until when
        self._seconds = seconds
        self._free = [0.0] * size  # when each worker is done with all that it was given
        self._results: list[tuple[float, int, int]] = []  # a heap: ready, number, worker

    def begin(self, positions: list[Position]) -> None:
        self.running += 1

    def submit(self, worker: int, number: int, task: Task) -> None:
        started = max(self.now, self._free[worker])
        self._free[worker] = started + self._seconds[number]
        self.fetched[number] = (started, self._free[worker])
        heapq.heappush(self._results, (self._free[worker], number, worker))

    def take(self) -> Result:
        ready, number, worker = heapq.heappop(self._results)
        self.now = max(self.now, ready)
        return Result(worker, number, lambda: None, of_pass=self.running)

    def one_by_one(self) -> Iterator[Result]:
        """Begin to fetch each batch when it is asked for."""
        for number in range(len(self._seconds)):
            self.submit(0, number, None)
            yield self.take()

    def cancel(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True
