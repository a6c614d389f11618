r"""A `Flow` in motion: the threads around it, what the consumer is given, and the end.

    reading --arrive--> Flow --claim, finish--> working
                         \--poll: step--> the consumer's own thread, or its event loop

`shared` is what they have in common: the lock, and who waits for what.
"""

import threading
import warnings
from collections.abc import Callable
from typing import Any

from dlkit.streaming.batcher import Batch
from dlkit.streaming.checks import EndOfStream, StalledError
from dlkit.streaming.clock import Clock
from dlkit.streaming.flow import Flow
from dlkit.streaming.preprocess import Preprocess
from dlkit.streaming.reading import Reading
from dlkit.streaming.restart import Watchdog
from dlkit.streaming.shared import Shared
from dlkit.streaming.sources import Source
from dlkit.streaming.stats import Meter
from dlkit.streaming.watch import MemoryGuard
from dlkit.streaming.working import Working

_PATIENCE = 2.0  # seconds that threads have to end; one inside a user's iterator may not
_LOOK = 0.5  # seconds after which a consumer that waits looks again, whatever happens


class Engine:
    """All threads of a stream. `Pipeline` checks the arguments and is what users hold.

    Args:
        open_source: makes the source; called again when a stalled one is given up.
        flow: the machine.
        preprocess: what is done with items; None for nothing.
        clock: a clock that never runs back.
        workers: threads that preprocess.
        read: items that are read from the source at once, at most.
        watchdog: notices a source that falls silent; None lets it.
        on_stall: what happens then: `"raise"`, `"warn"` or `"restart"`.
        guard: holds batches under what memory allows; None for no limit.

    Attributes:
        started: whether the threads were started.
        stall_restarts: how often a silent source was replaced.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        flow: Flow,
        preprocess: Preprocess | None,
        clock: Clock,
        workers: int,
        read: int,
        watchdog: Watchdog | None,
        on_stall: str,
        guard: MemoryGuard | None,
    ) -> None:
        self.flow, self.clock = flow, clock
        self.guard, self.watchdog = guard, watchdog
        self.shared = Shared(flow, clock)
        self.lock = self.shared.lock
        self.reading = Reading(self.shared, open_source, read, self._start_thread, watchdog)
        self.working = (
            None if preprocess is None else Working(self.shared, self.reading, preprocess, workers)
        )
        self.leaving = Meter()
        self.stall_restarts = 0
        self.started = False
        self._on_stall = on_stall
        self._life = threading.Lock()  # of starting and ending; never taken inside the other
        self._threads: list[threading.Thread] = []

    # ---- start ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the threads, once."""
        with self._life:
            if self.started or self.shared.stopping:
                return
            self.started = True
            if self.watchdog is not None:
                self.watchdog.seen(self.clock.now())
            self.reading.start()
            if self.working is not None:
                for number in range(self.working.workers):
                    self._start_thread(self.working.run, f"dlkit preprocessing {number}")

    def _start_thread(self, target: Callable[..., None], name: str, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    # ---- what the consumer is given -------------------------------------------------------------

    def step(self, now: float) -> tuple[Batch | None, float]:
        """Return a batch, or None and how many seconds to wait before the next step; locked.

        Raises:
            EndOfStream: everything has been delivered.
            BaseException: what ended the stream, after everything before it was delivered.
        """
        shared, flow = self.shared, self.flow
        if shared.stopping:
            raise EndOfStream
        if self.guard is not None:
            flow.batcher.limit = self.guard.update(now)
        if flow.entry is None:
            self.reading.take_staged()
        if shared.source_ended and flow.idle:
            flow.batcher.end()
        batch = flow.poll(now)
        if batch is not None:
            self.leaving.add(len(batch), now)
            shared.room.notify()
            shared.work.notify_all()
            return batch, 0.0
        if not shared.source_ended:
            self._look_for_a_stall(now)
        elif not flow.in_flight:
            failure, shared.failure = shared.failure, None
            raise EndOfStream if failure is None else failure
        return None, self._seconds_to_wait(now)

    def _seconds_to_wait(self, now: float) -> float:
        batcher, looks = self.flow.batcher, [_LOOK]
        due = batcher.due()
        if self.flow.entry is None:
            # The first item starts the timer; the others are wanted when they fill the batch.
            missing = 1 if due is None else batcher.size - len(batcher.buffer)
            self.reading.want(missing)
            if self.reading.waiting >= missing:
                return 0.0
        if due is not None:
            looks.append(due - now)
        if self.watchdog is not None and (when := self.watchdog.due()) is not None:
            looks.append(when - now)
        return max(min(looks), 0.0)

    def _look_for_a_stall(self, now: float) -> None:
        if self.watchdog is None or self.flow.blocked or not self.watchdog.barks(now):
            return
        words = f"the source has been silent for more than {self.watchdog.patience:g} s"
        if self._on_stall == "raise":
            raise StalledError(f"{words}; on_stall='restart' makes it again")
        if self._on_stall == "warn":
            warnings.warn(words, RuntimeWarning, stacklevel=5)
            return
        self.stall_restarts += 1
        self.reading.close()
        self.reading.start()
        self.watchdog.seen(now)

    # ---- the end --------------------------------------------------------------------------------

    @property
    def stopping(self) -> bool:
        """Whether the stream was stopped."""
        return self.shared.stopping

    def drain(self) -> None:
        """Read no more, and let everything that has come be delivered."""
        with self.lock:
            self.shared.source_ended = self.shared.source_ended or not self.started
            self.shared.draining = True
        self.reading.close()

    def stop(self) -> bool:
        """End all threads, count what was in flight as dropped, and return whether all ended."""
        with self.lock:
            self.shared.stopping = True
            self.shared.announce()
            self.shared.room.notify_all()
            self.shared.work.notify_all()
        with self._life:  # whoever is starting threads at this moment comes first
            threads = list(self._threads)
            self.reading.close()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(_PATIENCE)
        with self.lock:
            self.reading.throw_away_staged()
            self.flow.clear("stopped")
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            late = [thread.name for thread in self._threads]
        if late:
            warnings.warn(
                f"{', '.join(late)} still runs: it is inside the user's own code, and ends when "
                "that returns",
                ResourceWarning,
                stacklevel=3,
            )
        return not late
