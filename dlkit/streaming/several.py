r"""Several sources read at once, each in a thread of its own, into one machine.

    camera --thread--\
    lidar  --thread----> machine.offer(name, items, now) --poll(now)--> read: one source again
    imu    --thread--/

`Merger` and `Aligner` are such machines. One slow sensor must not hold up the reading of another,
so each has a thread; a machine that has enough of one stream lets that thread wait.
"""

import threading
from collections.abc import Mapping
from typing import Any, Protocol

from dlkit.streaming.checks import EndOfStream
from dlkit.streaming.clock import Clock, RealClock, Steady
from dlkit.streaming.sources import Source

_LOOK = 0.1  # seconds after which a thread that waits looks whether to stop
_PATIENCE = 2.0  # seconds that a thread has to end; one inside a user's iterator may not
_READ = 64  # items that are read from a source at once, at most


class Machine(Protocol):
    """What several streams are put into, and one comes out of."""

    def offer(self, stream: str, items: list[Any], now: float) -> None:
        """Take items of a stream in."""
        ...

    def end(self, stream: str) -> None:
        """No more items come from a stream."""
        ...

    def poll(self, now: float) -> list[Any]:
        """Return what can leave now."""
        ...

    def due(self) -> float | None:
        """Return when to poll next if nothing comes; None for never."""
        ...

    def blocked(self, stream: str) -> bool:
        """Whether a stream has to wait."""
        ...

    def counts(self) -> Any:
        """Return where the items are."""
        ...

    def drop_all(self, reason: str) -> None:
        """Throw away and count what has not left."""
        ...


class SeveralSources(Source):
    """The streams of a mapping as one source.

    Args:
        streams: name to source.
        machine: what makes one stream of them.
        clock: whose time; the machine's by default.

    An error in one of them ends them all, after what had come before it was delivered.
    """

    def __init__(
        self, streams: Mapping[str, Source], machine: Machine, clock: Clock | None = None
    ) -> None:
        self.streams = dict(streams)
        self.machine = machine
        self._clock = Steady(RealClock() if clock is None else clock)
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._running = 0
        self._closed = False
        self._failure: BaseException | None = None
        self._left: list[Any] = []  # polled, and more than was asked for

    def read(self, most: int, timeout: float | None = None) -> list[Any]:
        """Return what the machine lets go."""
        if not self._threads and not self._closed:
            self._start()
        limit = None if timeout is None else self._clock.now() + timeout
        with self._changed:
            while not self._left:
                now = self._clock.now()
                self._left = self.machine.poll(now)
                self._changed.notify_all()
                if self._left:
                    break
                if self._closed or not self._running:
                    failure, self._failure = self._failure, None
                    raise failure if failure is not None else EndOfStream
                if limit is not None and now >= limit:
                    return []
                times = [time for time in (limit, self.machine.due()) if time is not None]
                self._changed.wait(max(min([time - now for time in times] + [0.5]), 0.0))
            items, self._left = self._left[:most], self._left[most:]
            return items

    def _start(self) -> None:
        self._running = len(self.streams)
        for name, source in self.streams.items():
            thread = threading.Thread(
                target=self._pump, args=(name, source), name=f"dlkit stream {name}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _pump(self, name: str, source: Source) -> None:
        failure: BaseException | None = None
        try:
            while not self._closed:
                items = source.read(_READ, _LOOK)
                if items:
                    with self._changed:
                        self.machine.offer(name, items, self._clock.now())
                        self._changed.notify_all()
                        while self.machine.blocked(name) and not self._closed:
                            self._changed.wait(_LOOK)
        except EndOfStream:
            pass
        except BaseException as error:
            error.add_note(f"raised by the stream {name!r}")
            failure = error
        finally:
            source.close()
            with self._changed:
                self.machine.end(name)
                self._running -= 1
                self._failure = self._failure or failure
                if failure is not None:
                    for other in self.streams:
                        self.machine.end(other)
                self._changed.notify_all()
            if failure is not None:
                self._close_all()

    def _close_all(self) -> None:
        for source in self.streams.values():
            source.close()

    def counts(self) -> Any:
        """Return where the items of each stream are; exact while it runs."""
        with self._changed:
            return self.machine.counts()

    def close(self) -> None:
        """Close all streams, and wait for their threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._close_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_PATIENCE)
        with self._changed:
            self.machine.drop_all("stopped")
