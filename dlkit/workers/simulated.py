"""When each batch would be fetched, be ready and be delivered: workers on a clock of their own.

    what each batch takes --Ahead, over a pool that only counts time--> journeys

The order of everything is decided by `Ahead`, the class that runs real workers. Only the pool is
another one: `Clockwork`, whose clock jumps to the next result instead of waiting for it.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dlkit.workers.ahead import Ahead
from dlkit.workers.clockwork import Clockwork, Work
from dlkit.workers.interface import Result


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


class SimulatedPass:
    """One pass of a loader, batch by batch, on a clock that counts instead of waiting.

    Args:
        works: what fetching each batch takes.
        workers: how many workers share the batches; 0 fetches in the training loop.
        prefetch_factor: batches in flight for each worker.
        in_order: whether a batch that is ready early waits for its turn.
        receive: what the training loop does to receive a batch.
        cores: that workers and training loop share.
        bandwidth: bytes per second that the workers' reading shares.
        endless: whether to begin with the first batch again after the last one.
    """

    def __init__(
        self,
        works: Sequence[Work],
        workers: int,
        prefetch_factor: int = 2,
        in_order: bool = True,
        *,
        receive: Work | None = None,
        cores: float = math.inf,
        bandwidth: float = math.inf,
        endless: bool = False,
    ) -> None:
        self._workers = workers
        self._receive = receive
        self.clock = Clockwork(list(works), max(workers, 1), cores, bandwidth)
        tasks: Iterator[int] = itertools.count() if endless else iter(range(len(works)))
        self._results: Iterator[Result]
        if workers:
            limit = prefetch_factor * workers
            self._results = Ahead(self.clock, tasks, limit=limit, in_order=in_order)
        else:
            self._results = self._one_by_one(tasks)

    def _one_by_one(self, tasks: Iterator[int]) -> Iterator[Result]:
        """Begin to fetch each batch when it is asked for."""
        for number in tasks:
            self.clock.submit(0, number, number)
            yield self.clock.take()

    def deliveries(self) -> Iterator[Result]:
        """Yield each batch when the training loop gets it; what that does then, it `spend`s."""
        for result in self._results:
            if self._receive is not None:
                self.clock.spend(self._receive)
            yield result

    def journeys(self, step: Work) -> Iterator[Journey]:
        """Yield each batch when the training loop, computing `step` on each, is done with it."""
        clock, asked = self.clock, self.clock.now
        for result in self.deliveries():
            delivered = clock.now
            clock.spend(step)
            worker = result.worker if self._workers else None
            started, ready = clock.fetched.pop(result.number)
            yield Journey(result.number, worker, asked, started, ready, delivered, clock.now)
            asked = clock.now


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
    works = [Work(wait=duration) for duration in seconds]
    return list(SimulatedPass(works, workers, prefetch_factor, in_order).journeys(Work(wait=step)))
