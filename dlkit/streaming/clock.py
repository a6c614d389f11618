"""What time it is: the machine's clock, one that tests move by hand, and one that never runs back.

Everything in this package that depends on time is told the time, as seconds in a float, and never
asks for it: `offer(item, now)`, `poll(now)`. So one test with a `SimulatedClock` is exact where ten
with sleeps would be nearly right; the threads around those machines read a `Clock`.
"""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from dlkit.streaming.checks import check_not_negative, check_positive


class Clock(Protocol):
    """Something that tells seconds and can wait."""

    def now(self) -> float:
        """Return the time in seconds; only differences mean anything."""
        ...

    def sleep(self, seconds: float, wake: threading.Event | None = None) -> bool:
        """Wait so long, or until `wake` is set; return whether it was."""
        ...


class RealClock:
    """The machine's monotonic clock, which setting the time of day does not touch.

    Example:
        >>> clock = RealClock()
        >>> clock.now() <= clock.now()
        True
    """

    # Not a method around it: a stream asks for each item of a generator.
    now = staticmethod(time.perf_counter)

    def sleep(self, seconds: float, wake: threading.Event | None = None) -> bool:
        """Wait so long, or until `wake` is set; return whether it was."""
        if wake is not None:
            return wake.wait(max(seconds, 0.0))
        time.sleep(max(seconds, 0.0))
        return False


class SimulatedClock:
    """A clock that stands still until it is moved; sleeping moves it.

    Args:
        now: where it starts, in seconds.

    Example:
        >>> clock = SimulatedClock()
        >>> clock.advance(1.5)
        1.5
        >>> clock.sleep(1.0)
        False
        >>> clock.now()
        2.5
    """

    def __init__(self, now: float = 0.0) -> None:
        self._now = now

    def now(self) -> float:
        """Return the time that it was moved to."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Move the clock on, and return the new time.

        Raises:
            ValueError: if `seconds` is negative or not finite; `jump` can go back.
        """
        check_not_negative("seconds", seconds)
        self._now += seconds
        return self._now

    def jump(self, seconds: float) -> float:
        """Move the clock in either direction, as setting a wrong clock does."""
        self._now += seconds
        return self._now

    def sleep(self, seconds: float, wake: threading.Event | None = None) -> bool:
        """Move the clock on at once; return whether `wake` is set."""
        self.advance(max(seconds, 0.0))
        return wake is not None and wake.is_set()


class Steady:
    """A clock that never runs back, made of one that may.

    After a step back it goes on from where it was; after a leap forward too, if a longest step is
    given. Deadlines that were computed before stay as far away as they were. Without this, an hour
    set back would hold a batch of 10 ms for an hour.

    Args:
        clock: the clock that may jump, or a function such as `time.time`.
        longest_step: seconds between two readings above which it is the clock that has jumped;
            None believes every step forward, which is right for `RealClock`: a laptop that slept
            really has old items in its queue.

    Attributes:
        jumps: how many jumps were taken out.

    Example:
        >>> wrong = SimulatedClock(100.0)
        >>> steady = Steady(wrong)
        >>> steady.now(), wrong.jump(-3600.0), steady.now(), steady.jumps
        (100.0, -3500.0, 100.0, 1)
        >>> wrong.advance(2.0), steady.now()
        (-3498.0, 102.0)
    """

    def __init__(
        self, clock: Clock | Callable[[], float], longest_step: float | None = None
    ) -> None:
        if longest_step is not None:
            check_positive("longest_step", longest_step)
        self._clock: Clock = _Function(clock) if callable(clock) else clock
        self._longest = longest_step
        self._lock = threading.Lock()  # two threads that read at once must not count a jump twice
        self._raw = self._clock.now()
        self._offset = 0.0
        self.jumps = 0

    def now(self) -> float:
        """Return seconds that never decrease."""
        with self._lock:
            raw = self._clock.now()
            step = raw - self._raw
            if step < 0 or (self._longest is not None and step > self._longest):
                self._offset -= step
                self.jumps += 1
            self._raw = raw
            return raw + self._offset

    def sleep(self, seconds: float, wake: threading.Event | None = None) -> bool:
        """Wait as the clock inside does."""
        return self._clock.sleep(seconds, wake)


class _Function(RealClock):
    """A function that tells the time; waiting is the machine's."""

    def __init__(self, function: Callable[[], float]) -> None:
        self.now = function
