"""Driving: the sensors of a car that follows another one, aligned, and a planner that may brake.

    aligned sample -> time to collision = gap / closing speed -> brake below 4 s

Every choice has a price: a narrow tolerance loses samples, a wide one fuses what does not belong
together, and a planner that is too slow learns of danger too late. `road` is what is driven on,
`ride` the same in real time.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from dlkit.live.road import DANGER, RATES, Drive, danger, gap
from dlkit.streaming import Aligner, Batcher, Counts, Fixed, Replay, Sample
from dlkit.streaming.checks import check_positive
from dlkit.streaming.several import SeveralSources
from dlkit.streaming.simulated import simulate

LATENESS = 0.04  # seconds by which items may overtake each other
MAX_WAIT = 0.3  # seconds that a frame waits for a sensor that is silent


def _aligner(
    drive: Drive,
    tolerance: float,
    offsets: Mapping[str, float] | None = None,
    max_wait: float | None = MAX_WAIT,
) -> Aligner:
    offsets = drive.offsets() if offsets is None else offsets
    return Aligner(list(RATES), tolerance, offsets=offsets, lateness=LATENESS, max_wait=max_wait)


def samples_of(
    drive: Drive,
    tolerance: float,
    offsets: Mapping[str, float] | None = None,
    max_wait: float | None = MAX_WAIT,
) -> Iterator[tuple[float, Sample]]:
    """Align a drive; yield when each sample was decided, and the sample."""
    aligner = _aligner(drive, tolerance, offsets, max_wait)
    for arrived, sensor, item in drive.events:
        aligner.offer(sensor, [item], arrived)
        for sample in aligner.poll(arrived):
            yield arrived, sample


def time_to_collision(sample: Sample) -> float:
    """Return the seconds until the gap is closed at the present speed; infinite if it opens."""
    lidar, camera = sample.items["lidar"], sample.items["camera"]
    if lidar is None or camera is None or camera.data <= 0.1:
        return math.inf
    return float(max(lidar.data, 0.0) / camera.data)


@dataclass(frozen=True)
class Tolerance:
    """What a tolerance gives and costs.

    Attributes:
        seconds: the tolerance.
        kept: share of the camera's items that became a sample.
        wait: seconds that half of the samples waited for the other sensors.
        wait99: the same for 99 %.
        error: metres by which the fused gap was wrong, root mean square at the camera's time.
    """

    seconds: float
    kept: float
    wait: float
    wait99: float
    error: float


def try_tolerance(
    drive: Drive, tolerance: float, offsets: Mapping[str, float] | None = None
) -> Tolerance:
    """Align a drive with a tolerance, and compare with the truth.

    Args:
        drive: the drive.
        tolerance: seconds that an item may be away from the camera's.
        offsets: by how much the clocks are ahead; measured if not given.

    Example:
        >>> from dlkit.live import record
        >>> drive = record(seconds=10.0)
        >>> narrow, wide = try_tolerance(drive, 0.01), try_tolerance(drive, 0.06)
        >>> narrow.kept < 0.35 < 0.9 < wide.kept, narrow.error < wide.error
        (True, True)
    """
    found = [sample for _, sample in samples_of(drive, tolerance, offsets)]
    if not found:
        return Tolerance(tolerance, 0.0, math.nan, math.nan, math.nan)
    waits = [sample.waited for sample in found]
    errors = [
        lidar.data - gap(sample.stamp)
        for sample in found
        if (lidar := sample.items["lidar"]) is not None
    ]
    return Tolerance(
        tolerance,
        len(found) / len(drive.of("camera")),
        float(np.quantile(waits, 0.5)),
        float(np.quantile(waits, 0.99)),
        float(np.sqrt(np.mean(np.square(errors)))),
    )


@dataclass(frozen=True)
class Overload:
    """What a policy does when the planner is slower than the sensors.

    Attributes:
        policy: its name.
        counts: where all samples are.
        p50: seconds from sample to answer, of half of them.
        p99: the same of 99 %.
        reaction: seconds from the danger, as the truth has it, to the first answer that tells of
            it; infinite if none did.
    """

    policy: str
    counts: Counts
    p50: float
    p99: float
    reaction: float


def overload(
    drive: Drive, policy: str, planning: float = 0.05, capacity: int = 16, seed: int = 0
) -> Overload:
    """Let a planner that takes too long for each sample drive under a policy.

    Args:
        drive: the drive; its camera gives 30 samples a second.
        policy: what happens to samples that find no room.
        planning: seconds for each sample; over 1/30 it is an overload.
        capacity: samples that may wait.
        seed: of the policy `"sample"`.

    Example:
        >>> from dlkit.live import record
        >>> fresh = overload(record(), "drop_oldest")
        >>> late = overload(record(), "block")
        >>> fresh.p50 < 0.9 < 2 < late.p99, fresh.counts.lost > 100, late.counts.lost
        (True, True, 0)
    """
    check_positive("planning", planning)
    decided = list(samples_of(drive, 0.06))
    batcher = Batcher(Fixed(1, 0.0), capacity, policy, seed=seed)
    run = simulate([when for when, _ in decided], batcher, lambda _: planning)
    begins = danger()
    seen = [
        answered
        for number, answered in zip(run.numbers.tolist(), run.answered.tolist(), strict=True)
        if (sample := decided[number][1]).stamp >= begins - 0.5
        and time_to_collision(sample) < DANGER
    ]
    return Overload(
        policy,
        run.counts,
        run.percentile(0.5),
        run.percentile(0.99),
        min(seen) - begins if seen else math.inf,
    )


class Watch:
    """Acts on events: an alarm is raised once when danger begins, not for each sample of it.

    Attributes:
        alarms: how many there were.

    Example:
        >>> from dlkit.live import record
        >>> watch = Watch()
        >>> raised = [watch.see(sample) for _, sample in samples_of(record(), 0.06)]
        >>> watch.alarms >= 1
        True
    """

    def __init__(self) -> None:
        self.alarms = 0
        self._calm = 0  # samples without danger, lately

    def see(self, sample: Sample) -> bool:
        """Look at a sample, and return whether it raises an alarm."""
        if time_to_collision(sample) >= DANGER:
            self._calm += 1
            return False
        alarm = self._calm >= 3 or not self.alarms
        self._calm = 0
        self.alarms += alarm
        return alarm


def play(
    drive: Drive, tolerance: float, speed: float = 1.0, max_wait: float | None = MAX_WAIT
) -> tuple[SeveralSources, Aligner]:
    """Play a drive back as it came, each sensor in a thread of its own, and align it.

    Args:
        drive: the drive.
        tolerance: seconds that an item may be away from the camera's.
        speed: 2 plays twice as fast.
        max_wait: seconds of the road that a frame waits for a sensor that is silent; None waits
            for as long as it takes, and then the samples do not depend on the machine.

    Returns:
        A source of samples, and the machine in it that aligns.
    """
    # All sensors share one beginning, or each would start with its own first item.
    sensors = {}
    for sensor in RATES:
        arrivals, items = zip(*drive.of(sensor), strict=True)
        sensors[sensor] = Replay(items, arrivals, speed, begin=drive.begins)
    aligner = _aligner(drive, tolerance, max_wait=None if max_wait is None else max_wait / speed)
    return SeveralSources(sensors, aligner), aligner
