"""The drive in real time: sensors that are played back, aligned, and answered by a planner.

    camera, lidar, imu --threads--> align -> [queue, a policy] -> planner -> what it knows, and when

A planner that takes longer than a frame's thirtieth of a second falls behind the road, or loses
samples: the policy decides. Tolerance and planning time may be changed while it runs.
"""

import math
from dataclasses import dataclass

import numpy as np

from dlkit.live.driving import MAX_WAIT, Watch, play, time_to_collision
from dlkit.live.road import Drive, record
from dlkit.live.system import LiveSystem
from dlkit.streaming import Batch, Pipeline, Stats
from dlkit.streaming.checks import check_not_negative


@dataclass(frozen=True)
class RideMoment:
    """One reading of the ride.

    Attributes:
        seconds: of the road that have passed.
        stamp: the second of the road that the latest answer tells of; NaN before the first.
        gap: metres to the car ahead, by that answer.
        collision: seconds to collision, by that answer; infinite while the gap opens.
        alarms: how many were raised so far.
        kept: share of the camera's frames since the last reading that became a sample; NaN without
            any.
        waited: seconds that 99 % of the samples answered since the last reading had waited for
            other sensors; NaN without any.
        unmatched: frames of the camera in no sample, so far.
        dropped: samples that the queue dropped since the last reading.
        stats: all that the pipeline tells.
    """

    seconds: float
    stamp: float
    gap: float
    collision: float
    alarms: int
    kept: float
    waited: float
    unmatched: int
    dropped: int
    stats: Stats

    @property
    def behind(self) -> float:
        """Seconds by which the latest answer is behind the road."""
        return self.seconds - self.stamp


class LiveDriving(LiveSystem[RideMoment]):
    """The system, in threads of its own; it ends with the drive.

    Args:
        drive: what the sensors recorded; 16 seconds of it by default.
        tolerance: seconds that an item may be away from the camera's; may be set while it runs.
        planning: seconds that the planner takes for a sample; may be set while it runs.
        policy: what happens to a sample that finds no room.
        capacity: samples that may wait.
        max_wait: seconds that a frame waits for a sensor that is silent; None waits for as long as
            it takes.

    Raises:
        ValueError: if an argument is none of the accepted.

    Example:
        >>> with LiveDriving(record(seconds=1.0), planning=0.0) as system:
        ...     _ = system.wait(30.0)
        >>> moment = system.read()
        >>> moment.stats.counts.exact, 0.5 < moment.stamp < 1.0
        (True, True)
    """

    def __init__(
        self,
        drive: Drive | None = None,
        tolerance: float = 0.06,
        planning: float = 0.01,
        policy: str = "drop_oldest",
        capacity: int = 16,
        max_wait: float | None = MAX_WAIT,
    ) -> None:
        self.drive = record() if drive is None else drive
        self.planning = planning
        self._tolerance = tolerance
        self.sensors, self.aligner = play(self.drive, tolerance, max_wait=max_wait)
        pipeline = Pipeline(
            self.sensors, max_batch=1, max_delay=0.0, capacity=capacity, policy=policy
        )
        super().__init__(pipeline, "dlkit live driving")
        self.watch = Watch()
        self._latest = (math.nan, math.nan, math.inf)  # stamp, gap, collision
        self._waits: list[float] = []
        self._before = (0, 0, 0)  # frames matched, in no sample, and dropped, at the last reading

    @property
    def planning(self) -> float:
        """Seconds that the planner takes for a sample."""
        return self._planning

    @planning.setter
    def planning(self, seconds: float) -> None:
        check_not_negative("planning", seconds)
        self._planning = seconds

    @property
    def tolerance(self) -> float:
        """Seconds that an item may be away from the camera's."""
        return self._tolerance

    @tolerance.setter
    def tolerance(self, seconds: float) -> None:
        self.aligner.tolerate(seconds)
        self._tolerance = seconds

    def answer(self, batch: Batch) -> None:
        """Plan for one sample, which takes its time, and look for danger."""
        (sample,) = batch.items
        self._clock.sleep(self._planning)
        self.watch.see(sample)
        self._waits.append(sample.waited)
        lidar = sample.items["lidar"]
        gap = math.nan if lidar is None else lidar.data
        self._latest = sample.stamp, gap, time_to_collision(sample)

    def read(self) -> RideMoment:
        """Return what has happened since the last reading, and keep it in `history`."""
        stats = self.pipeline.stats()
        waits, self._waits = self._waits, []
        camera = self.sensors.counts()["camera"]
        now = (camera.delivered, camera.lost, stats.counts.lost)
        matched, unmatched, dropped = (
            new - old for new, old in zip(now, self._before, strict=True)
        )
        self._before = now
        stamp, gap, collision = self._latest
        decided = matched + unmatched
        moment = RideMoment(
            seconds=self.drive.begins + self.seconds,
            stamp=stamp,
            gap=gap,
            collision=collision,
            alarms=self.watch.alarms,
            kept=matched / decided if decided else math.nan,
            waited=float(np.quantile(waits, 0.99)) if waits else math.nan,
            unmatched=camera.lost,
            dropped=dropped,
            stats=stats,
        )
        self.history.append(moment)
        return moment
