"""The thread that reads the source, and how its items get into the machine.

    source.items() --one by one--> staged, without the lock --take_staged--> Flow.arrive
    source.read()  --in lists--------------------------------------------/

An item of a generator must not wait for the next one, nor may the lock be taken for each: so items
lie where those who want them can take them themselves, with the times at which they came.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from dlkit.streaming.checks import EndOfStream
from dlkit.streaming.restart import Watchdog
from dlkit.streaming.shared import LOOK, Shared
from dlkit.streaming.sources import Source
from dlkit.streaming.stats import Meter

STAGE = 256  # items of a generator that may lie where nobody has taken them in


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


class Reading:
    """A source and its thread; a source that has fallen silent can be replaced by a new one.

    Args:
        shared: what the threads share.
        open_source: makes the source.
        most: items that are read at once.
        start_thread: starts a thread of the stream: what it runs, its name, arguments.
        watchdog: notices a source that falls silent; None lets it.
    """

    def __init__(
        self,
        shared: Shared,
        open_source: Callable[[], Source],
        most: int,
        start_thread: Callable[..., None],
        watchdog: Watchdog | None,
    ) -> None:
        self.source: Source | None = None
        self.arriving = Meter()
        self._shared, self._open, self._most = shared, open_source, most
        self._start_thread = start_thread
        self._watchdog = watchdog
        self._opened = 0  # how often; only the latest opening counts
        self._staged = Staged()
        flow = shared.flow
        capacity = (flow.batcher.buffer if flow.entry is None else flow.entry).capacity
        self._stage = max(min(STAGE, capacity), 1)
        self._want = self._stage

    def start(self) -> None:
        """Open the source, and read it from now on instead of the one before."""
        self.source = self._open()
        self._opened += 1
        self._staged = Staged()
        self._start_thread(self._pump, "dlkit source", self.source, self._opened, self._staged)

    def want(self, items: int) -> None:
        """Say how many items somebody waits for; so many bring the source's thread in."""
        self._want = max(min(items, self._stage), 1)

    def close(self) -> None:
        """Close the source, so that reading it ends."""
        self._want = 1
        if self.source is not None:
            self.source.close()

    # ---- all below: under the lock, but for the reading itself ----------------------------------

    @property
    def waiting(self) -> int:
        """How many items lie where `take_staged` would take them in; 0 while there is no room."""
        return 0 if self._shared.flow.blocked else len(self._staged.items)

    def take_staged(self) -> None:
        """Take in what a generator has yielded."""
        if self.waiting:
            self._take_in(*self._staged.take())

    def _pump(self, source: Source, opened: int, staged: Staged) -> None:
        shared, failure = self._shared, None
        try:
            items = source.items()
            if items is not None:
                self._pump_items(items, opened, staged)
            else:
                self._pump_lists(source, opened)
        except EndOfStream:
            pass
        except BaseException as error:
            error.add_note("raised by the source of the stream")
            failure = error
        finally:
            source.close()
            with shared.lock:
                self._go_on_with(*staged.take(), opened)
                if opened == self._opened:
                    shared.end_source(failure)

    def _pump_lists(self, source: Source, opened: int) -> None:
        while True:
            items = source.read(self._most, LOOK)
            with self._shared.lock:
                if not self._go_on_with(items, None, opened):
                    return

    def _pump_items(self, items: Iterator[Any], opened: int, staged: Staged) -> None:
        now, note, stage = self._shared.clock.now, staged.times.append, staged.items.append
        lying = staged.items
        for item in items:
            note(now())  # first, so that there is a time for each item that is seen
            stage(item)
            if len(lying) >= self._want:
                with self._shared.lock:
                    if not self._go_on_with(*staged.take(), opened):
                        return

    def _go_on_with(self, items: list[Any], arrived: list[float] | None, opened: int) -> bool:
        """Take items in, wait until there is room for more, and say whether to go on."""
        shared = self._shared
        if shared.stopping or opened != self._opened:
            self._throw_away(items)
            return False
        if items:
            self._take_in(items, arrived)
        if shared.draining or shared.source_ended:
            return False
        while shared.flow.blocked and not shared.stopping and opened == self._opened:
            shared.room.wait(LOOK)
        return True

    def _take_in(self, items: list[Any], arrived: list[float] | None) -> None:
        shared, flow = self._shared, self._shared.flow
        now = shared.clock.now()
        self._want = self._stage  # whoever waits is told now
        if self._watchdog is not None:
            self._watchdog.seen(now)
        shared.measure(items)
        self.arriving.add(len(items), now)
        before = len(flow.batcher.buffer)
        flow.arrive(items, now, arrived)
        if flow.entry is None:
            shared.announce_if_due(before)
        else:
            shared.work.notify()

    def throw_away_staged(self) -> None:
        """Count what lies there as produced and stopped, because nobody will take it in."""
        self._throw_away(self._staged.take()[0])

    def _throw_away(self, items: list[Any]) -> None:
        self._shared.flow.produced += len(items)
        self._shared.flow.drop("stopped", len(items))
