"""Windows over a stream: the last n items, or all that were seen within some seconds.

size 4, step 4     [a b c d] [e f g h]            tumbling: each item in one window
size 4, step 2     [a b c d] [c d e f] [e f ..    sliding: each item in several
size 2, step 3     [a b]     [d e]                sampling: some in none
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from dlkit.checks import check_positive_int
from dlkit.streaming.checks import (
    EndOfStream,
    check_choice,
    check_not_negative,
    check_positive,
    check_stamp,
)
from dlkit.streaming.sources import Source, as_source


@dataclass(frozen=True, slots=True)
class Window:
    """Items of a stretch of a stream.

    Attributes:
        start: the number of its first item, or the time in seconds at which it begins.
        items: in the order of their arrival, or of their stamps.
    """

    start: float
    items: list[Any]

    def __len__(self) -> int:
        return len(self.items)


class Windower:
    """The machine that cuts windows.

    Window k begins at k * step and has the items from there to before k * step + size. By time it
    leaves when the watermark, the latest stamp less the lateness, has passed its end; windows
    without items do not leave.

    Args:
        size: items, or seconds.
        step: from one window's begin to the next; `size` by default.
        by: `"count"` or `"time"`.
        stamp: from an item to its time stamp; `item.stamp` by default.
        lateness: seconds by which items may come out of order.

    Attributes:
        late: items that came after their last window had left, and are in none.

    Raises:
        ValueError: if an argument is none of the accepted.

    Example:
        >>> windower = Windower(4, step=2)
        >>> [window.items for window in windower.offer("abcdefg")]
        [['a', 'b', 'c', 'd'], ['c', 'd', 'e', 'f']]
        >>> [window.items for window in windower.end()]
        [['e', 'f', 'g'], ['g']]
    """

    def __init__(
        self,
        size: float,
        step: float | None = None,
        by: str = "count",
        stamp: Callable[[Any], float] | None = None,
        lateness: float = 0.0,
    ) -> None:
        check_choice("by", by, ("count", "time"))
        step = size if step is None else step
        for name, value in (("size", size), ("step", step)):
            if by == "count":
                check_positive_int(name, value)
            else:
                check_positive(name, value)
        check_not_negative("lateness", lateness)
        self.size, self.step, self.by = size, step, by
        self.late = 0
        self._stamp = stamp or (lambda item: item.stamp)
        self._lateness = lateness
        self._watermark = -math.inf
        self._number = 0
        self._open: dict[int, list[tuple[float, Any]]] = {}

    def offer(self, items: Iterable[Any]) -> list[Window]:
        """Take items in, and return the windows that this ends.

        Raises:
            ValueError: if a time stamp is not finite.
        """
        ended: list[Window] = []
        for item in items:
            if self.by == "count":
                position, after = float(self._number), float(self._number + 1)
            else:
                position = check_stamp("window", self._stamp(item))
                after = position - self._lateness
            self._number += 1
            self._put(position, item)
            self._watermark = max(self._watermark, after)
            ended += self._ended()
        return ended

    def _put(self, position: float, item: Any) -> None:
        # The quotient may be off by a rounding error: the windows themselves decide.
        last = math.floor(position / self.step) + 1
        first = math.floor((position - self.size) / self.step) - 1
        if self.by == "count":
            first = max(first, 0)  # nothing comes before the first item
        belongs = open_for_it = False
        for k in range(first, last + 1):
            if k * self.step <= position < k * self.step + self.size:
                belongs = True
                if k * self.step + self.size > self._watermark:
                    open_for_it = True
                    self._open.setdefault(k, []).append((position, item))
        self.late += belongs and not open_for_it

    def _ended(self) -> list[Window]:
        over = [k for k in self._open if k * self.step + self.size <= self._watermark]
        return [self._close(k) for k in sorted(over)]

    def _close(self, k: int) -> Window:
        content = sorted(self._open.pop(k), key=lambda entry: entry[0])
        return Window(k * self.step, [item for _, item in content])

    def end(self) -> list[Window]:
        """Return the windows that are still open, as they are."""
        return [self._close(k) for k in sorted(self._open)]


class _Windows(Source):
    """Windows of a source, as a source."""

    def __init__(self, source: Source, windower: Windower) -> None:
        self._source = source
        self.windower = windower
        self._ready: list[Window] = []
        self._ended = False

    def read(self, most: int, timeout: float | None = None) -> list[Any]:
        if not self._ready:
            if self._ended:
                raise EndOfStream
            try:
                self._ready = self.windower.offer(self._source.read(most, timeout))
            except EndOfStream:
                self._ended = True
                self._ready = self.windower.end()
        windows, self._ready = self._ready[:most], self._ready[most:]
        return windows

    def close(self) -> None:
        self._source.close()


def window(
    stream: Any, size: float, step: float | None = None, by: str = "count", **options: Any
) -> Source:
    """Return a source of the windows of a stream.

    Args:
        stream: anything that `as_source` takes.
        size: items, or seconds with `by="time"`.
        step: from one window's begin to the next; `size` by default.
        by: `"count"` or `"time"`.
        **options: those of `Windower`.

    Example:
        >>> [window.items for window in window(range(5), size=2)]
        [[0, 1], [2, 3], [4]]
    """
    return _Windows(as_source(stream), Windower(size, step, by, **options))
