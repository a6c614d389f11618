"""Sources with a time table: a camera with jitter and drop-outs, and recordings played back.

Both know when each item is due. `due(now)` is the machine: it returns what has come until now, so a
simulated clock drives it exactly; `read` waits for the next item on a real one. Items are `Stamped`
with the time at which the sensor saw them, which is not the time at which they arrive.
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any, NamedTuple

import numpy as np

from dlkit.streaming.checks import (
    EndOfStream,
    check_not_negative,
    check_positive,
    check_share,
    check_stamp,
)
from dlkit.streaming.clock import Clock, RealClock
from dlkit.streaming.sources import Source

_LOOK = 0.1  # seconds after which a reader that waits looks whether the time table has changed


class Stamped(NamedTuple):
    """An item and the time, in seconds, at which it was seen."""

    stamp: float
    data: Any


class TimedSource(Source):
    """Items that are due at times of their own.

    Args:
        clock: whose time; the machine's by default.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = RealClock() if clock is None else clock
        self._closing = threading.Event()
        self._lock = threading.Lock()  # whoever changes a rate does so from another thread
        self._start: float | None = None
        self._next: tuple[float, Any] | None = None  # when, in seconds since the start, and what

    def advance(self) -> tuple[float, Any] | None:
        """Return when the next item is due, in seconds since the start, and the item."""
        raise NotImplementedError(f"{type(self).__name__} must define advance")

    def next_due(self) -> float | None:
        """Return when the next item comes, by the clock; None after the last one."""
        with self._lock:
            return self._when()

    def _when(self) -> float | None:
        if self._start is None:
            self._start = self.clock.now()
            self._next = self.advance()
        return None if self._next is None else self._start + self._next[0]

    def due(self, now: float, most: int | None = None) -> list[Any]:
        """Return the items that have come until `now`, at most so many."""
        items: list[Any] = []
        with self._lock:
            while len(items) != most:
                when = self._when()
                if when is None or when > now or self._next is None:
                    break
                items.append(self._next[1])
                self._next = self.advance()
        return items

    def read(self, most: int, timeout: float | None = None) -> list[Any]:
        """Wait for the next item, and return it with all others that are due."""
        limit = math.inf if timeout is None else self.clock.now() + timeout
        while not self._closing.is_set():
            when = self.next_due()
            if when is None:
                raise EndOfStream
            now = self.clock.now()
            if when <= now:
                return self.due(now, most)
            if now >= limit:
                return []
            self.clock.sleep(min(when, limit, now + _LOOK) - now, self._closing)
        raise EndOfStream

    def close(self) -> None:
        """End the stream, and wake up its reader."""
        self._closing.set()


