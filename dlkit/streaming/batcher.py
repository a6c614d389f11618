"""Micro-batches: a batch leaves when it is full, or when its oldest item has waited long enough.

    offer(items, now) -> [ buffer, a policy at its door ] -> poll(now) -> Batch or None
                                     due() says when to poll next

It is a machine without a thread or a clock: `MicroBatcher` and `Pipeline` put them around it, and
tests move the time by hand.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dlkit.streaming.adaptive import Adaptive, Fixed, Sizing
from dlkit.streaming.buffer import Buffer, Counts
from dlkit.streaming.latency import Latencies


@dataclass(slots=True, eq=False)
class Batch:
    """Items that are answered together.

    Attributes:
        items: in the order of their arrival.
        arrived: when each came out of the source, in seconds of the stream's clock.
        formed: when the batch left.
        number: how many batches left before it.
        array: the items stacked, where a buffer pool was given; valid until the next batch.
    """

    items: list[Any]
    arrived: list[float] = field(repr=False)
    formed: float
    number: int
    array: Any = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.items)

    def age(self, now: float) -> float:
        """Return how long its oldest item has been on its way, in seconds."""
        return now - self.arrived[0]


class Batcher:
    """Cuts a stream into batches under a deadline.

    Args:
        sizing: how large a batch may be and how long it may wait; `Fixed` or `Adaptive`.
        capacity: items that may wait; by default four full batches.
        policy: what happens to items that find no room; see `dlkit.streaming.buffer`.
        max_age: seconds after which an item is dropped instead of answered.
        span: seconds that count as the recent past, for percentiles.
        seed: of the policy `"sample"`.

    Example:
        >>> batcher = Batcher(Fixed(size=3, delay=0.5))
        >>> batcher.offer(["a", "b"], now=0.0)
        2
        >>> batcher.poll(now=0.1), batcher.due()  # neither full nor due
        (None, 0.5)
        >>> batcher.poll(now=0.5).items
        ['a', 'b']
        >>> batcher.offer(["c", "d", "e", "f"], now=0.6)
        4
        >>> batcher.poll(now=0.6).items
        ['c', 'd', 'e']
    """

    def __init__(
        self,
        sizing: Sizing,
        capacity: int | None = None,
        policy: str = "block",
        max_age: float | None = None,
        span: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.sizing = sizing
        largest = getattr(sizing, "max_batch", sizing.size)
        capacity = 4 * largest if capacity is None else capacity
        if isinstance(sizing, Fixed) and isinstance(capacity, int) and 0 < capacity < sizing.size:
            raise ValueError(
                f"capacity must be at least {sizing.size}, or no batch of so many items could ever "
                f"be full, but got {capacity!r}"
            )
        self.buffer = Buffer(capacity, policy, max_age, seed)
        self.latencies = Latencies(span)
        self.batches = 0
        self.limit: int | None = None  # a size that memory allows; see `dlkit.streaming.watch`
        self._ended = False

    @property
    def size(self) -> int:
        """The number of items with which a batch is full now."""
        size = min(self.sizing.size, self.buffer.capacity)
        return size if self.limit is None else min(size, self.limit)

    def offer(
        self, items: Sequence[Any], now: float, arrived: Sequence[float] | None = None
    ) -> int:
        """Take items in, and return how many this settled; see `Buffer.offer`."""
        return self.buffer.offer(items, now, arrived)

    def end(self) -> None:
        """No more items come: what waits leaves at once."""
        self._ended = True

    def ready(self, now: float) -> bool:
        """Whether a batch would leave now."""
        waiting = len(self.buffer)
        if not waiting:
            return False
        due = self.due()
        return waiting >= self.size or self._ended or (due is not None and now >= due)

    def due(self) -> float | None:
        """Return when a batch leaves if nothing else comes; None if nothing waits."""
        oldest = self.buffer.oldest
        return None if oldest is None else oldest + self.sizing.delay

    def poll(self, now: float) -> Batch | None:
        """Return a batch if one is full or due."""
        if not self.ready(now):
            return None
        items, arrived = self.buffer.take(self.size, now)
        if not items:  # all of them were too old
            return None
        self.batches += 1
        return Batch(items, arrived, now, self.batches - 1)

    def answered(self, batch: Batch, now: float) -> None:
        """Learn that the consumer is done with a batch."""
        self.latencies.add(now - np.asarray(batch.arrived), now)
        self.sizing.served(len(batch), now - batch.formed)
        self.sizing.measured(self.latencies, now)

    def counts(self) -> Counts:
        """Return where all items are."""
        return self.buffer.counts()


def choose_sizing(
    max_batch: int, max_delay: float | None, objective: float | None, percentile: float = 0.99
) -> Sizing:
    """Return the sizing that the arguments of a pipeline ask for.

    Example:
        >>> choose_sizing(8, 0.01, None).size, choose_sizing(8, None, 0.1).size
        (8, 1)
    """
    if objective is not None:
        return Adaptive(objective, max_batch, percentile, max_delay)
    return Fixed(max_batch, 0.01 if max_delay is None else max_delay)
