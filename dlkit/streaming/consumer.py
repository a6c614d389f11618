"""The consumer's side of a stream: three ways to take a batch, and the end.

    for batch in consumer            a plain loop; leaving it ends the stream
    async for batch in consumer      the same, while an event loop goes on
    consumer.get(timeout)            one batch, or an error that says why there is none

Taking the next batch says that the one before has been answered: its latency is counted then, and
its array goes back to the pool.
"""

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import TypeVar

from dlkit.streaming.batcher import Batch
from dlkit.streaming.checks import EndOfStream, StreamError, StreamTimeoutError
from dlkit.streaming.clock import Clock
from dlkit.streaming.engine import Engine
from dlkit.streaming.pool import BufferPool, Lease, stack_into

Self = TypeVar("Self", bound="Consumer")


class Consumer:
    """Takes batches from an engine, and ends it.

    Args:
        engine: the threads of the stream.
        clock: whose time.
        pool: arrays into which the items of a batch are stacked, as `batch.array`; None for none.
        timeout: seconds that taking a batch may wait; None waits for as long as it takes.
    """

    def __init__(
        self, engine: Engine, clock: Clock, pool: BufferPool | None, timeout: float | None
    ) -> None:
        self._engine, self._clock = engine, clock
        self._pool, self._timeout = pool, timeout
        self._lease: Lease | None = None
        self._current: Batch | None = None
        # Threads hold the engine, not the consumer: one that is let go of ends them.
        self._finalizer = weakref.finalize(self, Engine.stop, engine)

    def start(self) -> None:
        """Start reading now; taking the first batch would do so too."""
        self._engine.start()

    def get(self, timeout: float | None = None) -> Batch:
        """Return the next batch, and count the one before as answered.

        Args:
            timeout: seconds to wait; by default those that the pipeline was made with.

        Raises:
            EndOfStream: there are no more batches.
            StreamTimeoutError: none came in time; the next call may get it.
            StalledError: the source has been silent for too long.
            Exception: what the source or the preprocessing raised, after everything that came
                before it was delivered.
        """
        timeout = self._timeout if timeout is None else timeout
        engine, clock = self._engine, self._clock
        self._refuse_waiting_on_the_loop()
        self.answered()
        engine.start()
        limit = None if timeout is None else clock.now() + timeout
        with engine.lock:
            while True:
                now = clock.now()
                batch, wait = engine.step(now)
                if batch is not None:
                    break
                if limit is not None and now >= limit:
                    raise _too_late(timeout)
                engine.shared.out.wait(wait if limit is None else min(wait, limit - now))
        return self._hand_over(batch)

    async def aget(self, timeout: float | None = None) -> Batch:
        """Return the next batch as `get` does, without stopping the event loop meanwhile."""
        timeout = self._timeout if timeout is None else timeout
        engine, clock = self._engine, self._clock
        self.answered()
        engine.start()
        limit = None if timeout is None else clock.now() + timeout
        while True:
            with engine.lock:
                now = clock.now()
                batch, wait = engine.step(now)
                if batch is not None:
                    break
                if limit is not None and now >= limit:
                    raise _too_late(timeout)
                announced = engine.shared.sleeper()
            wait = wait if limit is None else min(wait, limit - now)
            try:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(announced.wait(), wait)
            finally:
                with engine.lock:
                    engine.shared.forget(announced)
        return self._hand_over(batch)

    def _hand_over(self, batch: Batch) -> Batch:
        self._current = batch
        if self._pool is not None:
            self._lease = self._pool.lend(self._timeout)
            batch.array = stack_into(self._lease.array, batch.items)
        return batch

    def answered(self) -> None:
        """Count the batch that was taken last as answered, now instead of when the next is taken.

        Its array goes back to the pool.
        """
        batch, self._current = self._current, None
        if self._lease is not None:
            self._lease.release()
            self._lease = None
        if batch is not None:
            batch.array = None
            with self._engine.lock:
                self._engine.flow.batcher.answered(batch, self._clock.now())

    def __iter__(self) -> Iterator[Batch]:
        self._refuse_what_has_ended()
        return self._batches()

    def _batches(self) -> Iterator[Batch]:
        try:
            while True:
                try:
                    batch = self.get()
                except EndOfStream:
                    return
                yield batch
                del batch  # so that the memory of a batch is free while the next one is awaited
        finally:
            # Also when the consumer leaves the loop: nobody else could end the threads then.
            self.stop()

    def __aiter__(self) -> AsyncIterator[Batch]:
        self._refuse_what_has_ended()
        return self._batches_on_the_loop()

    async def _batches_on_the_loop(self) -> AsyncIterator[Batch]:
        try:
            while True:
                try:
                    batch = await self.aget()
                except EndOfStream:
                    return
                yield batch
                del batch
        finally:
            await asyncio.to_thread(self.stop)

    def _refuse_what_has_ended(self) -> None:
        if self._engine.stopping:
            raise StreamError("the pipeline was stopped; a stream that is gone needs a new one")

    def _refuse_waiting_on_the_loop(self) -> None:
        refuse = getattr(self._engine.reading.source, "_refuse_waiting_on_the_loop", None)
        if refuse is not None:
            refuse()

    # ---- the end --------------------------------------------------------------------------------

    def drain(self) -> None:
        """Read no more; what has come is still delivered, and then the stream ends."""
        self._engine.drain()

    def stop(self) -> bool:
        """End at once: threads, sockets and tasks; what was in flight is counted as `stopped`.

        Returns:
            Whether all threads have ended. One that is inside a source's own code that never
            returns cannot be ended from outside; there is a `ResourceWarning` then.
        """
        self.answered()
        self._finalizer.detach()
        return self._engine.stop()

    def __enter__(self: Self) -> Self:
        self._refuse_what_has_ended()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()


def _too_late(timeout: float | None) -> StreamTimeoutError:
    return StreamTimeoutError(
        f"no batch came in {timeout} s; the stream goes on, and the next call may get one"
    )
