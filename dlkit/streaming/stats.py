"""What a running pipeline tells about itself."""

from dataclasses import dataclass

from dlkit.streaming.buffer import Counts
from dlkit.streaming.checks import check_positive
from dlkit.streaming.watch import Memory


class Meter:
    """Counts events a second over the recent past, in three numbers.

    Args:
        span: seconds that count as recent: at least so many, at most twice.

    Example:
        >>> meter = Meter(span=1.0)
        >>> for tick in range(20): meter.add(5, now=tick / 10)
        >>> meter.rate(now=2.0)
        50.0
    """

    def __init__(self, span: float = 1.0) -> None:
        check_positive("span", span)
        self._span = span
        self._since: float | None = None
        self._new = self._old = 0
        self._old_seconds = 0.0

    def add(self, count: int, now: float) -> None:
        """Count some events that happened now."""
        self._turn(now)
        self._new += count

    def rate(self, now: float) -> float:
        """Return the events a second until now."""
        self._turn(now)
        if self._since is None:
            return 0.0
        seconds = self._old_seconds + now - self._since
        return (self._old + self._new) / seconds if seconds > 0 else 0.0

    def _turn(self, now: float) -> None:
        if self._since is None:
            self._since = now
        elapsed = now - self._since
        if elapsed >= self._span:
            self._old, self._old_seconds = self._new, elapsed
            self._new, self._since = 0, now


@dataclass(frozen=True)
class Stats:
    """A pipeline at one moment; rates and percentiles are of the last second or two.

    Attributes:
        counts: where all items are.
        arriving: items/s from the source.
        leaving: items/s to the consumer.
        waiting: items before preprocessing, those that the policy lets wait.
        working: items that are being preprocessed or wait for their turn.
        ready: items that wait for their batch to leave.
        batches: how many have left.
        mean_batch: items in a batch, of all so far.
        size: items with which a batch is full now.
        delay: seconds that a batch may wait to fill now.
        p50: seconds from arrival to answer that half of the recent items did not exceed; NaN if
            there was none.
        p95: the same for 95 %.
        p99: the same for 99 %.
        mean_latency: seconds, over all items so far; NaN if there was none.
        restarts: how often the source was made again.
        stalls: how often the source fell silent.
        clock_jumps: how often the clock ran back.
        memory: bytes, where it is watched or can be read.
        memory_bound: bytes that the items in flight can take at most; None before the first.
    """

    counts: Counts
    arriving: float
    leaving: float
    waiting: int
    working: int
    ready: int
    batches: int
    mean_batch: float
    size: int
    delay: float
    p50: float
    p95: float
    p99: float
    mean_latency: float
    restarts: int
    stalls: int
    clock_jumps: int
    memory: Memory
    memory_bound: int | None

    def __str__(self) -> str:
        counts, ms = self.counts, 1e3
        return (
            f"{self.arriving:,.0f}/s in, {self.leaving:,.0f}/s out; batches of "
            f"{self.mean_batch:.1f}; in flight {counts.in_flight}, dropped {counts.lost}; "
            f"p50 {self.p50 * ms:.1f} p95 {self.p95 * ms:.1f} p99 {self.p99 * ms:.1f} ms"
        )
