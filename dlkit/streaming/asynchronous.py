"""Asynchronous iterators as sources: on an event loop of our own, or on the user's.

A cell in Jupyter runs inside an event loop already, and none can be started inside another. So the
iterator runs in the thread that reads the source, on a loop of its own. One that is bound to a loop
(its items come from tasks there) is run on that loop, given as `loop=`; then nobody may wait for
its items on that loop's thread other than by `async for`.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from concurrent.futures import Future
from typing import Any

from dlkit.streaming.checks import EndOfStream, StreamError
from dlkit.streaming.sources import Source

_AHEAD = 1024  # items that may lie unread
_PATIENCE = 5.0  # seconds for the iterator to close


class AsyncSource(Source):
    """The items of an asynchronous iterable, or of an `asyncio.Queue`.

    Args:
        data: the iterable or the queue.
        loop: the running event loop to which it is bound; None runs it on one of its own, except
            that a queue belongs to the loop that runs where this is called, if there is one.

    Example:
        >>> async def numbers():
        ...     for number in range(3):
        ...         await asyncio.sleep(0)
        ...         yield number
        >>> list(AsyncSource(numbers()))
        [0, 1, 2]
    """

    def __init__(
        self,
        data: "AsyncIterable[Any] | asyncio.Queue[Any]",
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if isinstance(data, asyncio.Queue):
            with contextlib.suppress(RuntimeError):
                loop = loop or asyncio.get_running_loop()
            data = _items_of(data)
        self._data = data
        self._loop = loop
        self._own: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._feeding: Future[None] | None = None
        self._changed = threading.Condition()
        self._items: deque[Any] = deque()
        self._room: asyncio.Event | None = None
        self._ended = self._closed = False
        self._error: BaseException | None = None

    def read(self, most: int, timeout: float | None = None) -> list[Any]:
        """Return what the iterator has yielded."""
        if self._feeding is None:
            self._start()
        self._refuse_waiting_on_the_loop()
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended or self._closed, timeout)
            items = [self._items.popleft() for _ in range(min(most, len(self._items)))]
            if not items and (self._ended or self._closed):
                error, self._error = self._error, None
                raise error if error is not None else EndOfStream
        if items:
            self._on_loop(self._make_room)
        return items

    def _start(self) -> None:
        if self._loop is None:
            self._loop = self._own = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._own.run_forever, name="dlkit event loop", daemon=True
            )
            self._thread.start()
        self._feeding = asyncio.run_coroutine_threadsafe(self._feed(), self._loop)

    def _refuse_waiting_on_the_loop(self) -> None:
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            return
        if here is self._loop:
            raise StreamError(
                "waiting here would stop the event loop that the source needs to go on: "
                "use `async for batch in pipeline`, or run the pipeline in a thread"
            )

    async def _feed(self) -> None:
        self._room = asyncio.Event()
        iterator: AsyncIterator[Any] | None = None
        error: BaseException | None = None
        try:
            iterator = aiter(self._data)
            async for item in iterator:
                with self._changed:
                    self._items.append(item)
                    if len(self._items) == 1:
                        self._changed.notify()
                    full = len(self._items) >= _AHEAD
                    if full:
                        self._room.clear()
                if full:
                    await self._room.wait()
        except asyncio.CancelledError:
            pass
        except BaseException as raised:
            error = raised
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                with contextlib.suppress(Exception):
                    await close()
            with self._changed:
                self._ended, self._error = True, error
                self._changed.notify_all()

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()

    def _on_loop(self, call: Any) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits on it
            self._loop.call_soon_threadsafe(call)

    def close(self) -> None:
        """Cancel the iterator, and end the loop if it is our own."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._feeding is not None:
            self._feeding.cancel()
        if self._own is not None and self._thread is not None:
            own, self._own = self._own, None
            ended = asyncio.run_coroutine_threadsafe(_end_tasks(), own)
            with contextlib.suppress(Exception):
                ended.result(_PATIENCE)
            own.call_soon_threadsafe(own.stop)
            self._thread.join(_PATIENCE)
            if not self._thread.is_alive():
                own.close()


async def _items_of(items: "asyncio.Queue[Any]") -> AsyncIterator[Any]:
    while True:
        yield await items.get()


async def _end_tasks() -> None:
    """Cancel all other tasks of this loop, and let them end."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
