"""Percentiles of any number of times in memory that does not grow.

Times fall into bins that each are 4 % wider than the one before, from a microsecond to three hours;
a percentile is the upper edge of its bin, so it is never too low and at most 4 % too high.
The idea is that of Gil Tene's HdrHistogram. A second pair of bins holds only the recent past.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dlkit.streaming.checks import check_positive, check_share

SHORTEST, WIDTH = 1e-6, 1.04
BINS = math.ceil(math.log(1e10) / math.log(WIDTH)) + 1
_EDGES = SHORTEST * WIDTH ** np.arange(BINS)


class Latencies:
    """How long items took, as a histogram of all and one of the recent past.

    Args:
        span: seconds that count as recent: at least so many, at most twice.

    Example:
        >>> seen = Latencies()
        >>> seen.add([0.010] * 98 + [0.100] * 2, now=0.0)
        >>> [round(seen.quantile(q), 3) for q in (0.5, 0.99)]
        [0.01, 0.102]
    """

    def __init__(self, span: float = 1.0) -> None:
        check_positive("span", span)
        self.span = span
        self.total = 0.0  # seconds, the sum over all
        self._all = np.zeros(BINS, dtype=np.int64)
        self._new = np.zeros(BINS, dtype=np.int64)
        self._old = np.zeros(BINS, dtype=np.int64)
        self._since: float | None = None

    @property
    def count(self) -> int:
        """How many times were added."""
        return int(self._all.sum())

    def add(self, seconds: Sequence[float] | npt.NDArray[np.float64], now: float) -> None:
        """Add the times of some items that ended now."""
        self._turn(now)
        values = np.maximum(np.asarray(seconds, dtype=np.float64), 0.0)
        self.total += float(values.sum())
        bins = np.minimum(np.searchsorted(_EDGES, values), BINS - 1)
        found = np.bincount(bins, minlength=BINS)
        self._all += found
        self._new += found

    def quantile(self, share: float, now: float | None = None) -> float:
        """Return the time below which a share of all items lies, or of recent ones at `now`.

        Returns:
            Seconds; NaN if there is no item.

        Raises:
            ValueError: if `share` is not from 0 to below 1.
        """
        check_share("share", share)
        if now is None:
            counts = self._all
        else:
            self._turn(now)
            counts = self._new + self._old
        return _quantile(counts, share)

    def recent_count(self, now: float) -> int:
        """Return how many times were added in the recent past."""
        self._turn(now)
        return int(self._new.sum() + self._old.sum())

    def forget(self) -> None:
        """Forget the recent past, as after a change that makes it another world."""
        self._new[:] = 0
        self._old[:] = 0

    def _turn(self, now: float) -> None:
        if self._since is None:
            self._since = now
        elapsed = now - self._since
        if elapsed < self.span:
            return
        self._old, self._new = self._new, self._old
        self._new[:] = 0
        if elapsed >= 2 * self.span:
            self._old[:] = 0
        self._since = now


def _quantile(counts: npt.NDArray[np.int64], share: float) -> float:
    running = np.cumsum(counts)
    if not running[-1]:
        return math.nan
    # The smallest value that so many of all do not exceed.
    rank = max(math.ceil(share * int(running[-1]) - 1e-9), 1)
    return float(_EDGES[int(np.searchsorted(running, rank))])