class Camera(TimedSource):
    """Frames at a rate, not quite evenly, and not quite all.

    Frame k is seen at k / rate and arrives after a random delay; frames do not overtake.

    Args:
        rate: frames/s; may be set while the camera runs.
        make: from the number of a frame to its data; the number itself by default.
        jitter: mean of the delay in seconds, which is exponentially distributed.
        dropout: share of the frames that are lost.
        offset: seconds by which the camera's clock is ahead.
        frames: how many to send; None sends for ever.
        seed: of the delays and losses.
        clock: whose time; the machine's by default.

    Attributes:
        lost: frames that were lost so far, which nobody downstream has seen.

    Raises:
        ValueError: if a rate is 0, a delay negative, or a share not from 0 to below 1.

    Example:
        >>> from dlkit.streaming import SimulatedClock
        >>> clock = SimulatedClock()
        >>> camera = Camera(rate=10, frames=3, clock=clock)
        >>> camera.due(clock.now())
        [Stamped(stamp=0.0, data=0)]
        >>> camera.due(clock.advance(0.25))
        [Stamped(stamp=0.1, data=1), Stamped(stamp=0.2, data=2)]
    """

    def __init__(
        self,
        rate: float,
        make: Callable[[int], Any] | None = None,
        *,
        jitter: float = 0.0,
        dropout: float = 0.0,
        offset: float = 0.0,
        frames: int | None = None,
        seed: int = 0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock)
        check_not_negative("jitter", jitter)
        check_share("dropout", dropout)
        self._offset = offset
        self.rate = rate
        self.lost = 0
        self._make = make
        self._jitter, self._dropout = jitter, dropout
        self._frames = frames
        self._rng = np.random.default_rng(seed)
        self._number = 0
        self._seen = 0.0  # when the frame that comes next is seen, in seconds since the start
        self._arrived = 0.0

    @property
    def rate(self) -> float:
        """Frames a second."""
        return self._rate

    @rate.setter
    def rate(self, value: float) -> None:
        check_positive("rate", value, "frames/s")
        with self._lock:
            self._rate = float(value)
            if self._next is None or self._start is None:
                return
            # At once: at a frame a minute, the next one would tell of the new rate in a minute.
            sooner = self.clock.now() - self._start + 1.0 / self._rate
            due, frame = self._next
            if sooner < due:
                self._next = (sooner, frame._replace(stamp=sooner + self._offset))
                self._arrived = sooner
                self._seen = sooner + 1.0 / self._rate

    def advance(self) -> tuple[float, Any] | None:
        """Return when the next frame arrives that is not lost."""
        while self._frames is None or self._number < self._frames:
            number, seen = self._number, self._seen
            self._number += 1
            self._seen += 1.0 / self._rate
            delay = self._rng.exponential(self._jitter) if self._jitter else 0.0
            if self._dropout and self._rng.random() < self._dropout:
                self.lost += 1
                continue
            self._arrived = max(self._arrived, seen + delay)
            data = number if self._make is None else self._make(number)
            return self._arrived, Stamped(seen + self._offset, data)
        return None


class Replay(TimedSource):
    """A recording played back with the time stamps that it was made with.

    Args:
        data: the items, in the order of their arrival; an iterable is read as it is played.
        stamps: seconds at which each arrived, of any origin; by default those of items that are
            `Stamped`.
        speed: 2 plays twice as fast, 0.5 at half the speed.
        clock: whose time; the machine's by default.
        begin: the stamp at which playing begins; the first item's by default.

    Raises:
        ValueError: if speed is not above 0, or, when its turn comes, a stamp is not finite.

    Example:
        >>> from dlkit.streaming import SimulatedClock
        >>> clock = SimulatedClock()
        >>> replay = Replay("abc", stamps=[100.0, 101.0, 103.0], speed=2.0, clock=clock)
        >>> replay.due(clock.now()), replay.due(clock.advance(0.5)), replay.due(clock.advance(1))
        (['a'], ['b'], ['c'])
    """

    def __init__(
        self,
        data: Iterable[Any],
        stamps: Sequence[float] | None = None,
        speed: float = 1.0,
        clock: Clock | None = None,
        begin: float | None = None,
    ) -> None:
        super().__init__(clock)
        check_positive("speed", speed, "times as fast")
        if stamps is not None and isinstance(data, Sized) and len(stamps) != len(data):
            raise ValueError(
                f"stamps must have one time for each item, but there are {len(stamps)} for "
                f"{len(data)} items"
            )
        self._speed = speed
        self._items: Iterator[Any] = iter(data)
        self._stamps: Iterator[float] | None = None if stamps is None else iter(stamps)
        self._first = None if begin is None else check_stamp("begin", begin)
        self._last = 0.0

    def advance(self) -> tuple[float, Any] | None:
        """Return when the next item is due, and the item."""
        try:
            item = next(self._items)
            stamp = check_stamp(
                "replay", item.stamp if self._stamps is None else next(self._stamps)
            )
        except StopIteration:
            return None
        if self._first is None:
            self._first = stamp
        # A recording's clock may have been set back: what was recorded later still comes later.
        self._last = max(self._last, (stamp - self._first) / self._speed)
        return self._last, item
