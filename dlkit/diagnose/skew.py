"""Samples that take many times as long as the others: seen in a run, then read again to be sure.

    spans of samples --sample_times, skew_of--> Skew, if a few stand out --read_again--> still?

A busy machine holds up any sample: its thread had no core, or waited for the GIL while the
thread that held it had none. Not all of that is counted anywhere. But it does not hold up the same
samples twice, so those are read once more, and only what is slow again is skewed.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlkit.diagnose.clocks import Stopwatch

FEW = 5  # samples of each kind that are read again: most of them decide
AGAIN = 5  # times as long as usual samples, when read again: what is slower by less is no skew
HELD_UP = 3  # times as long as usual samples: what took longer stands out
_ENOUGH = 32  # samples, for saying what is usual
_SHORT = 2e-5  # seconds; among samples that take less, none is worth a finding


class Skew(NamedTuple):
    """How a few samples stand out.

    Attributes:
        usual: seconds that half of the samples keep to.
        rare: seconds that 2 % of them reach.
        excess: share of all time that is beyond three times the usual, 0 to 1.
        slow: indices of the slowest, the slowest first.
        ordinary: indices of some that take the usual time.
    """

    usual: float
    rare: float
    excess: float
    slow: tuple[int, ...]
    ordinary: tuple[int, ...]


def sample_times(records: Any, num_workers: int) -> list[tuple[int, float]]:
    """Return index and seconds of each sample whose reading was timed by itself.

    Those of each worker's first batch are left out if there are others: they pay for starting.
    """
    spans = _later(records, num_workers)
    seconds = (spans["end"] - spans["start"]) / 1e9
    return list(zip(spans["index"].tolist(), seconds.tolist(), strict=True))


def _later(records: Any, num_workers: int) -> Any:
    spans = records[records["index"] >= 0]
    later = spans[spans["batch"] >= max(1, num_workers)]
    return later if len(later) else spans


def skew_of(times: Sequence[tuple[int, float]]) -> Skew | None:
    """Return how a few samples stand out; None if none does.

    Example:
        >>> skew_of([(index, 0.1 if index == 7 else 0.001) for index in range(40)]).slow[0]
        7
        >>> skew_of([(index, 0.001) for index in range(40)]) is None
        True
    """
    if len(times) < _ENOUGH:
        return None
    seconds = np.array([taken for _, taken in times])
    usual, rare = np.percentile(seconds, (50, 98)).tolist()
    excess = float(np.maximum(seconds - HELD_UP * usual, 0).sum() / max(seconds.sum(), 1e-12))
    if usual < _SHORT or rare < 10 * usual or excess < 0.25:
        return None
    slow = sorted(times, key=lambda sample: -sample[1])[:FEW]
    ordinary = sorted(times, key=lambda sample: abs(sample[1] - usual))[:FEW]
    return Skew(usual, rare, excess, _indices(slow), _indices(ordinary))


def _indices(times: Sequence[tuple[int, float]]) -> tuple[int, ...]:
    return tuple(index for index, _ in times)


def read_again(read: Callable[[int], Any], skew: Skew, seconds: float = 1.0) -> float:
    """Return how many times as long as usual samples the slow ones take when they are read again.

    Args:
        read: from an index to its sample.
        skew: which samples.
        seconds: after so many, no further slow sample is read.
    """
    with Stopwatch() as watch:

        def alone(index: int) -> float:
            watch.start()
            read(index)
            return watch.lap().alone

        usual = statistics.median(map(alone, skew.ordinary))
        slow, end = [], time.perf_counter() + seconds
        for index in skew.slow:
            slow.append(alone(index))
            if time.perf_counter() > end:
                break
    return statistics.median(slow) / max(usual, 1e-9)


def computed_longer(records: Any, num_workers: int) -> float:
    """Return how many times as long as usual samples the slowest used a core, of a stream.

    A stream cannot be asked for a sample again; but a core is used for the sample alone.
    """
    spans = _later(records, num_workers)
    slowest = np.argsort(spans["start"] - spans["end"])[:FEW]
    return float(np.median(spans["cpu"][slowest]) / max(1.0, float(np.median(spans["cpu"]))))
