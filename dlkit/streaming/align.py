"""Several sensors into synchronised samples: for each item of one, the nearest of each other.

    camera  --o-----------o-----------o--       the reference: one sample for each item
    lidar   -----o-----------------o-----       nearest within its tolerance, or missing
    imu     -o--o--o--o--o--o--o--o--o--o
                          ^ decided when every watermark has passed what could still be nearer

The watermark of a stream is the latest stamp it has shown, less its lateness: it promises that
nothing earlier is accepted any more (Akidau and others, *The Dataflow Model*, 2015). So a decision
is final, does not depend on which stream happened to be faster, and is what sorting the whole
recording and searching it would give.
"""

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlkit.checks import check_positive_int
from dlkit.streaming.buffer import Counts
from dlkit.streaming.checks import StreamError, check_choice, check_not_negative, check_stamp
from dlkit.streaming.clock import Clock
from dlkit.streaming.nearest import Side
from dlkit.streaming.several import SeveralSources
from dlkit.streaming.sources import as_source
from dlkit.streaming.timed import Stamped

Seconds = float | Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """Items of all streams that belong together.

    Attributes:
        stamp: of the reference's item, in seconds.
        items: the item of each stream; None where one is missing.
        waited: seconds from the arrival of the reference's item to the decision.
    """

    stamp: float
    items: dict[str, Stamped | None]
    waited: float


class Aligner:
    """The machine that aligns.

    Args:
        streams: names.
        tolerance: seconds that an item may be away from the reference's; one for all, or by name.
        reference: the stream that sets the samples; the first one by default.
        match: `"nearest"`, or `"before"` for the latest that is not later, which never waits for
            the future.
        missing: what becomes of a sample to which a stream has nothing: `"drop"`, `"none"`
            delivers it with None, `"hold"` with the stream's latest item before, however old.
        late: what becomes of an item that comes after its watermark: `"drop"` or `"raise"`.
        invalid: what becomes of a stamp that is not finite: `"raise"` or `"drop"`.
        lateness: seconds by which items of a stream may come out of order; one for all, or by name.
        max_wait: seconds that a sample waits for a stream that is silent; None waits for ever.
        offsets: seconds by which the clock of a stream is ahead, by name; see
            `dlkit.streaming.ClockOffset`.
        capacity: items of each stream that may be kept; the oldest beyond it are dropped.

    Raises:
        ValueError: if an argument is none of the accepted.

    Example:
        >>> aligner = Aligner(["camera", "lidar"], tolerance=0.05)
        >>> aligner.offer("camera", [Stamped(0.0, "c0"), Stamped(0.1, "c1")], now=0.10)
        >>> aligner.offer("lidar", [Stamped(0.02, "l0")], now=0.11)
        >>> [sample.items["lidar"].data for sample in aligner.poll(now=0.11)]
        ['l0']
        >>> aligner.offer("lidar", [Stamped(0.16, "l1")], now=0.17)  # too far from 0.1
        >>> aligner.poll(now=0.17), aligner.counts()["camera"].dropped
        ([], {'missing': 1})
    """

    def __init__(
        self,
        streams: Sequence[str],
        tolerance: Seconds,
        *,
        reference: str | None = None,
        match: str = "nearest",
        missing: str = "drop",
        late: str = "drop",
        invalid: str = "raise",
        lateness: Seconds = 0.0,
        max_wait: float | None = None,
        offsets: Mapping[str, float] | None = None,
        capacity: int = 4096,
    ) -> None:
        if not streams or len(set(streams)) != len(streams):
            raise ValueError(f"streams must have different names, but got {list(streams)!r}")
        self.reference = streams[0] if reference is None else reference
        check_choice("reference", self.reference, streams)
        check_choice("match", match, ("nearest", "before"))
        check_choice("missing", missing, ("drop", "none", "hold"))
        check_choice("late", late, ("drop", "raise"))
        check_choice("invalid", invalid, ("raise", "drop"))
        check_positive_int("capacity", capacity)
        if max_wait is not None:
            check_not_negative("max_wait", max_wait)
        self._offsets = _by_name("offsets", offsets or 0.0, streams, signed=True)
        tolerances = _by_name("tolerance", tolerance, streams)
        latenesses = _by_name("lateness", lateness, streams)
        self._before, self._missing = match == "before", missing
        self._late, self._invalid = late, invalid
        self._max_wait, self._capacity = max_wait, capacity
        self._lead = Side(0.0, latenesses[self.reference])
        self._sides = {
            name: Side(tolerances[name], latenesses[name])
            for name in streams
            if name != self.reference
        }
        # A heap: stamp, number, when it arrived, and the item.
        self._pending: list[tuple[float, int, float, Stamped]] = []
        self._decided = float("-inf")  # the stamp of the last sample

    def offer(self, stream: str, items: Iterable[Any], now: float) -> None:
        """Take items of a stream in; each has a `stamp`.

        Raises:
            ValueError: if a stamp is not finite, under `invalid="raise"`.
            StreamError: if an item is late, under `late="raise"`.
        """
        side = self._side(stream)
        for item in items:
            side.produced += 1
            try:
                stamp = check_stamp(stream, item.stamp) - self._offsets[stream]
            except ValueError:
                side.drop("invalid")
                if self._invalid == "raise":
                    raise
                continue
            if stamp < side.watermark or (side is self._lead and stamp < self._decided):
                side.drop("late")
                if self._late == "raise":
                    raise StreamError(
                        f"an item of stream {stream!r} with the stamp {stamp:g} came after the "
                        f"watermark {side.watermark:g}; a larger lateness would have waited for it"
                    )
                continue
            side.watermark = max(side.watermark, stamp - side.lateness)
            shifted = item if not self._offsets[stream] else Stamped(stamp, item.data)
            if side is self._lead:
                heapq.heappush(self._pending, (stamp, side.produced, now, shifted))
            else:
                side.add(shifted)
        self._hold_capacity(side)

    def tolerate(self, tolerance: Seconds) -> None:
        """Align with another tolerance from now on; what was let go under the old one is gone.

        Raises:
            ValueError: if it is negative or not finite, or names a stream that there is not.
        """
        found = _by_name("tolerance", tolerance, (self.reference, *self._sides))
        for name, side in self._sides.items():
            side.tolerance = found[name]

    def _side(self, stream: str) -> Side:
        return self._lead if stream == self.reference else self._sides[stream]

    def _hold_capacity(self, side: Side) -> None:
        if side is self._lead:
            while len(self._pending) > self._capacity:
                heapq.heappop(self._pending)
                side.drop("overflow")
        else:
            side.forget(max(len(side.stamps) - self._capacity, 0), "overflow")

    def end(self, stream: str) -> None:
        """No more items come from a stream; nothing waits for it any more."""
        self._side(stream).ended = True

    def blocked(self, stream: str) -> bool:
        """Never: a sensor does not wait, so what is too much is dropped and counted."""
        return False

    def poll(self, now: float) -> list[Sample]:
        """Return the samples that are decided now, in the order of their stamps."""
        leaving = []
        while self._pending and self._may_leave(now):
            stamp, _, arrived, item = heapq.heappop(self._pending)
            self._decided = stamp
            sample = self._sample(stamp, item, now - arrived)
            if sample is not None:
                self._lead.matched += 1
                leaving.append(sample)
        self._forget_the_past()
        return leaving

    def _may_leave(self, now: float) -> bool:
        stamp, _, arrived, _ = self._pending[0]
        if self._max_wait is not None and now - arrived >= self._max_wait:
            return True
        in_order = self._lead.ended or self._lead.watermark >= stamp
        return in_order and all(
            side.is_decided(stamp, self._before) for side in self._sides.values()
        )

    def _sample(self, stamp: float, item: Stamped, waited: float) -> Sample | None:
        items: dict[str, Stamped | None] = {self.reference: item}
        for name, side in self._sides.items():
            place = side.nearest(stamp, self._before)
            if place is None and self._missing == "hold":
                before = bisect_right(side.stamps, stamp)
                place = before - 1 if before else None
            if place is None and self._missing != "none":
                self._lead.drop("missing")
                return None
            items[name] = None if place is None else side.use(place)
        return Sample(stamp, items, waited)

    def _forget_the_past(self) -> None:
        """Let go of items that no sample can want any more."""
        earliest = self._pending[0][0] if self._pending else float("inf")
        if not self._lead.ended:
            earliest = min(earliest, max(self._lead.watermark, self._decided))
        for side in self._sides.values():
            count = bisect_left(side.stamps, earliest - side.tolerance)
            if self._missing == "hold":
                # The latest of the past stays: it may have to stand in.
                count = min(count, max(bisect_right(side.stamps, earliest) - 1, 0))
            side.forget(count, "unmatched")

    def due(self) -> float | None:
        """Return when a sample leaves although a stream is silent; None if that is never."""
        if self._max_wait is None or not self._pending:
            return None
        return self._pending[0][2] + self._max_wait

    def drop_all(self, reason: str) -> None:
        """Throw away and count what waits."""
        self._lead.drop(reason, len(self._pending))
        self._pending.clear()
        for side in self._sides.values():
            side.forget(len(side.stamps), reason)

    def counts(self) -> dict[str, Counts]:
        """Return where the items of each stream are.

        Of the reference, what was delivered are samples; of another stream, items that at least one
        sample has used. What waits and was used already is not in flight.
        """
        found = {}
        for name in (self.reference, *self._sides):
            side = self._side(name)
            waiting = len(self._pending) if side is self._lead else side.used.count(False)
            found[name] = Counts(side.produced, side.matched, dict(side.dropped), waiting)
        return found


