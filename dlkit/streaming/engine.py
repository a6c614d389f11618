r"""The threads around a `Flow`: one reads the source, some preprocess, and the consumer's takes.

    source thread --arrive--> Flow --claim, finish--> worker threads
                                \--poll--> the consumer's own thread, or its event loop

All calls of the machine are made under one lock, a few for each list of items. A thread is only
woken up when it has something to do: waking the consumer for each item that comes, while it waits
for a batch, would cost more than all the rest.
"""

import asyncio
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from dlkit.streaming.checks import EndOfStream, StalledError, StreamError
from dlkit.streaming.clock import Clock
from dlkit.streaming.flow import Flow, Ticket
from dlkit.streaming.preprocess import Preprocess
from dlkit.streaming.restart import Watchdog
from dlkit.streaming.sources import Source
from dlkit.streaming.stats import Meter
from dlkit.streaming.watch import MemoryGuard
from dlkit.structure import count_bytes

_LOOK = 0.1  # seconds after which a thread that waits for the source looks whether to stop
_PATIENCE = 2.0  # seconds that threads have to end; one inside a user's iterator may not

_STAGE = 64  # items of a generator that may lie where nobody has taken them in
_TICKET = 0.002  # seconds that a worker's list of items should take
_LARGEST = 256  # items in such a list

OnStall = str  # "raise", "warn" or "restart"


class Staged:
    """Items that a generator has yielded, and when; appended by one thread, taken by any."""

    def __init__(self) -> None:
        self.items: deque[Any] = deque()
        self.times: deque[float] = deque()

    def take(self) -> tuple[list[Any], list[float]]:
        """Return all that lies there."""
        count = len(self.items)
        items = [self.items.popleft() for _ in range(count)]
        return items, [self.times.popleft() for _ in range(count)]


