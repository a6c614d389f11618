"""Two live systems, end to end: handwritten digits as they come, and the sensors of a car.

    dlkit live digits     frames at any rate -> micro-batches under an objective -> CNN -> answers
    dlkit live driving    camera, lidar, IMU -> one synchronised sample -> a planner that may brake

Both are examples of `dlkit.streaming`: small enough to read, complete enough to be watched.
`system` is what they share; `digits` is the first; `road`, `driving` and `ride` are the second:
what is recorded, what can be computed from it, and the same in real time.
"""

from dlkit.live.digits import LiveDigits, Moment, train_recogniser
from dlkit.live.driving import Overload, Tolerance, overload, try_tolerance
from dlkit.live.ride import LiveDriving, RideMoment
from dlkit.live.road import Drive, record
from dlkit.live.system import LiveSystem

__all__ = [
    "Drive",
    "LiveDigits",
    "LiveDriving",
    "LiveSystem",
    "Moment",
    "Overload",
    "RideMoment",
    "Tolerance",
    "overload",
    "record",
    "train_recogniser",
    "try_tolerance",
]
