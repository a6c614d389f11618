"""A road that is made up, and what three sensors of a car record of it.

    camera 30 Hz   how fast the car ahead grows       -> closing speed, m/s
    lidar  10 Hz   how far away it is                 -> gap, m          clock ahead by 0.15 s
    imu   100 Hz   what the own car does              -> acceleration, m/s^2

Items are late by chance, some are lost, and the lidar's clock is wrong. What the truth was is
known, so that every choice made downstream has a price that can be read.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from dlkit.streaming import ClockOffset, Stamped
from dlkit.streaming.checks import check_positive

RATES: Mapping[str, float] = {"camera": 30.0, "lidar": 10.0, "imu": 100.0}
NOISE: Mapping[str, float] = {"camera": 0.2, "lidar": 0.05, "imu": 0.1}  # m/s, m, m/s^2
DELAY: Mapping[str, float] = {"camera": 0.012, "lidar": 0.020, "imu": 0.002}  # seconds, mean
DROPOUT: Mapping[str, float] = {"camera": 0.02, "lidar": 0.05, "imu": 0.01}
OFFSET: Mapping[str, float] = {"camera": 0.0, "lidar": 0.15, "imu": 0.0}  # seconds ahead
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

    @property
    def begins(self) -> float:
        """The second at which the first item arrived."""
        return self.events[0][0]

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


def danger() -> float:
    """Return the second at which the danger begins, by the truth."""
    moments = np.arange(BRAKING, LONGEST, 0.001)
    return float(next(t for t in moments if 0 <= gap(t) <= DANGER * closing(t)))


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
