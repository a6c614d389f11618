"""What a change is predicted to gain: the loader as it is and as it would be, both simulated.

    profile.costs --changed--> predict, against predict of the costs as they are

All findings are ranked by this, but for three whose gain `predict` cannot know, because it
simulates one epoch in its steady state and no device. They put down what was measured instead:
`no_persistent_workers` (the share of an epoch that its turn-over takes), `unbalanced_workers` (how
unequally a stream was shared out) and `unpinned_copies` (bytes at the rates of a typical bus).
"""

import functools
import math
from typing import Any

from dlkit.diagnose.costs import Costs
from dlkit.diagnose.predict import predict
from dlkit.diagnose.profiled import Profile

_COUNTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64)  # of workers
_BATCHES = 48  # simulated for each question


def rate(costs: Costs, **settings: Any) -> float:
    """Return the samples/s that are predicted for some settings.

    Args:
        costs: of the loader's parts.
        settings: arguments of `predict`.
    """
    return _rate(costs, tuple(sorted(settings.items())))


@functools.lru_cache(maxsize=256)  # faults ask the same of one profile
def _rate(costs: Costs, settings: tuple[tuple[str, Any], ...]) -> float:
    return predict(costs, **dict(settings), batches=_BATCHES, band=False).throughput


def gain(profile: Profile, costs: Costs | None = None, **settings: Any) -> float:
    """Return by how much throughput rises: 0.5 for half as much again.

    Args:
        profile: what was seen.
        costs: what the parts would cost; as they do by default.
        settings: arguments of `predict` that change.
    """
    now = rate(profile.costs)
    then = rate(profile.costs if costs is None else costs, **settings)
    if not math.isfinite(now) or not now:
        return 0.0
    return min(then / now, 1e6) - 1


def enough_workers(profile: Profile) -> int:
    """Return the fewest workers beyond which hardly anything is gained, at most 4 for each core."""
    most = max(4 * int(profile.machine.cores), 1)
    rates = {count: rate(profile.costs, num_workers=count) for count in _COUNTS if count <= most}
    return next(count for count, found in rates.items() if 1.05 * found >= max(rates.values()))
