"""The way of an item through a pipeline, as one machine without threads and without a clock.

    arrive -> [hand] -> [entry] -> claim: a ticket -> preprocess -> finish -> [ready] -> poll: batch
              producer   policy           workers, in any order              in order

Whoever runs the stages, threads or a test, calls these five methods under one lock. Every item is
in exactly one of the boxes, so the counters are exact at every moment: what has arrived is
delivered, dropped and counted, or in one of them.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from dlkit.checks import check_positive_int
from dlkit.streaming.batcher import Batch, Batcher
from dlkit.streaming.buffer import Buffer, Counts


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """Items that one worker preprocesses, and their place in the order."""

    number: int
    items: list[Any]
    arrived: list[float]


class Flow:
    """The boxes between a source and its consumer.

    Args:
        batcher: the last box.
        entry: the box before preprocessing, with the policy at its door; None without
            preprocessing, where the batcher's own buffer has the policy.
        chunk: items in a ticket, at most.

    Example:
        >>> from dlkit.streaming.adaptive import Fixed
        >>> flow = Flow(Batcher(Fixed(2, 0.0), capacity=4), Buffer(4), chunk=1)
        >>> flow.arrive(["a", "b"], now=0.0)
        >>> first, second = flow.claim(0.0), flow.claim(0.0)
        >>> flow.finish(second, ["B"], now=0.1); flow.poll(0.1)  # "a" is not done
        >>> flow.finish(first, ["A"], now=0.2); flow.poll(0.2).items
        ['A', 'B']
        >>> flow.counts()
        Counts(produced=2, delivered=2, dropped={}, in_flight=0)
    """

    def __init__(self, batcher: Batcher, entry: Buffer | None = None, chunk: int = 64) -> None:
        check_positive_int("chunk", chunk)
        self.batcher = batcher
        self.entry = entry
        self.chunk = chunk
        self.produced = 0
        self.dropped: dict[str, int] = {}
        self._hand: deque[tuple[Any, float]] = deque()  # arrived, and not yet let in
        self._working = 0  # items of tickets that workers have
        self._issued = 0
        self._next = 0  # the ticket whose turn it is
        self._early: dict[int, tuple[list[Any], list[float]]] = {}
        self._held = 0  # items in there

    # ---- in ---------------------------------------------------------------------------------

    def arrive(
        self, items: Sequence[Any], now: float, arrived: Sequence[float] | None = None
    ) -> None:
        """Take what the source has produced; `blocked` says whether it should wait now.

        Args:
            items: in order.
            now: the time in seconds.
            arrived: when each item came, if not now.
        """
        self.produced += len(items)
        taken = 0 if self._hand else self._door.offer(items, now, arrived)
        if taken < len(items):
            times = repeat(now) if arrived is None else arrived[taken:]
            self._hand.extend(zip(items[taken:], times, strict=False))

    def let_in(self, now: float) -> None:
        """Let in what waits at the door, as far as there is room now."""
        if not self._hand:
            return
        items, arrived = zip(*self._hand, strict=True)
        for _ in range(self._door.offer(items, now, arrived)):
            self._hand.popleft()

    @property
    def blocked(self) -> bool:
        """Whether something waits at the door."""
        return bool(self._hand)

    @property
    def _door(self) -> Buffer:
        return self.batcher.buffer if self.entry is None else self.entry

    # ---- preprocessing ------------------------------------------------------------------------

    def claim(self, now: float, share: int = 1) -> Ticket | None:
        """Return items to preprocess, or None if there are none or no room for what they become.

        Args:
            now: the time in seconds.
            share: among how many workers the waiting items are shared.
        """
        if self.entry is None or not len(self.entry):
            return None
        room = self.batcher.buffer.room - self._working - self._held
        most = min(self.chunk, room, -(-len(self.entry) // share))
        if most <= 0:
            return None
        items, arrived = self.entry.take(most, now)
        self.let_in(now)
        if not items:
            return None
        self._working += len(items)
        self._issued += 1
        return Ticket(self._issued - 1, items, arrived)

    def finish(
        self, ticket: Ticket, results: list[Any], now: float, kept: Sequence[int] | None = None
    ) -> None:
        """Take what became of a ticket's items; they go on when all before them have.

        Args:
            ticket: the ticket.
            results: one for each item that is kept.
            now: the time in seconds.
            kept: positions of the items that are kept, if not all are; the others failed.
        """
        self._working -= len(ticket.items)
        arrived = ticket.arrived if kept is None else [ticket.arrived[place] for place in kept]
        self.drop("failed", len(ticket.items) - len(results))
        self._early[ticket.number] = (results, arrived)
        self._held += len(results)
        while self._next in self._early:
            done, times = self._early.pop(self._next)
            self._held -= len(done)
            self._next += 1
            # `claim` has left room for them.
            self.batcher.offer(done, now, times)

    @property
    def idle(self) -> bool:
        """Whether nothing is left before the last box."""
        return not (self._hand or self._working or self._held or (self.entry and len(self.entry)))

    # ---- out ----------------------------------------------------------------------------------

    def poll(self, now: float) -> Batch | None:
        """Return a batch if one is full or due."""
        batch = self.batcher.poll(now)
        if batch is not None and self.entry is None:
            self.let_in(now)
        return batch

    def drop(self, reason: str, count: int) -> None:
        """Count items that are thrown away outside of the boxes."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def clear(self, reason: str) -> None:
        """Throw away what lies in the boxes, and count it; workers still return their tickets."""
        self.drop(reason, len(self._hand))
        self._hand.clear()
        if self.entry is not None:
            self.entry.clear(reason)
        self.batcher.buffer.clear(reason)
        for results, _ in self._early.values():
            self.drop(reason, len(results))
            results.clear()
        self._held = 0

    @property
    def in_hand(self) -> int:
        """How many items wait at the door."""
        return len(self._hand)

    @property
    def in_work(self) -> int:
        """How many items are preprocessed, or done and waiting for their turn."""
        return self._working + self._held

    @property
    def in_flight(self) -> int:
        """How many items are in the boxes."""
        entry = 0 if self.entry is None else len(self.entry)
        return self.in_hand + entry + self.in_work + len(self.batcher.buffer)

    def counts(self) -> Counts:
        """Return where all items are; `Counts.exact` holds at every moment."""
        dropped = dict(self.dropped)
        boxes = [self.batcher.buffer] if self.entry is None else [self.entry, self.batcher.buffer]
        for box in boxes:
            for reason, count in box.dropped.items():
                dropped[reason] = dropped.get(reason, 0) + count
        return Counts(self.produced, self.batcher.buffer.delivered, dropped, self.in_flight)
