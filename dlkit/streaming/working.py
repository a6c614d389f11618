"""The threads that preprocess: each claims some items, works on them, and hands in the results.

Flow.claim -> ticket -> the user's function, without the lock -> Flow.finish, which keeps order
"""

import math
import time

from dlkit.streaming.flow import Ticket
from dlkit.streaming.preprocess import Preprocess
from dlkit.streaming.reading import Reading
from dlkit.streaming.shared import LOOK, Shared

_TICKET = 0.002  # seconds that a ticket should take, so that it holds up neither batch nor order
_LARGEST = 256  # items in a ticket


class Working:
    """What each of the worker threads runs.

    Args:
        shared: what the threads share.
        reading: where items come from.
        preprocess: what is done with them.
        workers: how many threads there are.
    """

    def __init__(
        self, shared: Shared, reading: Reading, preprocess: Preprocess, workers: int
    ) -> None:
        self.workers = workers
        self._shared, self._reading, self._preprocess = shared, reading, preprocess
        self._each = math.inf  # seconds for an item

    def run(self) -> None:
        """Preprocess until there is nothing more to come."""
        shared = self._shared
        with self._preprocess.session() as run:
            while True:
                with shared.lock:
                    ticket = self._claim()
                if ticket is None:
                    return
                start = time.perf_counter()
                try:
                    results, kept, error = run(ticket.items)
                except BaseException as raised:  # SystemExit: who waits for the ticket must know
                    results, kept, error = [], [], raised
                seconds = time.perf_counter() - start
                with shared.lock:
                    self._learn(seconds / len(ticket.items))
                    before = len(shared.flow.batcher.buffer)
                    shared.flow.finish(ticket, results, shared.clock.now(), kept)
                    shared.measure(results)
                    shared.announce_if_due(before)
                    if error is not None:
                        # What is in flight is still delivered, then the error is raised.
                        shared.end_source(error)
                    elif shared.source_ended:
                        shared.announce()
                if error is not None:
                    self._reading.close()

    def _learn(self, each: float) -> None:
        """Plan the next ticket for what an item takes.

        A thread that waits for the interpreter seems to be slow. So one that is slow once changes
        little, and one that is fast all.
        """
        self._each = each if each < self._each else self._each + (each - self._each) / 8
        chunk = int(_TICKET / max(self._each, 1e-9))
        self._shared.flow.chunk = max(min(chunk, _LARGEST), 1)

    def _claim(self) -> Ticket | None:
        """Wait for items to preprocess; None when there will be no more. Locked."""
        shared, flow = self._shared, self._shared.flow
        while True:
            self._reading.take_staged()
            ticket = flow.claim(shared.clock.now(), self.workers)
            if ticket is not None:
                shared.room.notify()
                return ticket
            if shared.stopping or (shared.source_ended and flow.idle):
                return None
            if not flow.entry:  # and not: there is no room for what they become
                self._reading.want(1)
                if self._reading.waiting:
                    continue  # they came before the source's thread could know of it
            shared.work.wait(LOOK)
