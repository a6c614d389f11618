"""What live systems share: a thread that answers batches, readings of it, and a clean end.

    pipeline --batch--> answer, in a thread of its own          read(): what has happened since

A system says how a batch is answered and what a reading holds; the rest is here.
"""

import threading
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

from dlkit.live.prompt import prompt_threads
from dlkit.streaming import Batch, Pipeline, RealClock

HISTORY = 600  # readings that are kept

Reading = TypeVar("Reading")
Self = TypeVar("Self", bound="LiveSystem[Any]")


class LiveSystem(Generic[Reading]):
    """A pipeline and the thread that answers its batches.

    Args:
        pipeline: where the batches come from; it is stopped with the system.
        name: of the thread.

    Attributes:
        history: the latest readings.

    Example:
        >>> class Sum(LiveSystem[int]):
        ...     total = 0
        ...     def answer(self, batch): self.total += sum(batch.items)
        >>> with Sum(Pipeline(range(10)), "sum") as system:
        ...     _ = system.wait(30.0)
        >>> system.total
        45
    """

    def __init__(self, pipeline: Pipeline, name: str) -> None:
        self.pipeline = pipeline
        self.history: deque[Reading] = deque(maxlen=HISTORY)
        self._name = name
        self._clock = RealClock()
        self._start = 0.0
        self._end: float | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def prepare_thread(self) -> None:
        """Called in the thread before its first batch."""

    def answer(self, batch: Batch) -> None:
        """Answer a batch; called in the thread."""
        raise NotImplementedError(f"{type(self).__name__} must define answer")

    def read(self) -> Reading:
        """Return what has happened since the last reading, and keep it in `history`."""
        raise NotImplementedError(f"{type(self).__name__} must define read")

    @property
    def seconds(self) -> float:
        """Seconds from the start until now, or until its end; 0 before it."""
        if self._thread is None:
            return 0.0
        return (self._clock.now() if self._end is None else self._end) - self._start

    @property
    def running(self) -> bool:
        """Whether batches are being answered."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin to answer, in another thread.

        Raises:
            RuntimeError: if the system was started before.
        """
        if self._thread is not None:
            raise RuntimeError("the system was started before; make a new one")
        batches = iter(self.pipeline)  # here, so that a stop before the thread runs ends it
        self._start = self._clock.now()
        self._thread = threading.Thread(
            target=self._run, args=(batches,), name=self._name, daemon=True
        )
        self._thread.start()

    def _run(self, batches: Iterator[Batch]) -> None:
        try:
            self.prepare_thread()
            with prompt_threads():
                for batch in batches:
                    self.answer(batch)
        except BaseException as error:
            self._error = error
        finally:
            self._end = self._clock.now()
            self._ended.set()

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until it has ended; return whether it has."""
        return self._ended.wait(seconds)

    def stop(self) -> None:
        """End sources, threads and queue.

        Raises:
            Exception: what answering raised, if it did.
        """
        self.pipeline.stop()
        if self._thread is not None:
            self._thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self: Self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()