def align(
    streams: Mapping[str, Any], tolerance: Seconds, *, clock: Clock | None = None, **options: Any
) -> SeveralSources:
    """Return a source of synchronised samples; each stream is read in a thread of its own.

    Args:
        streams: name to anything that `as_source` takes, of items with a `stamp`.
        tolerance: seconds that an item may be away from the reference's; one for all, or by name.
        clock: whose time; the machine's by default.
        **options: those of `Aligner`.

    Example:
        >>> camera = [Stamped(k / 10, f"image {k}") for k in range(3)]
        >>> lidar = [Stamped(k / 5 + 0.01, f"scan {k}") for k in range(2)]
        >>> source = align({"camera": camera, "lidar": lidar}, tolerance=0.02)
        >>> [sample.items["lidar"].data for sample in source]
        ['scan 0', 'scan 1']
    """
    aligner = Aligner(list(streams), tolerance, **options)
    sources = {name: as_source(stream) for name, stream in streams.items()}
    return SeveralSources(sources, aligner, clock)


def _by_name(
    argument: str, value: Seconds, streams: Sequence[str], signed: bool = False
) -> dict[str, float]:
    """One number for each stream, from one for all or a mapping that may leave some out."""
    if isinstance(value, Mapping):
        unknown = [name for name in value if name not in streams]
        if unknown:
            raise ValueError(f"{argument} names {unknown!r}, but the streams are {list(streams)!r}")
        found = {name: value.get(name, 0.0) for name in streams}
    else:
        found = dict.fromkeys(streams, value)
    for name, number in found.items():
        if signed:
            check_stamp(f"{argument} of {name}", number)
        else:
            check_not_negative(f"{argument} of {name!r}", number)
    return found
