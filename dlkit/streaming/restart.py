"""Sources that fail and are started again, and sources that fall silent.

    fails -> wait 0.1 s -> again -> fails -> wait 0.2 s -> again -> ... -> too often: raise

The waits double, so that a camera that is gone is not called a thousand times a second, and may be
shortened at random, so that many that failed together do not come back together.
"""

import threading
from collections.abc import Callable
from random import Random
from typing import Any

from dlkit.checks import check_positive_int
from dlkit.streaming.checks import EndOfStream, check_positive, check_share
from dlkit.streaming.clock import Clock, RealClock
from dlkit.streaming.sources import Source, as_source


class Backoff:
    """How long to wait before each new attempt.

    Args:
        first: seconds before the first one.
        factor: by how much each wait is longer than the one before.
        most: seconds that no wait exceeds.
        attempts: how many may fail in a row.
        jitter: the largest share by which a wait is shortened at random.
        seed: of these random numbers.

    Raises:
        ValueError: if there is no such number of seconds or attempts.

    Example:
        >>> backoff = Backoff(first=0.1, most=0.5, attempts=4)
        >>> [backoff.next() for _ in range(5)]
        [0.1, 0.2, 0.4, 0.5, None]
        >>> backoff.reset(); backoff.next()
        0.1
    """

    def __init__(
        self,
        first: float = 0.1,
        factor: float = 2.0,
        most: float = 30.0,
        attempts: int = 8,
        jitter: float = 0.0,
        seed: int = 0,
    ) -> None:
        check_positive("first", first)
        check_positive("factor", factor, "times as long")
        check_positive("most", most)
        check_positive_int("attempts", attempts)
        check_share("jitter", jitter)
        self.first, self.factor, self.most, self.attempts = first, factor, most, attempts
        self._jitter = jitter
        self._random = Random(seed)
        self.failed = 0
        self._wait = float(min(first, most))

    def next(self) -> float | None:
        """Return the seconds to wait after one more failure; None if it was one too many."""
        if self.failed >= self.attempts:
            return None
        self.failed += 1
        # Step by step: a power of the factor is too large for a float after a thousand failures.
        wait, self._wait = self._wait, min(self._wait * self.factor, self.most)
        return wait * (1 - self._jitter * self._random.random())

    def reset(self) -> None:
        """Begin anew, because an attempt went well."""
        self.failed = 0
        self._wait = float(min(self.first, self.most))


class Restarting(Source):
    """A source that is made again when it raises.

    What the failed one had handed over stays in the stream; what it had not is its own affair.

    Args:
        make: makes the source, or anything that `as_source` takes.
        backoff: how often and when; the defaults of `Backoff` otherwise.
        clock: whose time is waited by.

    Attributes:
        restarts: how often it was made again.
        errors: the last 16 errors.

    Example:
        >>> from dlkit.streaming import SimulatedClock
        >>> def camera():
        ...     yield "frame"
        ...     raise OSError("cable")
        >>> source = Restarting(camera, Backoff(attempts=2), SimulatedClock())
        >>> [source.read(1) for _ in range(3)], source.restarts
        ([['frame'], ['frame'], ['frame']], 2)
    """

    def __init__(
        self, make: Callable[[], Any], backoff: Backoff | None = None, clock: Clock | None = None
    ) -> None:
        if not callable(make):
            raise TypeError(f"make must be a function that makes a source, but got {make!r}")
        self._make = make
        self._backoff = Backoff() if backoff is None else backoff
        self._clock: Clock = RealClock() if clock is None else clock
        self._closing = threading.Event()
        self._inner: Source | None = None
        self.restarts = 0
        self.errors: list[Exception] = []

    def read(self, most: int, timeout: float | None = None) -> list[Any]:
        """Read from the source, and make a new one if it raises.

        Raises:
            Exception: the source's own, when it has failed too often in a row.
        """
        while not self._closing.is_set():
            try:
                if self._inner is None:
                    self._inner = as_source(self._make())
                items = self._inner.read(most, timeout)
            except EndOfStream:
                raise
            except Exception as error:
                self._give_up_or_wait(error)
            else:
                if items:
                    self._backoff.reset()
                return items
        raise EndOfStream

    def _give_up_or_wait(self, error: Exception) -> None:
        self.errors = [*self.errors[-15:], error]
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.close()
        wait = self._backoff.next()
        if wait is None:
            error.add_note(f"the source has failed {self._backoff.attempts + 1} times in a row")
            raise error
        self.restarts += 1
        self._clock.sleep(wait, self._closing)

    def close(self) -> None:
        """Close the source, and end a wait for the next attempt."""
        self._closing.set()
        inner = self._inner
        if inner is not None:
            inner.close()


class Watchdog:
    """Notices that nothing has come for too long.

    Args:
        patience: seconds of silence that are normal.

    Attributes:
        stalls: how often the silence was too long.

    Raises:
        ValueError: if `patience` is no finite number above 0.

    Example:
        >>> dog = Watchdog(patience=1.0)
        >>> dog.seen(10.0)
        >>> [dog.barks(10.9), dog.barks(11.1), dog.barks(11.2)]  # once for each silence
        [False, True, False]
        >>> dog.seen(12.0); dog.barks(13.5), dog.stalls
        (True, 2)
    """

    def __init__(self, patience: float) -> None:
        check_positive("patience", patience)
        self.patience = patience
        self.stalls = 0
        self._last: float | None = None
        self._barked = False

    def seen(self, now: float) -> None:
        """Something came."""
        self._last, self._barked = now, False

    def due(self) -> float | None:
        """Return when to look again; None while there is nothing to look for."""
        return None if self._last is None or self._barked else self._last + self.patience

    def barks(self, now: float) -> bool:
        """Whether the silence has become too long; True once for each silence."""
        if self._last is None:
            self._last = now
        if self._barked or now - self._last <= self.patience:
            return False
        self._barked = True
        self.stalls += 1
        return True
