"""One of several aligned streams: which of its items belongs to a stamp, and when that is certain.

items   --o-----------o--------|        the watermark: nothing earlier is accepted any more
stamp            ^                      the second item is nearer; certain once the watermark
is as far behind the stamp as that item
"""

from bisect import bisect_left, bisect_right

from dlkit.streaming.timed import Stamped


class Side:
    """One stream: its items in the order of their stamps, its watermark and its counts.

    Args:
        tolerance: seconds that an item may be away from a stamp to belong to it.
        lateness: seconds by which items may come out of order.

    Example:
        >>> side = Side(tolerance=0.05, lateness=0.0)
        >>> for stamp in (0.0, 0.1): side.add(Stamped(stamp, f"scan at {stamp}"))
        >>> side.nearest(0.08, only_before=False), side.nearest(0.3, only_before=False)
        (1, None)
        >>> side.watermark = 0.1
        >>> side.is_decided(0.08, only_before=False)  # what comes now is later than 0.1
        True
    """

    def __init__(self, tolerance: float, lateness: float) -> None:
        self.tolerance, self.lateness = tolerance, lateness
        self.watermark = float("-inf")
        self.ended = False
        self.stamps: list[float] = []
        self.items: list[Stamped] = []
        self.used: list[bool] = []
        self.produced = self.matched = 0
        self.dropped: dict[str, int] = {}

    def add(self, item: Stamped) -> None:
        """Keep an item in the order of its stamp."""
        place = bisect_right(self.stamps, item.stamp)
        self.stamps.insert(place, item.stamp)
        self.items.insert(place, item)
        self.used.insert(place, False)

    def nearest(self, stamp: float, only_before: bool) -> int | None:
        """Return the place of the item that belongs to a stamp: of two as near, the earlier one."""
        after = bisect_left(self.stamps, stamp)
        found = None
        if after < len(self.stamps) and (not only_before or self.stamps[after] == stamp):
            found = after
        if after > 0:
            before = bisect_left(self.stamps, self.stamps[after - 1])
            if found is None or stamp - self.stamps[before] <= self.stamps[found] - stamp:
                found = before
        if found is None or abs(self.stamps[found] - stamp) > self.tolerance:
            return None
        return found

    def is_decided(self, stamp: float, only_before: bool) -> bool:
        """Whether nothing that may still come belongs to a stamp more than what is there."""
        if self.ended:
            return True
        place = self.nearest(stamp, only_before)
        if place is None:
            return self.watermark > stamp + (0.0 if only_before else self.tolerance)
        if only_before:
            return self.watermark > stamp or self.stamps[place] == stamp
        return self.watermark >= stamp + abs(self.stamps[place] - stamp)

    def use(self, place: int) -> Stamped:
        """Return the item of a place for a sample; the first time counts it as matched."""
        if not self.used[place]:
            self.used[place] = True
            self.matched += 1
        return self.items[place]

    def forget(self, count: int, reason: str) -> None:
        """Let go of the earliest items; those that no sample has used are counted."""
        if count:
            self.drop(reason, self.used[:count].count(False))
            del self.stamps[:count], self.items[:count], self.used[:count]

    def drop(self, reason: str, count: int = 1) -> None:
        """Count items that no sample will have."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count
