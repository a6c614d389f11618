"""A stream on a clock that jumps from event to event: exact, and faster than the stream itself.

    arrivals --Flow, as in real pipelines--> batches --one server, a service time--> answers

Only the source and the consumer are made up. So what a policy or an objective does under a load can
be seen in a second, the same on every machine.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dlkit.streaming.batcher import Batcher
from dlkit.streaming.buffer import Counts
from dlkit.streaming.checks import check_not_negative, check_positive
from dlkit.streaming.flow import Flow

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """What happened to the items of a simulated stream.

    Attributes:
        numbers: of the items that were answered, among all arrivals from 0, in the order of their
            answers.
        arrived: when each arrived, in seconds.
        formed: when the batch of each left.
        answered: when each was answered.
        sizes: items of each batch.
        starts: when each batch left.
        mean_waiting: items that waited, on average over the time.
        seconds: from 0 to the last answer.
        counts: where all items are.
    """

    numbers: npt.NDArray[np.int64]
    arrived: Floats
    formed: Floats
    answered: Floats
    sizes: npt.NDArray[np.int64]
    starts: Floats
    mean_waiting: float
    seconds: float
    counts: Counts

    @property
    def latency(self) -> Floats:
        """Seconds from arrival to answer."""
        return self.answered - self.arrived

    def percentile(self, share: float, start: float = 0.0, end: float = math.inf) -> float:
        """Return the latency that a share of the items arriving from `start` to `end` has at most.

        Returns:
            Seconds; NaN if no such item was answered.
        """
        inside = (self.arrived >= start) & (self.arrived < end)
        if not inside.any():
            return math.nan
        return float(np.quantile(self.latency[inside], share, method="inverted_cdf"))


def simulate(arrivals: Iterable[float], batcher: Batcher, service: Callable[[int], float]) -> Run:
    """Let items arrive at given times, and answer them batch by batch.

    Args:
        arrivals: seconds, ascending.
        batcher: what makes batches of them.
        service: from the size of a batch to the seconds that answering it takes.

    Raises:
        ValueError: if an arrival is before the one before it.

    Example:
        >>> from dlkit.streaming import Batcher, Fixed
        >>> run = simulate([0.0, 0.1, 0.2, 0.9], Batcher(Fixed(2, delay=0.3)), lambda n: 0.5)
        >>> run.sizes.tolist(), run.answered.round(3).tolist()
        ([2, 1, 1], [0.6, 0.6, 1.1, 1.7])
        >>> run.numbers.tolist()
        [0, 1, 2, 3]
    """
    flow, clockwork = Flow(batcher), _Clockwork()
    for number, when in enumerate(arrivals):
        _answer_until(when, flow, clockwork, service)
        clockwork.pass_to(when, flow)
        flow.arrive([number], when)
    _answer_until(math.inf, flow, clockwork, service)
    free = clockwork.free
    return Run(
        np.array(clockwork.numbers, dtype=np.int64),
        np.array(clockwork.arrived),
        np.array(clockwork.formed),
        np.array(clockwork.answered),
        np.array(clockwork.sizes, dtype=np.int64),
        np.array(clockwork.starts),
        clockwork.area / free if free else 0.0,
        free,
        flow.counts(),
    )


class _Clockwork:
    """The time, when the server is free, and what has happened so far."""

    def __init__(self) -> None:
        self.now = self.free = self.area = 0.0
        self.numbers: list[int] = []
        self.arrived: list[float] = []
        self.formed: list[float] = []
        self.answered: list[float] = []
        self.sizes: list[int] = []
        self.starts: list[float] = []

    def pass_to(self, when: float, flow: Flow) -> None:
        if when < self.now:
            raise ValueError(f"arrivals must ascend, but {when!r} comes after {self.now!r}")
        self.area += flow.in_flight * (when - self.now)
        self.now = when


def _answer_until(
    end: float, flow: Flow, clock: _Clockwork, service: Callable[[int], float]
) -> None:
    """Let all batches leave that would before `end`."""
    while (due := flow.batcher.due()) is not None:
        full = len(flow.batcher.buffer) >= flow.batcher.size
        when = max(clock.now, clock.free, 0.0 if full else due)
        if when >= end:
            return
        clock.pass_to(when, flow)
        batch = flow.poll(when)
        if batch is None:
            continue  # what was there has become too old
        clock.free = when + service(len(batch))
        # The server learns at the end of a batch, and nothing leaves before that.
        flow.batcher.answered(batch, clock.free)
        clock.numbers += batch.items
        clock.arrived += batch.arrived
        clock.formed += [when] * len(batch)
        clock.answered += [clock.free] * len(batch)
        clock.sizes.append(len(batch))
        clock.starts.append(when)


def steps(
    first: float, factor: float, count: int, seconds: float, seed: int | None = 0
) -> tuple[Floats, list[tuple[float, float]]]:
    """Return arrivals whose rate is multiplied every few seconds, and the steps.

    Args:
        first: items/s of the first step.
        factor: by how much each step is faster than the one before.
        count: steps.
        seconds: of each.
        seed: of exponential gaps, as of many independent senders; None spaces items evenly.

    Returns:
        Arrival times, and for each step when it begins and its rate.

    Example:
        >>> times, plan = steps(2, 2, count=2, seconds=1.0, seed=None)
        >>> times.tolist(), plan
        ([0.0, 0.5, 1.0, 1.25, 1.5, 1.75], [(0.0, 2.0), (1.0, 4.0)])
    """
    check_positive("first", first, "items/s")
    check_positive("factor", factor, "times as fast")
    check_positive("seconds", seconds)
    check_not_negative("count", count, "steps")
    rng = None if seed is None else np.random.default_rng(seed)
    plan = [(number * seconds, float(first * factor**number)) for number in range(count)]
    times = []
    for start, rate in plan:
        items = int(rng.poisson(rate * seconds)) if rng is not None else round(rate * seconds)
        places = np.sort(rng.random(items)) if rng is not None else np.arange(items) / max(items, 1)
        times.append(start + places * seconds)
    return np.concatenate(times) if times else np.zeros(0), plan
