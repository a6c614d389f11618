"""The seconds that a batch takes at best: what the slowest part of the pipeline lets through.

    without workers   step + work
    n workers         max(step, work / n, cores' work / cores)

These are the bounds of a pipeline in its steady state (the utilisation law, Denning and Buzen,
1978), exact enough to rank changes by what they gain; `dlkit.predict` simulates what happens.
"""

from dlkit.diagnose.profiled import Profile

CROSSING = 0.0003  # seconds that a batch costs for being made by a worker process
MOST = 64


def batch_seconds(profile: Profile, workers: int | None = None, work: float = 1.0) -> float:
    """Return the seconds of a batch at another number of workers, or with other work.

    Args:
        profile: what was seen.
        workers: how many; None for as many as there were.
        work: the fetching and collating left, as a share of what it was.
    """
    count = profile.loader.num_workers if workers is None else workers
    step = profile.step_seconds if profile.has_step else 0.0
    seconds = profile.batch_work * work
    if count == 0:
        return max(step + seconds, 1e-9)
    computing = seconds * profile.cpu_share + step * min(profile.step_cores, 1.0)
    cores = computing / max(profile.machine.cores, 1.0)
    return max(step, (seconds + CROSSING) / count, cores + CROSSING / count, 1e-9)


def gain(profile: Profile, workers: int | None = None, work: float = 1.0) -> float:
    """Return by how much throughput rises: 0.5 for half as much again."""
    return batch_seconds(profile) / batch_seconds(profile, workers, work) - 1


def enough_workers(profile: Profile) -> int:
    """Return the fewest workers beyond which hardly anything is gained, at most 4 for each core."""
    most = min(MOST, max(4 * int(profile.machine.cores), 1))
    best = min(batch_seconds(profile, count) for count in range(1, most + 1))
    counts = range(1, most + 1)
    return next(count for count in counts if batch_seconds(profile, count) <= 1.05 * best)
