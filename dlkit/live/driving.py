"""Driving: three sensors of a car that follows another one, on a road that is made up.

    camera 30 Hz   how fast the car ahead grows       -> closing speed, m/s
    lidar  10 Hz   how far away it is                 -> gap, m          clock ahead by 0.15 s
    imu   100 Hz   what the own car does              -> acceleration, m/s^2

    aligned sample -> time to collision = gap / closing speed -> brake below 4 s

Items are late by chance, some are lost, and the lidar's clock is wrong. What the truth was is
known, so every choice has a price that can be read: a narrow tolerance loses samples, a wide one
fuses what does not belong together, and a planner that is too slow learns of danger too late.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from dlkit.streaming import (
    Aligner,
    Batcher,
    ClockOffset,
    Counts,
    Fixed,
    Replay,
    Sample,
    Stamped,
    align,
)
from dlkit.streaming.checks import check_positive
from dlkit.streaming.several import SeveralSources
from dlkit.streaming.simulated import simulate

RATES: Mapping[str, float] = {"camera": 30.0, "lidar": 10.0, "imu": 100.0}
NOISE: Mapping[str, float] = {"camera": 0.2, "lidar": 0.05, "imu": 0.1}  # m/s, m, m/s^2
DELAY: Mapping[str, float] = {"camera": 0.012, "lidar": 0.020, "imu": 0.002}  # seconds, mean
DROPOUT: Mapping[str, float] = {"camera": 0.02, "lidar": 0.05, "imu": 0.01}
OFFSET: Mapping[str, float] = {"camera": 0.0, "lidar": 0.15, "imu": 0.0}  # seconds ahead
LATENESS = 0.04  # seconds by which items may overtake each other
DANGER = 4.0  # seconds to collision
BRAKING = 12.0  # second at which the car ahead brakes
LONGEST = 16.0  # seconds of a drive; a little later there is no gap any more

Event = tuple[float, str, Stamped]  # when it arrived, from whom, what


@dataclass(frozen=True)
class Drive:
    """A recorded drive.

    Attributes:
        events: in the order of their arrival.
        seconds: how long it was.
        lost: items that never arrived, by sensor.
    """

    events: list[Event]
    seconds: float
    lost: Mapping[str, int]

    def of(self, sensor: str) -> list[tuple[float, Stamped]]:
        """Return arrival and item of one sensor."""
        return [(arrived, item) for arrived, name, item in self.events if name == sensor]

    def offsets(self, until: float = 5.0) -> dict[str, float]:
        """Measure by how much each clock is ahead, from the first seconds of the drive."""
        found = {}
        for sensor in RATES:
            clock = ClockOffset(delay=0.0)
            for arrived, item in self.of(sensor):
                if arrived <= until:
                    clock.seen(item.stamp, arrived)
            found[sensor] = clock.offset
        return found


def gap(t: float) -> float:
    """Return the true distance to the car ahead in metres."""
    after = max(t - BRAKING, 0.0)
    return 45.0 + 8.0 * math.sin(0.45 * t) - 2.5 * after**2


def closing(t: float) -> float:
    """Return the true speed at which the gap shrinks, in m/s."""
    after = max(t - BRAKING, 0.0)
    return -3.6 * math.cos(0.45 * t) + 5.0 * after


def record(seconds: float = 16.0, seed: int = 0) -> Drive:
    """Record a drive.

    Args:
        seconds: how long it is, at most 16; the car ahead brakes at second 12.
        seed: of noise, delays and losses.

    Raises:
        ValueError: if `seconds` is not above 0 and at most 16.

    Example:
        >>> drive = record(seconds=10.0)
        >>> {sensor: len(drive.of(sensor)) for sensor in RATES}
        {'camera': 293, 'lidar': 94, 'imu': 984}
    """
    check_positive("seconds", seconds)
    if seconds > LONGEST:
        raise ValueError(f"seconds must be at most {LONGEST:g}, when the cars meet, got {seconds}")
    rng = np.random.default_rng(seed)
    truth: dict[str, Callable[[float], float]] = {
        "camera": closing,
        "lidar": gap,
        "imu": lambda t: 0.3 * math.sin(t),
    }
    events: list[Event] = []
    lost = {}
    for sensor, rate in RATES.items():
        seen = np.arange(0.0, seconds, 1 / rate) + rng.normal(0, 0.03 / rate)
        keep = rng.random(len(seen)) >= DROPOUT[sensor]
        lost[sensor] = int((~keep).sum())
        for t in seen[keep].tolist():
            value = truth[sensor](t) + NOISE[sensor] * rng.normal()
            arrived = t + 0.002 + rng.exponential(DELAY[sensor])
            events.append((arrived, sensor, Stamped(t + OFFSET[sensor], float(value))))
    events.sort(key=lambda event: event[0])
    return Drive(events, seconds, lost)


def samples_of(
    drive: Drive, tolerance: float, offsets: Mapping[str, float] | None = None
) -> Iterator[tuple[float, Sample]]:
    """Align a drive; yield when each sample was decided, and the sample."""
    aligner = Aligner(
        list(RATES),
        tolerance,
        offsets=drive.offsets() if offsets is None else offsets,
        lateness=LATENESS,
        max_wait=0.3,
    )
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


def danger() -> float:
    """Return the second at which the danger begins, by the truth."""
    moments = np.arange(BRAKING, LONGEST, 0.001)
    return float(next(t for t in moments if 0 <= gap(t) <= DANGER * closing(t)))


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
        >>> fresh = overload(record(), "drop_oldest")
        >>> late = overload(record(), "block")
        >>> fresh.p50 < 0.9 < 2 < late.p99, fresh.counts.lost > 100, late.counts.lost
        (True, True, 0)
    """
    check_positive("planning", planning)
    decided = list(samples_of(drive, 0.06))
    batcher = Batcher(Fixed(1, 0.0), capacity, policy, seed=seed)
    run = simulate([when for when, _ in decided], batcher, lambda _: planning)
    sample_at = dict(decided)  # no two are decided at the same moment
    begins = danger()
    seen = [
        answered
        for arrived, answered in zip(run.arrived.tolist(), run.answered.tolist(), strict=True)
        if sample_at[arrived].stamp >= begins - 0.5
        and time_to_collision(sample_at[arrived]) < DANGER
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


def play(drive: Drive, tolerance: float, speed: float = 1.0) -> SeveralSources:
    """Play a drive back as it came, each sensor in a thread of its own, and align it.

    Args:
        drive: the drive.
        tolerance: seconds that an item may be away from the camera's.
        speed: 2 plays twice as fast.

    Returns:
        A source of samples.
    """
    # All sensors share one beginning, or each would start with its own first item.
    begin = drive.events[0][0]
    sensors = {}
    for sensor in RATES:
        arrivals, items = zip(*drive.of(sensor), strict=True)
        sensors[sensor] = Replay(items, arrivals, speed, begin=begin)
    return align(
        sensors, tolerance, offsets=drive.offsets(), lateness=LATENESS, max_wait=0.3 / speed
    )
