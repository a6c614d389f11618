"""Where items come from: iterators, async iterators, functions and queues, all read alike.

    read(most, timeout) -> a list of what has come, at least one item; [] if nothing came in time
                           EndOfStream at the end, or what the source itself raises
    close()             -> lets a `read` that waits end

Reading lists is what makes a stream fast: a source that has a thousand items hands over a thousand.
It must never wait for a second item while it holds a first one.
"""

import math
import queue
import threading
import time
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from dlkit.streaming.checks import EndOfStream


class Source:
    """What a stream is read from; subclasses define `read`, and `close` where something waits.

    Example:
        >>> source = as_source([1, 2, 3])
        >>> source.read(2), source.read(2)
        ([1, 2], [3])
        >>> list(as_source("ab"))
        ['a', 'b']
    """

    def read(self, most: int, timeout: float | None = None) -> list[Any]:
        """Return what has come, 1 to `most` items; an empty list if nothing came in time.

        Args:
            most: items.
            timeout: seconds to wait for the first one; None waits for as long as it takes.

        Raises:
            EndOfStream: there will be no more items.
        """
        raise NotImplementedError(f"{type(self).__name__} must define read")

    def items(self) -> Iterator[Any] | None:
        """Return an iterator, if the source has no faster way to hand over its items."""
        return None

    def close(self) -> None:
        """Give back what the source holds; a `read` that waits returns or raises."""

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                items = self.read(256)
            except EndOfStream:
                return
            yield from items


class IterableSource(Source):
    """The items of an iterable.

    Args:
        data: any iterable.
        live: whether its next item may take a while. One is then read at a time, because waiting
            for the second would hold up the first. By default what has a length is not live.
    """

    def __init__(self, data: Iterable[Any], live: bool | None = None) -> None:
        self._data = data
        self._live = not hasattr(data, "__len__") if live is None else live
        self._iterator: Iterator[Any] | None = None
        self._closed = False

    def read(self, most: int, timeout: float | None = None) -> list[Any]:
        """Return the next item, or up to `most` if they are there already."""
        if self._closed:
            raise EndOfStream
        if self._iterator is None:
            self._iterator = iter(self._data)
        if self._live:
            for item in self._iterator:
                return [item]
            raise EndOfStream
        items = list(islice(self._iterator, most))
        if not items:
            raise EndOfStream
        return items

    def items(self) -> Iterator[Any] | None:
        """Return the iterator itself, if its items come one at a time."""
        if not self._live or self._closed:
            return None
        if self._iterator is None:
            self._iterator = iter(self._data)
        return self._iterator

    def close(self) -> None:
        """End the stream; a generator that is not running is closed with it."""
        self._closed = True
        close = getattr(self._iterator, "close", None)
        if close is not None:
            try:
                close()
            except ValueError:
                return  # it is running in the thread that reads, which sees the flag next


class CallableSource(Source):
    """What a function returns, call by call, until it raises `StopIteration` or `EndOfStream`."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._closed = False

    def read(self, most: int, timeout: float | None = None) -> list[Any]:
        """Call once."""
        if self._closed:
            raise EndOfStream
        try:
            return [self._function()]
        except StopIteration:
            raise EndOfStream from None

    def close(self) -> None:
        """End the stream before the next call."""
        self._closed = True


_END = object()


class QueueSource(Source):
    """What is put into a `queue.Queue` or `queue.SimpleQueue`.

    Args:
        items: the queue.
        end: putting this very object ends the stream.
    """

    def __init__(self, items: "queue.Queue[Any] | queue.SimpleQueue[Any]", end: Any = _END) -> None:
        self._queue = items
        self._end = end
        self._ended = threading.Event()

    def read(self, most: int, timeout: float | None = None) -> list[Any]:
        """Return what lies in the queue."""
        items: list[Any] = []
        limit = math.inf if timeout is None else time.monotonic() + timeout
        while not self._ended.is_set():
            left = max(limit - time.monotonic(), 0.0)
            try:
                # Short waits: closing must not put anything into a queue that is the user's.
                wait = min(left, 0.05)
                item = self._queue.get(timeout=wait) if not items else self._queue.get_nowait()
            except queue.Empty:
                if items or not left:
                    return items
                continue
            if item is self._end:
                self._ended.set()
            else:
                items.append(item)
                if len(items) == most:
                    return items
        if not items:
            raise EndOfStream
        return items

    def close(self) -> None:
        """End the stream; what lies in the queue stays there."""
        self._ended.set()


def as_source(data: Any) -> Source:
    """Return anything that items can come from as a `Source`.

    Args:
        data: a `Source`; an iterable, such as a generator or a list; an asynchronous iterable or an
            `asyncio.Queue`; a `queue.Queue`; a map-style dataset; or a function of no arguments.

    Raises:
        TypeError: if it is none of these.

    Example:
        >>> as_source(42)
        Traceback (most recent call last):
        ...
        TypeError: source must be an iterable, an async iterable, a queue, a dataset or a function \
of no arguments, but got 42
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, queue.Queue | queue.SimpleQueue):
        return QueueSource(data)
    if isinstance(data, AsyncIterable) or _is_asyncio_queue(data):
        from dlkit.streaming.asynchronous import AsyncSource

        return AsyncSource(data)
    if isinstance(data, Iterable):
        return IterableSource(data)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return IterableSource(_Rows(data))
    if callable(data):
        return CallableSource(data)
    raise TypeError(
        "source must be an iterable, an async iterable, a queue, a dataset or a function of no "
        f"arguments, but got {data!r}"
    )


def _is_asyncio_queue(data: Any) -> bool:
    return type(data).__module__ == "asyncio.queues"


class _Rows:
    """The samples of a map-style dataset, which need not raise IndexError at its end."""

    def __init__(self, dataset: Sequence[Any]) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[Any]:
        return (self._dataset[index] for index in range(len(self._dataset)))
