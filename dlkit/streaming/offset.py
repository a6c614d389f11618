"""By how much the clock of a sensor is wrong, learned from what it sends."""

from collections import deque

from dlkit.checks import check_positive_int
from dlkit.streaming.checks import check_not_negative, check_stamp


class ClockOffset:
    """By how much the clock of a sensor is ahead of ours, from stamps and arrivals.

    Every item takes some time to arrive, so `arrival - stamp` is the delay less the offset. The
    smallest of many comes from the item that was held up least (as in NTP's clock filter, Mills,
    1991). One number remains that nobody can know without a second way: the smallest delay itself.

    Args:
        window: items that are looked at, the latest ones.
        delay: seconds that an item takes at least, if known.

    Raises:
        ValueError: if there is no such window or delay.

    Example:
        >>> clock = ClockOffset()
        >>> for stamp, arrived in [(10.0, 7.5), (11.0, 8.1), (12.0, 9.3)]:
        ...     clock.seen(stamp, arrived)
        >>> round(clock.offset, 6)
        2.9
    """

    def __init__(self, window: int = 1000, delay: float = 0.0) -> None:
        check_positive_int("window", window)
        check_not_negative("delay", delay)
        self._delay = delay
        self._number = 0
        self._window = window
        # Candidates for the smallest difference, growing; a smaller one ends those before it.
        self._smallest: deque[tuple[int, float]] = deque()

    def seen(self, stamp: float, arrived: float) -> None:
        """Learn from an item."""
        difference = arrived - check_stamp("sensor", stamp)
        while self._smallest and self._smallest[-1][1] >= difference:
            self._smallest.pop()
        self._smallest.append((self._number, difference))
        self._number += 1
        if self._smallest[0][0] <= self._number - 1 - self._window:
            self._smallest.popleft()

    @property
    def offset(self) -> float:
        """Seconds by which the sensor's clock is ahead; 0 before the first item."""
        return self._delay - self._smallest[0][1] if self._smallest else 0.0
