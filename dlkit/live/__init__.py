"""Two live systems, end to end: handwritten digits as they come, and the sensors of a car.

    dlkit live digits     frames at any rate -> micro-batches under an objective -> CNN -> answers
    dlkit live driving    camera, lidar, IMU -> one synchronised sample -> a planner that may brake

Both are examples of `dlkit.streaming`: small enough to read, complete enough to be watched.
"""

from dlkit.live.digits import LiveDigits, Moment, train_recogniser
from dlkit.live.driving import Drive, Overload, Tolerance, overload, record, try_tolerance

__all__ = [
    "Drive",
    "LiveDigits",
    "Moment",
    "Overload",
    "Tolerance",
    "overload",
    "record",
    "train_recogniser",
    "try_tolerance",
]