class Engine:
    """A flow in motion. `Pipeline` checks the arguments and is what users hold.

    Args:
        open_source: makes the source; called again when a stalled one is given up.
        flow: the boxes.
        preprocess: what is done with items; None for nothing.
        clock: a clock that never runs back.
        workers: threads that preprocess.
        read: items that are read from the source at once, at most.
        watchdog: notices a source that falls silent; None lets it.
        on_stall: what happens then: `"raise"`, `"warn"` or `"restart"`.
        guard: holds batches under what memory allows; None for no limit.
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
        on_stall: OnStall,
        guard: MemoryGuard | None,
    ) -> None:
        self.flow = flow
        self.clock = clock
        self.guard = guard
        self.watchdog = watchdog
        self.arriving, self.leaving = Meter(), Meter()
        self.stall_restarts = 0
        self.item_bytes = 0  # of the largest item seen
        self.source: Source | None = None
        self._open, self._preprocess, self._on_stall = open_source, preprocess, on_stall
        self._workers, self._read = workers, read
        self.lock = threading.Lock()
        self._life = threading.Lock()  # of starting and ending; never taken inside the other
        self._room = threading.Condition(self.lock)  # the source's thread waits here,
        self._work = threading.Condition(self.lock)  # the workers here,
        self._out = threading.Condition(self.lock)  # and the consumer here
        self._sleepers: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._threads: list[threading.Thread] = []
        self._reading = 0  # which opening of the source counts; a later one replaces it
        self._source_ended = False
        self._failure: BaseException | None = None
        self._draining = False
        self.started = self.stopping = False
        # Items of a generator, not under the lock; see `_pump_items`.
        self._staged = Staged()
        self._stage = max(min(_STAGE, self._capacity()), 1)
        self._want = self._stage

    def _capacity(self) -> int:
        flow = self.flow
        return (flow.batcher.buffer if flow.entry is None else flow.entry).capacity

    # ---- start ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the threads, once."""
        with self._life:
            if not self.started and not self.stopping:
                self.started = True
                self._start_all()

    def _start_all(self) -> None:
        if self.watchdog is not None:
            self.watchdog.seen(self.clock.now())
        self._start_reading()
        for number in range(self._workers if self._preprocess is not None else 0):
            self._start_thread(self._work_on, f"dlkit preprocessing {number}")

    def _start_reading(self) -> None:
        self.source = self._open()
        self._reading += 1
        self._staged = Staged()
        self._start_thread(self._pump, "dlkit source", self.source, self._reading, self._staged)

    def _start_thread(self, target: Callable[..., None], name: str, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    # ---- the source's thread --------------------------------------------------------------------

    def _pump(self, source: Source, reading: int, staged: Staged) -> None:
        failure: BaseException | None = None
        try:
            items = source.items()
            if items is not None:
                self._pump_items(items, reading, staged)
            else:
                self._pump_lists(source, reading)
        except EndOfStream:
            pass
        except BaseException as error:
            error.add_note("raised by the source of the stream")
            failure = error
        finally:
            source.close()
            with self.lock:
                self._go_on_with(*staged.take(), reading)
                if reading == self._reading:
                    self._failure = self._failure or failure
                    self._source_ended = True
                    self._announce()
                    self._work.notify_all()

    def _pump_lists(self, source: Source, reading: int) -> None:
        while True:
            items = source.read(self._read, _LOOK)
            with self.lock:
                if not self._go_on_with(items, None, reading):
                    return

    def _pump_items(self, items: Iterator[Any], reading: int, staged: Staged) -> None:
        """Read an iterator item by item, and take the lock only when somebody wants items.

        It must not wait for the next item while it holds one; so items lie where the others can
        take them themselves, with the times at which they came.
        """
        now, note, stage = self.clock.now, staged.times.append, staged.items.append
        lying = staged.items
        for item in items:
            note(now())  # first, so that there is a time for each item that is seen
            stage(item)
            if len(lying) >= self._want:
                with self.lock:
                    if not self._go_on_with(*staged.take(), reading):
                        return

    def _go_on_with(self, items: list[Any], arrived: list[float] | None, reading: int) -> bool:
        """Take items in, wait until there is room for more, and say whether to go on."""
        if self.stopping or reading != self._reading:
            self.flow.produced += len(items)
            self.flow.drop("stopped", len(items))
            return False
        if items:
            self._take_in(items, arrived)
        if self._draining or self._source_ended:
            return False
        while self.flow.blocked and not self.stopping and reading == self._reading:
            self._room.wait(_LOOK)
        return True

    def _take_in(self, items: list[Any], arrived: list[float] | None = None) -> None:
        now = self.clock.now()
        self._want = self._stage  # whoever waits is told now
        if self.watchdog is not None:
            self.watchdog.seen(now)
        self.item_bytes = max(self.item_bytes, _size(items[0]))
        self.arriving.add(len(items), now)
        before = len(self.flow.batcher.buffer)
        self.flow.arrive(items, now, arrived)
        if self.flow.entry is None:
            self._announce_if_due(before)
        else:
            self._work.notify()

    def _take_staged(self) -> None:
        if self._staged.items and not self.flow.blocked:
            self._take_in(*self._staged.take())

    # ---- the workers' threads -------------------------------------------------------------------

    def _work_on(self) -> None:
        assert self._preprocess is not None
        with self._preprocess.session() as run:
            while True:
                with self.lock:
                    ticket = self._claim()
                if ticket is None:
                    return
                start = time.perf_counter()
                results, kept, error = run(ticket.items)
                seconds = time.perf_counter() - start
                with self.lock:
                    # A ticket should take so little time that it holds up neither batch nor order.
                    chunk = int(_TICKET * len(ticket.items) / max(seconds, 1e-9))
                    self.flow.chunk = max(min(chunk, _LARGEST), 1)
                    before = len(self.flow.batcher.buffer)
                    self.flow.finish(ticket, results, self.clock.now(), kept)
                    if error is not None:
                        self._fail(error)
                    self.item_bytes = max(self.item_bytes, _size(results[0]) if results else 0)
                    self._announce_if_due(before)
                    if self._source_ended:
                        self._announce()

    def _claim(self) -> Ticket | None:
        """Wait for items to preprocess; None when there will be no more. Locked."""
        while True:
            self._take_staged()
            ticket = self.flow.claim(self.clock.now(), self._workers)
            if ticket is not None:
                self._room.notify()
                return ticket
            if self.stopping or (self._source_ended and self.flow.idle):
                return None
            self._want = 1
            if self._staged.items and not self.flow.blocked:
                continue  # they came before the source's thread could know that they are wanted
            self._work.wait(_LOOK)

    def _fail(self, error: BaseException) -> None:
        """Read no more; what is in flight is still delivered, then the error is raised."""
        self._failure = self._failure or error
        self._source_ended = True
        if self.source is not None:
            self.source.close()

    # ---- the consumer's side --------------------------------------------------------------------

    def step(self, now: float) -> tuple[Any, float]:
        """Return a batch, or None and how many seconds to wait before the next step; locked.

        Raises:
            EndOfStream: everything has been delivered.
            BaseException: what ended the stream, after everything before it was delivered.
        """
        if self.stopping:
            raise EndOfStream
        if self.guard is not None:
            self.flow.batcher.limit = self.guard.update(now)
        if self.flow.entry is None:
            self._take_staged()
        if self._source_ended and self.flow.idle:
            self.flow.batcher.end()
        batch = self.flow.poll(now)
        if batch is not None:
            self.leaving.add(len(batch), now)
            self._room.notify()
            self._work.notify_all()
            return batch, 0.0
        if self._source_ended and not self.flow.in_flight:
            if self._failure is None:
                raise EndOfStream
            failure, self._failure = self._failure, None
            raise failure
        if not self._source_ended:
            self._look_for_a_stall(now)
        due = self.flow.batcher.due()
        if self.flow.entry is None:
            # The first item starts the timer; the others are wanted when they fill the batch.
            missing = self.flow.batcher.size - len(self.flow.batcher.buffer)
            self._want = 1 if due is None else max(min(missing, self._stage), 1)
            if len(self._staged.items) >= self._want and not self.flow.blocked:
                return None, 0.0
        looks = [] if due is None else [due - now]
        if self.watchdog is not None and (when := self.watchdog.due()) is not None:
            looks.append(when - now)
        return None, max(min([*looks, 0.5]), 0.0)

    def _look_for_a_stall(self, now: float) -> None:
        if self.watchdog is None or self.flow.blocked or not self.watchdog.barks(now):
            return
        words = f"the source has been silent for more than {self.watchdog.patience:g} s"
        if self._on_stall == "raise":
            raise StalledError(f"{words}; on_stall='restart' makes it again")
        if self._on_stall == "warn":
            warnings.warn(words, RuntimeWarning, stacklevel=5)
            return
        silent, self.stall_restarts = self.source, self.stall_restarts + 1
        if silent is not None:
            silent.close()
        self._start_reading()
        self.watchdog.seen(now)

    def wait(self, seconds: float) -> None:
        """Let the consumer's thread wait until something is announced; locked."""
        self._out.wait(seconds)

    def sleeper(self) -> asyncio.Event:
        """Return an event that is set when something is announced; locked, on the loop's thread."""
        event = asyncio.Event()
        self._sleepers.append((asyncio.get_running_loop(), event))
        return event

    def _announce_if_due(self, before: int) -> None:
        """Wake the consumer when the first item starts its timer, and when a batch is full."""
        waiting = len(self.flow.batcher.buffer)
        if waiting and (not before or waiting >= self.flow.batcher.size):
            self._announce()

    def _announce(self) -> None:
        self._out.notify_all()
        if self._sleepers:
            sleepers, self._sleepers = self._sleepers, []
            for loop, event in sleepers:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(event.set)

    # ---- the end --------------------------------------------------------------------------------

    def drain(self) -> None:
        """Read no more, and let everything that has come be delivered."""
        with self.lock:
            self._source_ended = self._source_ended or not self.started
            self._draining, self._want = True, 1
            source = self.source
        if source is not None:
            source.close()

    def stop(self) -> bool:
        """End all threads, count what was in flight as dropped, and return whether all ended."""
        with self.lock:
            self.stopping, self._want = True, 1
            self._announce()
            self._room.notify_all()
            self._work.notify_all()
        with self._life:  # whoever is starting threads at this moment comes first
            threads = list(self._threads)
            if self.source is not None:
                self.source.close()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(_PATIENCE)
        with self.lock:
            items, _ = self._staged.take()
            self.flow.produced += len(items)
            self.flow.drop("stopped", len(items))
            self.flow.clear("stopped")
            late = [thread.name for thread in self._threads if thread.is_alive()]
            self._threads = [thread for thread in self._threads if thread.is_alive()]
        if late:
            warnings.warn(
                f"{', '.join(late)} still runs: it is inside the user's own code, and ends when "
                "that returns",
                ResourceWarning,
                stacklevel=3,
            )
        return not late

    @property
    def ended(self) -> bool:
        """Whether no more items come in."""
        return self._source_ended or self.stopping


def _size(item: Any) -> int:
    if isinstance(item, bytes | bytearray | memoryview):
        return len(item)
    try:
        return count_bytes(item)
    except (TypeError, RecursionError, StreamError):
        return 0
