"""A record with a clock that runs or stands, written down whole after every event."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dlkit.lab.exercises.progress import Progress
from dlkit.lab.interview.record import Record, save, texts


class Timed:
    """What an interview is before it asks anything.

    Args:
        record: Its state.
        progress: Whose; the learner's own when None.
        clock: Returns seconds; the first value does not matter.
    """

    def __init__(
        self, record: Record, progress: Progress | None, clock: Callable[[], float]
    ) -> None:
        self.record, self.clock = record, clock
        self.progress = progress if progress is not None else Progress()
        self._started: float | None = None  # when the clock last began to run
        # A notebook's buttons and the thread that shows the time come at once.
        self._lock = threading.RLock()
        self._say = texts(record.language)["say"]

    @property
    def elapsed(self) -> float:
        """Seconds that the clock has run, pauses left out."""
        running = 0.0 if self._started is None else self.clock() - self._started
        return self.record.elapsed + running

    @property
    def remaining(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self.record.minutes * 60 - self.elapsed)

    @property
    def state(self) -> str:
        """One of "running", "paused" and "finished"."""
        return self.record.state

    def _start(self) -> None:
        self._started = self.clock()

    def _stop(self) -> None:
        self.record.elapsed, self._started = self.elapsed, None

    def _store(self) -> None:
        if self._started is not None:
            self._stop()
            self._start()
        save(self.record, self.progress)
