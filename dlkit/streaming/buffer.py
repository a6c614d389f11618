"""A queue with an end: what happens to an item that finds no room is a named policy.

    block         it is not taken, and its producer has to wait
    drop_oldest   what has waited longest goes: answers stay fresh
    drop_newest   it goes itself: what was begun is finished
    sample        one of all, the new one included, by lot: what is left stands for everything

The counters are exact: produced = delivered + dropped + in flight, whatever the order of calls.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from random import Random
from typing import Any

from dlkit.checks import check_positive_int
from dlkit.streaming.checks import check_choice, check_positive

POLICIES = ("block", "drop_oldest", "drop_newest", "sample")


@dataclass(frozen=True)
class Counts:
    """Where the items of a stream are.

    Attributes:
        produced: all that came out of the source.
        delivered: what the consumer has been given.
        dropped: what was thrown away, by the reason for it.
        in_flight: what lies between the two.

    Example:
        >>> Counts(produced=10, delivered=6, dropped={"drop_oldest": 1}, in_flight=3).exact
        True
    """

    produced: int
    delivered: int
    dropped: Mapping[str, int]
    in_flight: int

    @property
    def lost(self) -> int:
        """All that was dropped, whatever the reason."""
        return sum(self.dropped.values())

    @property
    def exact(self) -> bool:
        """Whether every item is accounted for."""
        return self.produced == self.delivered + self.lost + self.in_flight


class Buffer:
    """Items in the order of their arrival, at most `capacity` of them.

    The steady state moves whole lists: a thousand items cost two calls, not two thousand.

    Args:
        capacity: items.
        policy: what happens where there is no room; see the top of the module.
        max_age: seconds after which an item is not worth an answer; it is dropped when its turn
            comes. None keeps all.
        seed: of the lots that `"sample"` draws.

    Raises:
        ValueError: if an argument is none of the accepted.

    Example:
        >>> buffer = Buffer(2, "drop_oldest")
        >>> buffer.offer(["a", "b", "c"], now=0.0)
        3
        >>> buffer.take(5, now=1.0)
        (['b', 'c'], [0.0, 0.0])
        >>> buffer.counts()
        Counts(produced=3, delivered=2, dropped={'drop_oldest': 1}, in_flight=0)
    """

    def __init__(
        self, capacity: int, policy: str = "block", max_age: float | None = None, seed: int = 0
    ) -> None:
        check_positive_int("capacity", capacity)
        check_choice("policy", policy, POLICIES)
        if max_age is not None:
            check_positive("max_age", max_age)
        self.capacity = capacity
        self.policy = policy
        self.max_age = max_age
        self.dropped: dict[str, int] = {}
        self.delivered = 0
        self._produced = 0
        self._lot = Random(seed)
        self._items: deque[Any] = deque()
        self._times: deque[float] = deque()  # when each arrived

    def __len__(self) -> int:
        return len(self._items)

    @property
    def room(self) -> int:
        """How many more items fit."""
        return self.capacity - len(self._items)

    @property
    def oldest(self) -> float | None:
        """When the first item arrived; None if there is none."""
        return self._times[0] if self._times else None

    def offer(
        self, items: Sequence[Any], now: float, arrived: Sequence[float] | None = None
    ) -> int:
        """Take items in, and return how many this settled, from the first on.

        Args:
            items: in order.
            now: the time in seconds.
            arrived: when each item came, if not now.

        Returns:
            `len(items)`, or fewer under `"block"`; the rest has to be offered again.
        """
        taken = min(len(items), self.room)
        if taken < len(items):
            self._expire(now)
            taken = min(len(items), self.room)
        self._append(items if taken == len(items) else items[:taken], now, arrived)
        self._produced += taken
        if taken == len(items) or self.policy == "block":
            return taken
        for number in range(taken, len(items)):
            self._crowd(items[number], now if arrived is None else arrived[number])
        return len(items)

    def _append(self, items: Sequence[Any], now: float, arrived: Sequence[float] | None) -> None:
        self._items.extend(items)
        self._times.extend(repeat(now, len(items)) if arrived is None else arrived[: len(items)])

    def _crowd(self, item: Any, arrived: float) -> None:
        """Find out who goes, now that there is one too many."""
        self._produced += 1
        self._drop(self.policy, 1)
        loser = {"drop_oldest": 0, "drop_newest": self.capacity}.get(self.policy)
        if loser is None:
            loser = self._lot.randrange(self.capacity + 1)
        if loser < self.capacity:
            del self._items[loser], self._times[loser]
            self._items.append(item)
            self._times.append(arrived)

    def take(self, most: int, now: float) -> tuple[list[Any], list[float]]:
        """Return up to `most` items from the front, and when they arrived."""
        self._expire(now)
        count = min(most, len(self._items))
        self.delivered += count
        if count == len(self._items):  # all of them, at a tenth of the cost of one by one
            items, times = list(self._items), list(self._times)
            self._items.clear()
            self._times.clear()
            return items, times
        next_item, next_time = self._items.popleft, self._times.popleft
        items = [next_item() for _ in range(count)]
        return items, [next_time() for _ in range(count)]

    def clear(self, reason: str) -> int:
        """Drop everything that waits, for the reason that is given; return how much it was."""
        count = len(self._items)
        self._items.clear()
        self._times.clear()
        self._drop(reason, count)
        return count

    def _expire(self, now: float) -> None:
        if self.max_age is None:
            return
        limit, count = now - self.max_age, 0
        while self._times and self._times[0] < limit:
            self._times.popleft()
            self._items.popleft()
            count += 1
        self._drop("max_age", count)

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def counts(self) -> Counts:
        """Return where all items are."""
        return Counts(self._produced, self.delivered, dict(self.dropped), len(self._items))
