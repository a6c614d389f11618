"""From what a profile saw to what the parts of the loader cost: what `predict` starts from.

What a busy machine adds is taken out where it can be told:

- queueing of single samples that take a millisecond or more: each was watched for it;
- single samples that took many times as long as others, and did not when they were read again;
- queueing of whole batches: by its share of all the time that worker processes were busy.

It stays in where it cannot: in shorter samples, in the training step, in what worker threads wait
for the GIL, and in caches that others have filled. So costs are too high there rather than
too low, and the rate that is predicted from them is one that a busy machine still delivers.
"""

import statistics
from dataclasses import replace

import numpy as np

from dlkit.diagnose.costs import Costs, Crossing
from dlkit.diagnose.profiled import Profile
from dlkit.diagnose.skew import HELD_UP
from dlkit.trace.spans import CODES, WHOLE


def costs_of(profile: Profile) -> Costs:
    """Return the costs of a loader's parts, from one run of it.

    Args:
        profile: what was seen.
    """
    loader, size = profile.loader, max(1, profile.loader.batch_size)
    wall, cpu, group = _fetching(profile, size)
    nbytes = profile.nbytes / max(1, profile.samples)
    collate = statistics.fmean(profile.times("collate") or [0.0]) * (1 - profile.queued)
    if loader.worker_method == "process" and loader.collate == "default_collate":
        # It writes into memory that is shared, and what is dearer about that is in its time.
        crossing = profile.crossings.get("process", Crossing())
        collate = max(0.0, collate - crossing.worker(nbytes * size))
    return Costs(
        fetch_seconds=tuple(wall.tolist()),
        fetch_cpu_seconds=min(cpu, float(wall.mean())),
        fetch_group=group,
        lock_share=profile.lock_share,
        collate_seconds=collate / size,
        batch_seconds=_beside(profile),
        crossings=profile.crossings,
        step_seconds=tuple(profile.times("compute")) if profile.has_step else (0.0,),
        step_cores=profile.step_cores,
        start_seconds=profile.first_batch if loader.num_workers else 0.0,
        sample_bytes=nbytes,
        read_bytes=profile.read_bytes,
        worker_memory=profile.worker_memory,
        batch_size=size,
        num_workers=loader.num_workers,
        worker_method=loader.worker_method,
        prefetch_factor=loader.prefetch_factor,
        in_order=loader.in_order,
        cores=profile.machine.cores,
        samples=None if loader.batches is None else loader.batches * size,
    )


def _fetching(profile: Profile, size: int) -> tuple[np.ndarray, float, int]:
    """Return seconds by the wall, mean seconds on a core, and of how many samples each value is."""
    spans = profile.records[profile.records["stage"] == CODES["fetch"]]
    timed = spans[spans["index"] >= 0]
    group = 1
    if not len(timed):
        timed, group = spans[spans["index"] == WHOLE], size
    wall = (timed["end"] - timed["start"]) / 1e9 / group
    if group > 1:  # of single samples, queueing for a core is left out already
        wall = wall * (1 - profile.queued)
    elif profile.held_up:
        wall = np.minimum(wall, HELD_UP * np.median(wall))
    known = timed["cpu"] >= 0
    cpu = float(timed["cpu"][known].mean()) / 1e9 / group if known.any() else float(wall.mean())
    return np.maximum(wall, min(cpu, float(wall.min()))), cpu, group


def _beside(profile: Profile) -> float:
    """Return what a batch takes in the training loop beside fetching and collating it there."""
    if profile.loader.num_workers or not profile.waits:
        return 0.0
    work = [statistics.median(profile.times(stage) or [0.0]) for stage in ("fetch", "collate")]
    return max(0.0, statistics.median(profile.waits) - sum(work))


def lighter(costs: Costs, work: float = 1.0, waiting: float = 1.0) -> Costs:
    """Return costs with less work in a sample.

    Args:
        costs: to be changed.
        work: the fetching and collating that is left, as a share of what it was.
        waiting: the waiting in fetching that is left, as a share of what it was.

    Example:
        >>> costs = Costs(fetch_seconds=[0.004], fetch_cpu_seconds=0.001)
        >>> lighter(costs, work=0.5).fetch_mean, lighter(costs, waiting=0.0).fetch_mean
        (0.002, 0.001)
    """
    left = work * (1 - costs.fetch_wait * (1 - waiting))
    fetch = tuple(left * seconds for seconds in costs.fetch_seconds)
    return replace(
        costs,
        fetch_seconds=fetch,
        fetch_cpu_seconds=min(work * costs.fetch_cpu_seconds, statistics.fmean(fetch)),
        collate_seconds=work * costs.collate_seconds,
    )
