"""How large a batch may be and how long it may wait: as told, or so that an objective is held.

An item waits for its batch to fill, at worst for the whole batch under way, and for its own:

    latency  <=  delay  +  time of the batch under way  +  time of its own batch

What batches of each size take is measured as they pass. So the largest size is the one whose time
fits twice into the objective, and the delay is a share of what batches as they are leave over. The
share is found by feedback, as a sender finds its rate in TCP (Chiu and Jain, 1989): it grows a
little each time the measured percentile is under half of the objective, and is cut where it is
over: a machine that does something else for 20 ms must not find all of the time given away.
Clipper (Crankshaw and others, 2017) chooses batch sizes for an objective in the same spirit.
"""

import math
from typing import Protocol

from dlkit.checks import check_positive_int
from dlkit.streaming.checks import check_not_negative, check_positive, check_share
from dlkit.streaming.latency import Latencies

MARGIN = 0.7  # of the objective is planned with; the rest is for what nobody planned
CALM = 0.5  # of the objective: under it batches may wait longer; waiting alone must not fill it
ENOUGH = 50  # items that a percentile needs to be worth reacting to


class Sizing(Protocol):
    """What a batcher asks before it lets a batch go."""

    size: int
    delay: float

    def served(self, items: int, seconds: float) -> None:
        """Learn that the consumer took so long for a batch of so many items."""
        ...

    def measured(self, latencies: Latencies, now: float) -> None:
        """Learn how long items take from arrival to answer."""
        ...


class Fixed:
    """A batch leaves when it has `size` items, or its first one has waited `delay` seconds.

    Args:
        size: items.
        delay: seconds; 0 lets a batch leave as soon as somebody takes it.

    Raises:
        ValueError: if there is no such size or delay.
    """

    def __init__(self, size: int, delay: float) -> None:
        check_positive_int("size", size)
        check_not_negative("delay", delay)
        self.size, self.delay = size, delay

    def served(self, items: int, seconds: float) -> None:
        """Learn nothing."""

    def measured(self, latencies: Latencies, now: float) -> None:
        """Learn nothing."""


class Adaptive:
    """Size and delay that hold a percentile of the latency under an objective.

    Args:
        objective: seconds from arrival to answer that the percentile should stay under.
        max_batch: no batch is ever larger.
        percentile: which share of the items counts, 0.99 by default.
        max_delay: no batch ever waits longer; by default the objective bounds it.

    Attributes:
        size: the largest batch that now is planned.
        delay: seconds that a batch now may wait to fill.

    Raises:
        ValueError: if there is no such size, delay or share.

    Example:
        >>> sizing = Adaptive(objective=0.1, max_batch=64)
        >>> sizing.size  # nothing is known yet
        1
        >>> sizing.served(items=1, seconds=0.005)
        >>> sizing.size  # as if eight took eight times as long, until it is measured
        4
        >>> for _ in range(20): sizing.served(items=4, seconds=0.006)
        >>> sizing.size
        16
    """

    def __init__(
        self,
        objective: float,
        max_batch: int = 256,
        percentile: float = 0.99,
        max_delay: float | None = None,
    ) -> None:
        check_positive("objective", objective)
        check_positive_int("max_batch", max_batch)
        check_share("percentile", percentile)
        if max_delay is not None:
            check_not_negative("max_delay", max_delay)
        self.objective = objective
        self.max_batch = max_batch
        self.percentile = percentile
        self.max_delay = objective if max_delay is None else max_delay
        self.size, self.delay = 1, 0.0
        self._share = 0.25  # of the time left over that batches may wait
        self._mean: dict[int, float] = {}  # seconds, by the power of two of the size
        self._deviation: dict[int, float] = {}
        self._reacted = -math.inf
        self._typical = 1.0  # items of a batch, lately

    def served(self, items: int, seconds: float) -> None:
        """Learn that the consumer took `seconds` for a batch of `items`, and plan anew."""
        self._typical += (items - self._typical) / 8
        power = max(items - 1, 0).bit_length()
        mean = self._mean.setdefault(power, seconds)
        # Mean and mean deviation as in Jacobson's retransmission timer (1988).
        error = seconds - mean
        self._mean[power] = mean + error / 8
        deviation = self._deviation.setdefault(power, 0.0)
        self._deviation[power] = deviation + (abs(error) - deviation) / 4
        self._plan()

    def expected(self, items: int) -> float:
        """Return how many seconds a batch of so many items takes, estimated on the high side."""
        power = max(items - 1, 0).bit_length()
        if not self._mean:
            return math.inf
        # At most so many times as long as a smaller one: so a size that was slow once, as the first
        # call of a model is, is not avoided for ever.
        smaller = [known for known in self._mean if known < power]
        bounds = [self._told(max(smaller)) * 2 ** (power - max(smaller))] if smaller else []
        if power in self._mean:
            bounds.append(self._told(power))
        return min(bounds) if bounds else self._told(min(self._mean))

    def _told(self, power: int) -> float:
        return self._mean[power] + 2 * self._deviation[power]

    def _plan(self) -> None:
        budget = MARGIN * self.objective
        size = 1
        while 2 * size <= self.max_batch and 2 * self.expected(2 * size) <= budget:
            size *= 2
        if 2 * size > self.max_batch and 2 * self.expected(self.max_batch) <= budget:
            size = self.max_batch
        self.size = size
        # Batches may be twice as large as they have been lately before this is planned again.
        batch = min(math.ceil(2 * self._typical), size)
        left = max(budget - 2 * self.expected(batch), 0.0)
        self.delay = min(self._share * left, self.max_delay)

    def measured(self, latencies: Latencies, now: float) -> None:
        """Learn how long items take, and cut the waiting where that is too long."""
        if now - self._reacted < latencies.span or latencies.recent_count(now) < ENOUGH:
            return
        self._reacted = now
        seen = latencies.quantile(self.percentile, now)
        if seen > self.objective:
            self._share *= 0.5
        elif seen < CALM * self.objective:
            self._share = min(self._share + 0.05, 1.0)
        self._plan()
