"""A live stream from its source to batches: what a user holds.

    with Pipeline(camera, preprocess=resize, max_batch=64, objective=0.050) as batches:
        for batch in batches:
            answers = model(batch.items)

`flow` is the machine behind it, `engine` its threads, `consumer` how batches are taken; here are
the arguments and the statistics.
"""

from collections.abc import Callable
from typing import Any

from dlkit.checks import check_positive_int
from dlkit.streaming.batcher import Batcher, choose_sizing
from dlkit.streaming.buffer import Buffer
from dlkit.streaming.checks import check_choice, check_not_negative, check_positive
from dlkit.streaming.clock import Clock, RealClock, Steady
from dlkit.streaming.consumer import Consumer
from dlkit.streaming.engine import Engine
from dlkit.streaming.flow import Flow
from dlkit.streaming.pool import BufferPool
from dlkit.streaming.preprocess import Preprocess
from dlkit.streaming.restart import Backoff, Restarting, Watchdog
from dlkit.streaming.sources import Source, as_source
from dlkit.streaming.stats import Stats
from dlkit.streaming.watch import Memory, MemoryGuard, read_memory

READ = 256  # items that are read from a source at once, at most


class Pipeline(Consumer):
    """Batches of a live stream, under a deadline and in bounded memory.

    Args:
        source: anything that `dlkit.streaming.as_source` takes.
        preprocess: done with each item, in threads, and the order is kept; plain or `async`.
        max_batch: items of a batch, at most.
        max_delay: seconds that the oldest item of a batch may wait for others; 0.01 by default.
        objective: seconds from arrival to answer that a percentile of the items should stay under;
            size and delay of the batches are then chosen while the stream runs, within the two
            arguments above.
        percentile: which one, 0.99 by default.
        capacity: items that may wait where the policy applies.
        policy: what happens to an item that finds no room: `"block"`, `"drop_oldest"`,
            `"drop_newest"` or `"sample"`.
        max_age: seconds after which an item that still waits is dropped; None keeps it.
        workers: threads that preprocess.
        vectorised: whether `preprocess` takes a list of items and returns as many results.
        on_error: whether an item whose preprocessing raises ends the stream (`"raise"`) or is
            counted as failed (`"drop"`).
        pool: arrays into which the items of a batch are stacked, as `batch.array`.
        restart: makes the source anew when it raises; `source` must then be a function that makes
            one.
        stall_after: seconds of silence after which the source counts as stalled.
        on_stall: what then happens: `"raise"`, `"warn"`, or `"restart"`, which needs `source` to be
            a function that makes one.
        timeout: seconds that taking a batch may wait; None waits for as long as it takes.
        guard: holds batches under a size that memory allows.
        clock: whose time; one that runs back is made steady. The machine's by default.
        seed: of the policy `"sample"`.

    Raises:
        ValueError, TypeError: if an argument is none of the accepted, or two exclude each other.

    Example:
        >>> with Pipeline(range(5), preprocess=lambda item: item * 10, max_batch=2) as batches:
        ...     [batch.items for batch in batches]
        [[0, 10], [20, 30], [40]]
        >>> batches.counts()
        Counts(produced=5, delivered=5, dropped={}, in_flight=0)
    """

    def __init__(
        self,
        source: Any,
        preprocess: Callable[[Any], Any] | None = None,
        *,
        max_batch: int = 64,
        max_delay: float | None = None,
        objective: float | None = None,
        percentile: float = 0.99,
        capacity: int = 1024,
        policy: str = "block",
        max_age: float | None = None,
        workers: int = 1,
        vectorised: bool = False,
        on_error: str = "raise",
        pool: BufferPool | None = None,
        restart: Backoff | None = None,
        stall_after: float | None = None,
        on_stall: str = "raise",
        timeout: float | None = None,
        guard: MemoryGuard | None = None,
        clock: Clock | None = None,
        seed: int = 0,
    ) -> None:
        check_positive_int("max_batch", max_batch)
        check_positive_int("workers", workers)
        check_choice("on_stall", on_stall, ("raise", "warn", "restart"))
        for name, value in (("max_delay", max_delay), ("timeout", timeout)):
            if value is not None:
                check_not_negative(name, value)
        if stall_after is not None:
            check_positive("stall_after", stall_after)
        if pool is not None and pool.shape[0] < max_batch:
            raise ValueError(
                f"pool must hold arrays of at least max_batch={max_batch} rows, but they have the "
                f"shape {pool.shape}"
            )
        sizing = choose_sizing(max_batch, max_delay, objective, percentile)
        if preprocess is None:
            door, batcher = None, Batcher(sizing, capacity, policy, max_age, seed=seed)
        else:
            door = Buffer(capacity, policy, max_age, seed)
            # What is preprocessed is only a few batches ahead: the queue is where the policy is.
            batcher = Batcher(sizing, max(2 * max_batch, 64), max_age=max_age)
        steady: Clock = RealClock() if clock is None else Steady(clock)
        self._workers = workers if preprocess is not None else 0
        self._restarting: list[Restarting] = []  # the present one, if there is one
        engine = Engine(
            self._opener(source, restart, on_stall if stall_after is not None else ""),
            Flow(batcher, door),
            None if preprocess is None else Preprocess(preprocess, vectorised, on_error),
            steady,
            workers,
            READ,
            None if stall_after is None else Watchdog(stall_after),
            on_stall,
            guard,
        )
        super().__init__(engine, steady, pool, timeout)

    def _opener(self, source: Any, restart: Backoff | None, on_stall: str) -> Callable[[], Source]:
        if restart is None and on_stall != "restart":
            opened = as_source(source)  # here, so that what is no source is refused at once
            return lambda: opened
        if not callable(source):
            given = "restart" if restart is not None else "on_stall='restart'"
            raise TypeError(f"{given} needs source to be a function that makes it, got {source!r}")
        if restart is None:
            return lambda: as_source(source())
        present = self._restarting  # not `self`: the threads must not keep the consumer alive

        def open_source() -> Source:
            opened = Restarting(source, restart)
            opened.restarts = sum(earlier.restarts for earlier in present)
            present[:] = [opened]
            return opened

        return open_source

    # ---- what it tells --------------------------------------------------------------------------

    def counts(self) -> Any:
        """Return where all items are; exact at every moment."""
        with self._engine.lock:
            return self._engine.flow.counts()

    def stats(self) -> Stats:
        """Return rates, queues, percentiles and memory, all of one moment."""
        engine = self._engine
        flow, batcher = engine.flow, engine.flow.batcher
        guard = engine.guard
        memory = guard.reading if guard is not None and guard.reading != Memory() else read_memory()
        with engine.lock:
            now = self._clock.now()
            counts, seen = flow.counts(), batcher.latencies
            waiting = len(batcher.buffer if flow.entry is None else flow.entry)
            ready = len(batcher.buffer)
            return Stats(
                counts=counts,
                arriving=engine.reading.arriving.rate(now),
                leaving=engine.leaving.rate(now),
                waiting=waiting + flow.in_hand,
                working=flow.in_work,
                ready=ready,
                batches=batcher.batches,
                mean_batch=counts.delivered / max(batcher.batches, 1),
                size=batcher.size,
                delay=batcher.sizing.delay,
                p50=seen.quantile(0.5, now),
                p95=seen.quantile(0.95, now),
                p99=seen.quantile(0.99, now),
                mean_latency=seen.total / seen.count if seen.count else float("nan"),
                restarts=engine.stall_restarts + sum(one.restarts for one in self._restarting),
                stalls=0 if engine.watchdog is None else engine.watchdog.stalls,
                clock_jumps=getattr(self._clock, "jumps", 0),
                memory=memory,
                memory_bound=self._bound() if engine.shared.item_bytes else None,
            )

    def memory_bound(self) -> int:
        """Return how many bytes the items in flight, and the pool, can take at most.

        An item counts as much as the largest one that was looked at; looking at each would cost
        more than moving it, so that is the first of every list that came.

        Raises:
            RuntimeError: if no item has come yet, so that its size is not known.
        """
        if not self._engine.shared.item_bytes:
            raise RuntimeError("memory_bound needs one item to come first, to know its size")
        return self._bound()

    def _bound(self) -> int:
        flow = self._engine.flow
        boxes = flow.batcher.buffer.capacity + (0 if flow.entry is None else flow.entry.capacity)
        # Beside the boxes: what is read at once, what each worker has, and the consumer's batch.
        items = (
            boxes
            + READ
            + self._workers * flow.chunk
            + getattr(flow.batcher.sizing, "max_batch", flow.batcher.sizing.size)
        )
        return items * self._engine.shared.item_bytes + (
            0 if self._pool is None else self._pool.nbytes
        )


class MicroBatcher(Pipeline):
    """Batches of a source without preprocessing: full ones, or those whose time has come.

    Args:
        source: anything that `dlkit.streaming.as_source` takes.
        max_batch: items of a batch, at most.
        max_delay: seconds that the oldest item of a batch may wait for others.
        **options: those of `Pipeline`, such as `objective`, `policy` and `capacity`.

    Example:
        >>> [batch.items for batch in MicroBatcher("abcde", max_batch=2, max_delay=0.1)]
        [['a', 'b'], ['c', 'd'], ['e']]
    """

    def __init__(
        self, source: Any, max_batch: int = 64, max_delay: float | None = None, **options: Any
    ) -> None:
        super().__init__(source, max_batch=max_batch, max_delay=max_delay, **options)
