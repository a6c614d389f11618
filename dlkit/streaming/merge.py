"""Several streams into one, in an order that is a policy.

arrival       who comes first, goes first
round_robin   one of each stream in turn, of those that have something
priority      the first stream that has something; the others wait
timestamp     the item seen earliest, as soon as no stream can still bring an earlier one
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlkit.checks import check_positive_int
from dlkit.streaming.buffer import Counts
from dlkit.streaming.checks import check_choice, check_not_negative, check_stamp
from dlkit.streaming.clock import Clock
from dlkit.streaming.several import SeveralSources
from dlkit.streaming.sources import as_source

ORDERS = ("arrival", "round_robin", "priority", "timestamp")


@dataclass(slots=True)
class _Waiting:
    """One stream's items, and what is known about it."""

    items: deque[tuple[Any, float, int, float]]  # item, stamp, number, arrived
    ended: bool = False


class Merger:
    """The machine that merges; see the top of the module for the policies.

    Args:
        streams: names, for `"priority"` in the order of their importance.
        policy: the order.
        capacity: items of a stream that may wait before it has to.
        stamp: from an item to its time stamp; `item.stamp` by default.
        max_wait: seconds that `"timestamp"` waits for a stream that is silent; None waits until it
            speaks or ends.
        late: what then becomes of an item that comes after a later one has left: `"deliver"` or
            `"drop"`.
        tag: whether items leave as `(stream, item)`.

    Attributes:
        late: how many came too late for the order.

    Raises:
        ValueError: if names are not different, or there is no such policy or capacity.

    Example:
        >>> merger = Merger(["a", "b"], "round_robin", tag=False)
        >>> merger.offer("a", [1, 2, 3], now=0.0); merger.offer("b", [10], now=0.1)
        >>> merger.poll(now=0.1)
        [1, 10, 2, 3]
    """

    def __init__(
        self,
        streams: Sequence[str],
        policy: str = "arrival",
        *,
        capacity: int = 256,
        stamp: Callable[[Any], float] | None = None,
        max_wait: float | None = None,
        late: str = "deliver",
        tag: bool = True,
    ) -> None:
        if not streams or len(set(streams)) != len(streams):
            raise ValueError(f"streams must have different names, but got {list(streams)!r}")
        check_choice("policy", policy, ORDERS)
        check_positive_int("capacity", capacity)
        check_choice("late", late, ("deliver", "drop"))
        if max_wait is not None:
            check_not_negative("max_wait", max_wait)
            if policy != "timestamp":
                raise ValueError(f"max_wait is for policy='timestamp', but got {policy!r}")
        self.policy = policy
        self.late = 0
        self._stamp = stamp or (lambda item: item.stamp)
        self._capacity, self._max_wait, self._drops_late, self._tag = (
            capacity,
            max_wait,
            late == "drop",
            tag,
        )
        self._streams = {name: _Waiting(deque()) for name in streams}
        self._names = list(streams)
        self._turn = 0
        self._offered = self._delivered = 0
        self._dropped: dict[str, int] = {}
        self._latest = float("-inf")  # the stamp that left last

    def offer(self, stream: str, items: Iterable[Any], now: float) -> None:
        """Take items of a stream in.

        Raises:
            ValueError: if a time stamp is not finite.
        """
        by_stamp = self.policy == "timestamp"
        for item in items:
            stamp = check_stamp(stream, self._stamp(item)) if by_stamp else 0.0
            self._streams[stream].items.append((item, stamp, self._offered, now))
            self._offered += 1

    def end(self, stream: str) -> None:
        """No more items come from a stream."""
        self._streams[stream].ended = True

    def blocked(self, stream: str) -> bool:
        """Whether a stream has as many items waiting as it may have."""
        return len(self._streams[stream].items) >= self._capacity

    def poll(self, now: float) -> list[Any]:
        """Return what can leave now, in order."""
        choose = getattr(self, f"_by_{self.policy}")
        leaving: list[Any] = []
        while (name := choose(now)) is not None:
            item, stamp, _, _ = self._streams[name].items.popleft()
            if self.policy == "timestamp" and stamp < self._latest:
                self.late += 1
                if self._drops_late:
                    self._dropped["late"] = self._dropped.get("late", 0) + 1
                    continue
            self._latest = max(self._latest, stamp)
            self._delivered += 1
            leaving.append((name, item) if self._tag else item)
        return leaving

    def _speaking(self) -> list[str]:
        return [name for name in self._names if self._streams[name].items]

    def _by_arrival(self, _now: float) -> str | None:
        return min(self._speaking(), key=lambda n: self._streams[n].items[0][2], default=None)

    def _by_round_robin(self, _now: float) -> str | None:
        for step in range(len(self._names)):
            name = self._names[(self._turn + step) % len(self._names)]
            if self._streams[name].items:
                self._turn = (self._turn + step + 1) % len(self._names)
                return name
        return None

    def _by_priority(self, _now: float) -> str | None:
        return next(iter(self._speaking()), None)

    def _by_timestamp(self, now: float) -> str | None:
        speaking = self._speaking()
        if not speaking:
            return None
        first = min(speaking, key=lambda n: self._streams[n].items[0][1])
        silent = any(not s.items and not s.ended for s in self._streams.values())
        if silent and (self._max_wait is None or now - self._arrived(first) < self._max_wait):
            return None
        return first

    def _arrived(self, name: str) -> float:
        return self._streams[name].items[0][3]

    def due(self) -> float | None:
        """Return when something leaves although a stream is silent; None if that is never."""
        if self._max_wait is None or not (speaking := self._speaking()):
            return None
        first = min(speaking, key=lambda n: self._streams[n].items[0][1])
        return self._arrived(first) + self._max_wait

    def drop_all(self, reason: str) -> None:
        """Throw away and count what waits."""
        count = sum(len(one.items) for one in self._streams.values())
        for one in self._streams.values():
            one.items.clear()
        if count:
            self._dropped[reason] = self._dropped.get(reason, 0) + count

    def counts(self) -> Counts:
        """Return where all items are."""
        waiting = sum(len(one.items) for one in self._streams.values())
        return Counts(self._offered, self._delivered, dict(self._dropped), waiting)


def merge(
    streams: Mapping[str, Any] | Sequence[Any],
    policy: str = "arrival",
    *,
    clock: Clock | None = None,
    **options: Any,
) -> SeveralSources:
    """Return one source of several, each of which is read in a thread of its own.

    Args:
        streams: name to anything that `as_source` takes, whose items then leave as
            `(name, item)`; or a list of such, whose items leave as they are.
        policy: `"arrival"`, `"round_robin"`, `"priority"` or `"timestamp"`.
        clock: whose time; the machine's by default.
        **options: those of `Merger`.

    Example:
        >>> sorted(merge({"left": [1, 2], "right": [3]}))
        [('left', 1), ('left', 2), ('right', 3)]
    """
    options.setdefault("tag", isinstance(streams, Mapping))
    if not isinstance(streams, Mapping):
        streams = {str(number): stream for number, stream in enumerate(streams)}
    merger = Merger(list(streams), policy, **options)
    sources = {name: as_source(stream) for name, stream in streams.items()}
    return SeveralSources(sources, merger, clock)
