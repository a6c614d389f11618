"""What the threads of a stream share: the machine, one lock, and who waits for what.

    room   the source's thread waits here until there is room
    work   the workers wait here for items to preprocess
    out    the consumer waits here for a batch, or on its event loop for `sleeper`

All calls of the machine are made under the lock, a few for each list of items. A thread is only
woken up when it has something to do: waking the consumer for each item that comes, while it waits
for a batch, would cost more than all the rest.
"""

import asyncio
import threading
from typing import Any

from dlkit.streaming.clock import Clock
from dlkit.streaming.flow import Flow
from dlkit.structure import count_bytes

LOOK = 0.1  # seconds after which a thread that waits for the source looks whether to stop


class Shared:
    """The state of a stream in motion; whoever reads or writes it holds `lock`.

    Args:
        flow: the machine.
        clock: a clock that never runs back.

    Attributes:
        source_ended: whether no more items come in.
        draining: whether the source is read no further, though it goes on.
        stopping: whether everything ends at once.
        failure: what has ended the stream, and is raised after all before it was delivered.
        item_bytes: of the largest item seen.
    """

    def __init__(self, flow: Flow, clock: Clock) -> None:
        self.flow, self.clock = flow, clock
        self.lock = threading.Lock()
        self.room = threading.Condition(self.lock)
        self.work = threading.Condition(self.lock)
        self.out = threading.Condition(self.lock)
        self.source_ended = self.draining = self.stopping = False
        self.failure: BaseException | None = None
        self.item_bytes = 0
        self._sleepers: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def announce_if_due(self, before: int) -> None:
        """Wake the consumer when the first item starts its timer, and when a batch is full.

        Args:
            before: how many items waited for their batch to leave, before more came.
        """
        waiting = len(self.flow.batcher.buffer)
        if waiting and (not before or waiting >= self.flow.batcher.size):
            self.announce()

    def announce(self) -> None:
        """Wake the consumer."""
        self.out.notify_all()
        if self._sleepers:
            sleepers, self._sleepers = self._sleepers, []
            for loop, event in sleepers:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(event.set)

    def sleeper(self) -> asyncio.Event:
        """Return an event that is set when something is announced; on the loop's thread."""
        event = asyncio.Event()
        self._sleepers.append((asyncio.get_running_loop(), event))
        return event

    def forget(self, event: asyncio.Event) -> None:
        """Let go of an event that nobody waits for any more."""
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[1] is not event]

    def end_source(self, failure: BaseException | None = None) -> None:
        """No more items come in, because the source has ended or something has failed."""
        self.failure = self.failure or failure
        self.source_ended = True
        self.announce()
        self.work.notify_all()

    def measure(self, items: list[Any]) -> None:
        """Learn from one of them how many bytes an item takes."""
        if items:
            self.item_bytes = max(self.item_bytes, _size(items[0]))


def _size(item: Any) -> int:
    if isinstance(item, bytes | bytearray | memoryview):
        return len(item)
    try:
        return count_bytes(item)
    except (TypeError, RecursionError):
        return 0
