"""Pipelines in threads and on event loops: order, counters, faults, and nothing left behind."""

import asyncio
import gc
import queue
import socket
import threading
import traceback
import tracemalloc
import warnings

import numpy as np
import psutil
import pytest
import torch
from streaming_cases import WAIT, Gated, nothing_is_left_behind  # noqa: F401

import dlkit
from dlkit.streaming import (
    POLICIES,
    AsyncSource,
    Backoff,
    BufferPool,
    Camera,
    EndOfStream,
    FilmSource,
    FolderSource,
    Memory,
    MemoryGuard,
    MicroBatcher,
    Pipeline,
    QueueSource,
    RealClock,
    Sender,
    SimulatedClock,
    StalledError,
    StreamDataset,
    StreamError,
    StreamTimeoutError,
    TcpSource,
    array_from_bytes,
    array_to_bytes,
    as_source,
    merge,
    window,
)


def items_of(pipeline):
    return [item for batch in pipeline for item in batch.items]


async def counting(count):
    for number in range(count):
        await asyncio.sleep(0)
        yield number


# ---- sources ------------------------------------------------------------------------------------


def from_queue(count):
    items = queue.Queue()
    for number in range(count):
        items.put(number)
    items.put("end")
    return QueueSource(items, end="end")


def test_a_queue_is_waited_for_as_long_as_it_is_said():
    items = queue.Queue()
    later = threading.Timer(0.2, items.put, ["late"])
    later.start()
    assert QueueSource(items).read(1, timeout=WAIT) == ["late"]
    assert QueueSource(items).read(1, timeout=0.0) == []
    later.join()


def from_function(count):
    numbers = iter(range(count))
    return lambda: next(numbers)


class Rows:
    """A map-style dataset that does not end by an IndexError."""

    def __len__(self):
        return 100

    def __getitem__(self, index):
        return index % 100


SOURCES = {
    "list": lambda: list(range(100)),
    "generator": lambda: (number for number in range(100)),
    "async iterator": lambda: counting(100),
    "function": lambda: from_function(100),
    "queue": lambda: from_queue(100),
    "dataset": Rows,
    "camera": lambda: (frame.data for frame in Camera(1e6, frames=100)),
    "merged": lambda: merge([range(50), range(50, 100)]),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("staged", [False, True])
def test_every_kind_of_source_arrives_whole_and_in_order(kind, staged):
    preprocess = (lambda item: item) if staged else None
    pipeline = Pipeline(SOURCES[kind](), preprocess, max_batch=7, workers=3)
    items = items_of(pipeline)
    assert (sorted(items) if kind == "merged" else items) == list(range(100))
    counts = pipeline.counts()
    assert counts.exact
    assert (counts.produced, counts.delivered, counts.in_flight) == (100, 100, 0)


@pytest.mark.parametrize("wrong", [42, None, 1.5])
def test_what_is_no_source_is_refused_at_once(wrong):
    with pytest.raises(TypeError, match="source must be an iterable, an async iterable, a queue"):
        Pipeline(wrong)


def test_a_live_source_hands_over_its_first_item_before_it_waits_for_the_second():
    gate = threading.Event()

    def slow():
        yield "first"
        gate.wait(WAIT)
        yield "second"

    pipeline = MicroBatcher(slow(), max_batch=10, max_delay=0.0)
    assert pipeline.get(WAIT).items == ["first"]
    gate.set()
    assert pipeline.get(WAIT).items == ["second"]
    pipeline.stop()


@pytest.mark.parametrize(
    "payload",
    [b"", b"left", b"PK\x03\x04", array_to_bytes(np.arange(9))[:-1], b"\x80\x04N."],
    ids=["nothing", "text", "an archive", "cut short", "a pickle"],
)
def test_bytes_that_are_no_array_are_refused(payload):
    with pytest.raises(ValueError, match=r"."):
        array_from_bytes(payload)


def test_items_really_cross_a_socket():
    arrays = [np.full((3, 4), number, dtype=np.int16) for number in range(500)]
    source = TcpSource(array_from_bytes)

    def send():
        with Sender(source.address, array_to_bytes) as sender:
            sender.send_all(arrays[:200])
            for array in arrays[200:]:
                sender.send(array)

    thread = threading.Thread(target=send)
    thread.start()
    got = items_of(Pipeline(source, max_batch=64))
    thread.join(WAIT)
    assert len(got) == 500
    assert all(np.array_equal(a, b) for a, b in zip(arrays, got, strict=True))


def test_two_senders_share_a_stream_and_each_keeps_its_order():
    source = TcpSource(senders=2)
    for word in (b"left", b"right"):
        with Sender(source.address) as sender:
            sender.send_all([word + bytes([number]) for number in range(20)])
    got = items_of(Pipeline(source))
    for word in (b"left", b"right"):
        assert [i for i in got if i.startswith(word)] == [word + bytes([n]) for n in range(20)]


def test_a_sender_that_dies_in_the_middle_of_a_frame_is_an_error_after_all_whole_frames():
    source = TcpSource()
    with socket.create_connection(source.address) as connection:
        connection.sendall(b"\x00\x00\x00\x02ok" + b"\x00\x00\x00\x09half")
    pipeline = Pipeline(source)
    assert pipeline.get(WAIT).items == [b"ok"]
    with pytest.raises(StreamError, match="ended in the middle of a frame: 8 bytes"):
        pipeline.get(WAIT)
    pipeline.stop()


def test_a_sender_that_speaks_otherwise_is_refused_before_its_gigabytes_are_waited_for():
    source = TcpSource()
    with socket.create_connection(source.address) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(StreamError, match="a frame says that it has 1195725856 bytes"):
            items_of(Pipeline(source))


def test_a_folder_of_images_and_a_film_are_streams(tmp_path):
    from PIL import Image

    shades = [Image.new("L", (4, 3), 40 * number) for number in range(5)]
    for number, image in enumerate(shades):
        image.save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no image")
    film = tmp_path / "film.gif"
    shades[0].save(film, save_all=True, append_images=shades[1:], duration=[100, 200, 100, 100, 50])
    clock = SimulatedClock()
    frames = list(FilmSource(film, mode="L", clock=clock))
    assert [round(frame.stamp, 3) for frame in frames] == [0.0, 0.1, 0.3, 0.4, 0.5]
    assert clock.now() == pytest.approx(0.5)
    half = FilmSource(film, clock=SimulatedClock())
    half.read(1)
    assert [file.path for file in psutil.Process().open_files()].count(str(film)) == 1
    half.close()
    assert [file.path for file in psutil.Process().open_files()].count(str(film)) == 0
    film.unlink()
    frames = list(FolderSource(tmp_path, rate=10, mode="L", clock=SimulatedClock()))
    assert [frame.data[0, 0] for frame in frames] == [0, 40, 80, 120, 160]
    assert [frame.data.shape for frame in frames] == [(3, 4)] * 5
    with pytest.raises(FileNotFoundError, match="folder must hold images"):
        FolderSource(tmp_path / "nowhere", rate=10)


# ---- preprocessing ------------------------------------------------------------------------------


def test_order_is_kept_when_later_items_are_done_first():
    second_is_done = threading.Event()

    def preprocess(item):
        if item == 0:
            assert second_is_done.wait(WAIT)
        elif item == 1:
            second_is_done.set()
        return item

    source = Gated()
    source.lists.put([0])
    pipeline = Pipeline(source, preprocess, workers=2, max_batch=4)
    pipeline.start()
    source.lists.put([1])
    got = pipeline.get(WAIT).items
    source.lists.put(EndOfStream())
    assert got + items_of(pipeline) == [0, 1]


def test_coroutines_of_one_list_run_together():
    running = most = 0

    async def preprocess(item):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return -item

    assert items_of(Pipeline(range(64), preprocess, max_batch=16)) == [-n for n in range(64)]
    assert most > 1


def test_a_whole_list_can_be_preprocessed_at_once():
    pipeline = Pipeline(
        range(100), lambda items: np.asarray(items) * 2, vectorised=True, max_batch=32
    )
    assert items_of(pipeline) == list(range(0, 200, 2))


@pytest.mark.parametrize("kind", ["plain", "async", "vectorised"])
def test_what_cannot_be_preprocessed_ends_the_stream_after_what_can_or_is_counted(kind):
    def plain(item):
        if item == 3:
            raise ValueError("three is no picture")
        return item

    async def coroutine(item):
        return plain(item)

    function = {"plain": plain, "async": coroutine, "vectorised": lambda xs: [plain(x) for x in xs]}
    options = {"vectorised": kind == "vectorised", "max_batch": 2}
    pipeline = Pipeline(range(6), function[kind], **options)
    with pytest.raises(ValueError, match="three is no picture") as caught:
        items_of(pipeline)
    assert any("preprocessed" in note for note in caught.value.__notes__)
    assert pipeline.counts().exact
    pipeline = Pipeline(range(6), function[kind], on_error="drop", **options)
    items = items_of(pipeline)
    assert 3 not in items
    assert pipeline.counts().dropped == {"failed": 6 - len(items)}
    if kind != "vectorised":
        assert items == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize(
    "error", [SystemExit, asyncio.CancelledError], ids=["exits", "is cancelled"]
)
def test_what_is_no_ordinary_error_ends_the_stream_too(error, kind):
    def plain(item):
        if item == 3:
            raise error
        return item

    async def coroutine(item):
        return plain(item)

    pipeline = Pipeline(range(6), plain if kind == "plain" else coroutine, timeout=WAIT)
    with pytest.raises(error):
        items_of(pipeline)
    assert pipeline.counts().exact


@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize(
    "wrong", [lambda items: items[1:], lambda items: [*items, 0]], ids=["fewer", "more"]
)
def test_a_vectorised_function_must_return_one_result_for_each_item(wrong, kind):
    async def coroutine(items):
        return wrong(items)

    pipeline = Pipeline(range(10), wrong if kind == "plain" else coroutine, vectorised=True)
    with pytest.raises(StreamError, match=r"one result for each item, but it returned \d+ for"):
        items_of(pipeline)
    assert pipeline.counts().exact


# ---- faults of the source -----------------------------------------------------------------------


def test_an_error_of_the_source_is_raised_after_all_that_came_before_it():
    def source():
        yield from range(5)
        raise OSError("cable")

    pipeline, got = Pipeline(source(), max_batch=2), []

    def consume():
        for batch in pipeline:
            got.extend(batch.items)

    with pytest.raises(OSError, match="cable") as caught:
        consume()
    assert got == [0, 1, 2, 3, 4]
    assert "raised by the source of the stream" in caught.value.__notes__
    assert pipeline.counts().exact


def test_a_source_that_ends_at_once_ends_the_stream():
    assert items_of(Pipeline([])) == []
    assert items_of(Pipeline(iter([]), lambda item: item)) == []


def test_a_failing_source_is_restarted_and_nothing_that_came_is_lost():
    opened = []

    def make():
        opened.append(len(opened))
        yield from range(10 * len(opened), 10 * len(opened) + 3)
        if len(opened) < 3:
            raise OSError("cable")

    pipeline = Pipeline(make, restart=Backoff(first=0.001), max_batch=2)
    got = []
    for batch in pipeline:
        got += batch.items
        restarts = pipeline.stats().restarts
    assert got == [10, 11, 12, 20, 21, 22, 30, 31, 32]
    assert restarts == 2


def test_restarting_needs_a_function_that_makes_the_source():
    for options in ({"restart": Backoff()}, {"stall_after": 1.0, "on_stall": "restart"}):
        with pytest.raises(TypeError, match="needs source to be a function that makes it"):
            Pipeline([1, 2], **options)


def test_a_source_that_stalls_is_noticed():
    source, clock = Gated(), SimulatedClock()
    source.lists.put([1])
    pipeline = Pipeline(source, stall_after=0.05, max_delay=0.0, clock=clock)
    assert pipeline.get(WAIT).items == [1]
    clock.advance(0.06)
    with pytest.raises(StalledError, match=r"silent for more than 0\.05 s"):
        pipeline.get(WAIT)
    assert pipeline.stats().stalls == 1
    source.lists.put([2])
    assert pipeline.get(WAIT).items == [2]  # it was only slow
    pipeline.stop()


@pytest.mark.parametrize("restart", [None, Backoff()], ids=["stalls", "stalls or fails"])
def test_a_source_that_stalls_is_replaced_if_told_so(restart):
    made, clock = [], SimulatedClock()

    def make():
        made.append(Gated())
        made[-1].lists.put([len(made)])
        return made[-1]

    options = {"stall_after": 0.05, "on_stall": "restart", "max_delay": 0.0, "clock": clock,
               "restart": restart}  # fmt: skip
    pipeline = Pipeline(make, **options)
    for number in (1, 2, 3):
        assert pipeline.get(WAIT).items == [number]
        clock.advance(0.06)
    assert pipeline.stats().restarts == 2
    pipeline.stop()
    assert all(source.closed.is_set() for source in made)


def test_a_stall_can_be_only_a_warning():
    source = Gated()
    pipeline = Pipeline(source, stall_after=0.02, on_stall="warn")
    with pytest.warns(RuntimeWarning, match="silent"), pytest.raises(StreamTimeoutError):
        pipeline.get(timeout=0.2)
    pipeline.stop()


def test_a_time_out_is_no_end():
    source = Gated()
    pipeline = Pipeline(source, timeout=0.02, max_delay=0.0)
    with pytest.raises(StreamTimeoutError, match=r"no batch came in 0\.02 s"):
        pipeline.get()
    source.lists.put(["late"])
    assert pipeline.get(WAIT).items == ["late"]
    pipeline.stop()


def test_a_clock_that_is_set_back_holds_nothing_up():
    class Wrong(RealClock):
        off = 0.0

        def now(self):
            return super().now() + self.off

    clock, source = Wrong(), Gated()
    pipeline = Pipeline(source, max_batch=10, max_delay=0.01, clock=clock)
    source.lists.put([1])
    assert pipeline.get(WAIT).items == [1]
    clock.off = -1e6
    source.lists.put([2])
    assert pipeline.get(WAIT).items == [2]
    assert pipeline.stats().clock_jumps == 1
    pipeline.stop()


# ---- floods and slow consumers ------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("staged", [False, True])
def test_a_flood_meets_a_policy_and_every_item_is_accounted_for(policy, staged):
    preprocess = (lambda item: item) if staged else None
    pipeline = Pipeline(range(5000), preprocess, max_batch=16, capacity=64, policy=policy)
    got = []
    for batch in pipeline:
        got += batch.items
        counts = pipeline.counts()
        assert counts.exact
        assert counts.in_flight <= 64 + 256 + 2 * 64  # capacity, one reading, and what is ready
    counts = pipeline.counts()
    assert counts.exact
    assert counts.produced == 5000
    assert counts.delivered == len(got)
    assert got == sorted(got)
    if policy == "block":
        assert got == list(range(5000))
    else:
        assert counts.dropped.keys() <= {policy}


def test_a_consumer_that_is_too_slow_for_ever_gets_fresh_items_under_drop_oldest():
    source = Gated()
    pipeline = Pipeline(source, max_batch=4, max_delay=0.0, capacity=4, policy="drop_oldest")
    for start in range(0, 400, 4):
        source.lists.put(list(range(start, start + 4)))
    source.lists.put(EndOfStream())
    pipeline.start()
    while not source.closed.wait(0.01):
        pass
    assert items_of(pipeline) == [396, 397, 398, 399]
    assert pipeline.counts().dropped == {"drop_oldest": 396}


def test_a_blocked_source_is_not_read_ahead_of_its_consumer():
    read = []

    def source():
        for number in range(1000):
            read.append(number)
            yield number

    pipeline = Pipeline(source(), max_batch=2, max_delay=0.0, capacity=4)
    pipeline.start()
    for taken in range(20):
        pipeline.get(WAIT)
        # Four in the queue, as many that the source's thread has at hand, and its next one.
        assert len(read) <= 2 * (taken + 1) + 4 + 4 + 1
    pipeline.stop()


def test_memory_stays_flat_and_under_its_bound_over_a_long_mixed_run():
    def source():
        for number in range(60_000):
            yield bytes(1000) if number % 3 else bytes(200)

    pipeline = Pipeline(source(), len, max_batch=32, capacity=128, policy="drop_oldest")
    halves, seen = [], 0
    tracemalloc.start()
    try:
        for batch in pipeline:
            seen += len(batch)
            if pipeline.counts().produced > 20_000 * (len(halves) + 1):
                halves.append(tracemalloc.get_traced_memory()[0])
                assert halves[-1] < pipeline.memory_bound() + 2_000_000
    finally:
        tracemalloc.stop()
    assert len(halves) >= 2
    assert halves[-1] - halves[0] < 500_000
    assert pipeline.counts().exact


# ---- stop, drain, abandon -----------------------------------------------------------------------


def test_stopping_counts_what_was_in_flight():
    source = Gated()
    source.lists.put(list(range(10)))
    pipeline = Pipeline(source, max_batch=3, max_delay=100.0)
    assert pipeline.get(WAIT).items == [0, 1, 2]
    assert pipeline.stop()
    counts = pipeline.counts()
    assert counts.dropped == {"stopped": 7}
    assert counts.exact
    with pytest.raises(StreamError, match="the pipeline was stopped"):
        list(pipeline)


def test_draining_delivers_what_has_come_and_reads_no_more():
    source = Gated()
    source.lists.put(list(range(10)))
    pipeline = Pipeline(source, lambda item: item, max_batch=4, max_delay=100.0)
    got = pipeline.get(WAIT).items
    pipeline.drain()
    got += items_of(pipeline)
    assert got == list(range(10))
    assert pipeline.counts().delivered == 10


@pytest.mark.parametrize("staged", [False, True])
def test_a_consumer_may_leave_the_loop(staged):
    camera = Camera(5000)
    pipeline = Pipeline(camera, (lambda frame: frame) if staged else None, max_batch=4)
    for _batch in pipeline:
        break
    gc.collect()
    assert pipeline.counts().exact
    assert pipeline.counts().in_flight == 0


def test_a_consumer_that_raises_ends_the_stream():
    pipeline = Pipeline(Camera(5000))

    def consume():
        for batch in pipeline:
            batch.items[0].data / 0

    with pytest.raises(ZeroDivisionError):
        consume()
    assert pipeline.counts().in_flight == 0


def test_a_pipeline_that_is_let_go_of_ends_its_threads():
    pipeline = Pipeline(Camera(1000), lambda frame: frame, workers=2)
    pipeline.get(WAIT)
    threads = [t for t in threading.enumerate() if t.name.startswith("dlkit")]
    assert len(threads) >= 2
    del pipeline
    gc.collect()
    for thread in threads:
        thread.join(WAIT)
    assert not any(thread.is_alive() for thread in threads)


def test_a_thread_inside_the_users_code_is_told_of():
    gate = threading.Event()

    def source():
        yield 1
        gate.wait(WAIT)

    pipeline = Pipeline(source(), max_delay=0.0)
    pipeline.get(WAIT)
    with pytest.warns(ResourceWarning, match="dlkit source still runs"):
        assert not pipeline.stop()
    gate.set()


# ---- event loops --------------------------------------------------------------------------------


def test_batches_are_awaited_while_the_loop_goes_on():
    async def main():
        source, ticks = Gated(), 0

        async def tick():
            nonlocal ticks
            while ticks < 5:
                ticks += 1
                await asyncio.sleep(0)
            source.lists.put([1, 2, 3])
            source.lists.put(EndOfStream())

        task = asyncio.create_task(tick())
        got = [item async for batch in Pipeline(source, max_batch=2) for item in batch.items]
        await task
        return got, ticks

    assert asyncio.run(main()) == ([1, 2, 3], 5)


def test_a_plain_loop_works_where_an_event_loop_is_running_as_in_jupyter():
    async def cell():
        return items_of(Pipeline(counting(50), max_batch=8))

    assert asyncio.run(cell()) == list(range(50))


def test_a_source_of_the_running_loop_is_read_by_async_for_and_refuses_to_stop_that_loop():
    async def main():
        items = asyncio.Queue()
        pipeline = Pipeline(items, max_batch=4, max_delay=0.001)
        for number in range(4):
            await items.put(number)
        batch = await pipeline.aget(WAIT)
        with pytest.raises(StreamError, match="would stop the event loop"):
            pipeline.get()
        await asyncio.to_thread(pipeline.stop)
        return batch.items

    assert asyncio.run(main()) == [0, 1, 2, 3]


def test_an_async_consumer_that_waits_long_leaves_nothing_behind():
    async def main():
        pipeline = Pipeline(Gated())
        for _ in range(5):
            with pytest.raises(StreamTimeoutError):
                await pipeline.aget(0.01)
        left = list(pipeline._engine.shared._sleepers)
        await asyncio.to_thread(pipeline.stop)
        return left

    assert asyncio.run(main()) == []


def test_an_async_consumer_may_leave_or_be_cancelled():
    async def leaves():
        stream = aiter(Pipeline(Camera(2000), max_batch=2))
        await anext(stream)
        await stream.aclose()

    async def is_cancelled():
        pipeline = Pipeline(Gated())
        task = asyncio.create_task(pipeline.aget())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(pipeline.stop)

    asyncio.run(leaves())
    asyncio.run(is_cancelled())


def test_an_async_source_that_raises_keeps_its_error_and_its_loop_ends():
    async def source():
        yield 1
        raise OSError("socket")

    pipeline = Pipeline(AsyncSource(source()), max_delay=0.0)
    assert pipeline.get(WAIT).items == [1]
    with pytest.raises(OSError, match="socket"):
        pipeline.get(WAIT)
    pipeline.stop()


def test_an_async_source_that_waits_for_ever_is_cancelled():
    cancelled = threading.Event()

    async def source():
        yield 1
        try:
            await asyncio.sleep(1e6)
        finally:
            cancelled.set()

    pipeline = Pipeline(source(), max_delay=0.0)
    assert pipeline.get(WAIT).items == [1]
    assert pipeline.stop()
    assert cancelled.is_set()


# ---- arrays that are lent -----------------------------------------------------------------------


def test_batches_are_stacked_into_the_arrays_of_a_pool():
    pool = BufferPool(2, shape=(4, 3))
    rows = [np.full(3, number, dtype=np.float32) for number in range(10)]
    addresses, got = set(), []
    for batch in Pipeline(rows, max_batch=4, pool=pool):
        addresses.add(batch.array.__array_interface__["data"][0])
        got += batch.array[:, 0].tolist()
    assert got == list(range(10))
    assert len(addresses) <= 2
    assert pool.free == 2
    pool.close()


def test_no_memory_is_allocated_in_the_steady_state():
    pool = BufferPool(2, shape=(64, 100))
    row = np.ones(100, dtype=np.float32)
    before = None
    tracemalloc.start()
    try:
        for number, batch in enumerate(Pipeline([row] * 64_000, max_batch=64, pool=pool)):
            assert batch.array.shape == (64, 100)
            if number == 200:
                before = tracemalloc.get_traced_memory()[0]
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 64 * 100 * 4  # 800 batches, and not one of their arrays
    pool.close()


def test_items_of_changing_shape_are_refused_with_both_shapes():
    rows = [np.zeros(3), np.zeros(3), np.zeros(4)]
    pool = BufferPool(1, shape=(4, 3))
    with pytest.raises(ValueError, match=r"the shape \(3,\) .* item 2 of the batch has \(4,\)"):
        items_of(Pipeline(rows, max_batch=4, pool=pool))
    assert pool.free == 1


def test_items_of_changing_shape_pass_where_nothing_is_stacked():
    rows = [np.zeros(number) for number in range(5)]
    assert [len(row) for row in items_of(Pipeline(rows))] == [0, 1, 2, 3, 4]


def test_an_array_that_is_lost_comes_back_and_is_counted():
    pool = BufferPool(2, shape=(2,), trace=True)
    lease = pool.lend()
    del lease
    gc.collect()
    assert (pool.leaked, pool.free) == (1, 2)
    held = pool.lend()
    with pytest.warns(ResourceWarning, match=r"1 of 2 arrays of the pool are still lent, and 1 "):
        pool.close()
    held.release()


def test_a_pool_that_is_empty_says_where_its_arrays_are():
    pool = BufferPool(1, shape=(2,), trace=True)
    with pool.lend(), pytest.raises(StreamTimeoutError, match="test_a_pool_that_is_empty"):
        pool.lend(timeout=0.01)
    lease = pool.lend()
    lease.release()
    with pytest.raises(StreamError, match="given back twice"):
        lease.release()
    pool.close()
    with pytest.raises(StreamError, match="closed"):
        pool.lend()


def test_a_pool_must_hold_whole_batches():
    with pytest.raises(ValueError, match="pool must hold arrays of at least max_batch=8 rows"):
        Pipeline([1], max_batch=8, pool=BufferPool(1, shape=(4, 3)))


# ---- what it tells ------------------------------------------------------------------------------


def test_statistics_are_of_one_moment_and_fit_together():
    source = Gated()
    source.lists.put(list(range(10)))
    pipeline = Pipeline(source, max_batch=4, max_delay=100.0)
    pipeline.get(WAIT)
    pipeline.answered()
    stats = pipeline.stats()
    assert stats.counts.exact
    assert (stats.counts.produced, stats.counts.delivered, stats.ready) == (10, 4, 6)
    assert (stats.batches, stats.mean_batch, stats.size, stats.delay) == (1, 4.0, 4, 100.0)
    assert 0 <= stats.p50 <= stats.p95 <= stats.p99
    assert stats.mean_latency >= 0
    assert stats.memory.host is None or stats.memory.host > 1_000_000
    assert "in flight 6" in str(stats)
    pipeline.stop()


def test_the_bound_of_memory_is_known_after_the_first_item():
    pipeline = Pipeline([bytes(1000)] * 10, capacity=100, max_batch=10)
    with pytest.raises(RuntimeError, match="memory_bound needs one item"):
        pipeline.memory_bound()
    items_of(pipeline)
    assert pipeline.memory_bound() == (100 + 256 + 10) * 1000


def test_batches_shrink_when_memory_is_tight():
    guard = MemoryGuard(8, host_limit=10, read=lambda: Memory(host=100), every=1e-9)
    sizes = [len(batch) for batch in Pipeline(range(100), max_batch=8, guard=guard)]
    assert sizes[-1] == 1
    assert sum(sizes) == 100


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_batch": 0}, "max_batch must be a positive integer"),
        ({"max_delay": -0.1}, "max_delay must be"),
        ({"max_delay": float("nan")}, "max_delay must be"),
        ({"objective": 0}, "objective must be"),
        ({"percentile": 99, "objective": 1.0}, "percentile must be a share"),
        ({"capacity": 0}, "capacity must be"),
        ({"policy": "lose"}, "policy must be"),
        ({"max_age": 0}, "max_age must be"),
        ({"workers": 0}, "workers must be"),
        ({"stall_after": 0}, "stall_after must be"),
        ({"on_stall": "shrug"}, "on_stall must be"),
        ({"timeout": -1}, "timeout must be"),
        ({"preprocess": len, "on_error": "skip"}, "on_error must be"),
    ],
)
def test_a_pipeline_refuses_what_it_cannot_do(options, words):
    with pytest.raises(ValueError, match=words):
        Pipeline([1], **options)


def test_a_preprocess_must_be_callable():
    with pytest.raises(TypeError, match="preprocess must be a function or None, but got 3"):
        Pipeline([1], 3)


# ---- bridges ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loader", [dlkit.DataLoader, torch.utils.data.DataLoader])
def test_a_stream_is_a_dataset_whose_epochs_go_on_where_the_last_one_ended(loader):
    stream = StreamDataset((number for number in range(10)), samples=4)
    batches = loader(stream, batch_size=2)
    epochs = [[batch.tolist() for batch in batches] for _ in range(3)]
    assert epochs == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9]]]
    stream.close()


@pytest.mark.parametrize("loader", [dlkit.DataLoader, torch.utils.data.DataLoader])
def test_a_stream_is_not_for_several_workers(loader):
    stream = StreamDataset(range(10))
    with pytest.raises(StreamError, match="one worker, but num_workers=2") as caught:
        list(loader(stream, num_workers=2))
    # They hold the iterator. PyTorch's ends its workers at once when it is let go of, but waits 5
    # seconds for each when the garbage collector finds it.
    traceback.clear_frames(caught.tb)
    stream.close()


def test_a_stream_may_be_read_by_one_worker():
    stream = StreamDataset(list(range(10)))
    loader = dlkit.DataLoader(stream, batch_size=5, num_workers=1)
    assert [batch.tolist() for batch in loader] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    stream.close()


def test_a_model_is_trained_on_a_stream():
    from dlkit.trainer import Trainer

    def samples():
        generator = torch.Generator().manual_seed(0)
        while True:
            label = int(torch.randint(4, (), generator=generator))
            yield torch.eye(4)[label], label

    model = torch.nn.Linear(4, 4)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    stream = StreamDataset(samples(), samples=64, capacity=64)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    # Without metrics: the package behind them takes seconds to import.
    trainer = Trainer(model, optimizer=optimizer, metrics={}, seed=0, device="cpu", progress=False)
    trainer.fit(dlkit.DataLoader(stream, batch_size=16), epochs=3)
    assert model(torch.eye(4)).argmax(dim=1).tolist() == [0, 1, 2, 3]
    counts = stream.pipeline.counts()
    assert counts.exact
    assert counts.delivered >= 3 * 64
    stream.close()


def test_the_loader_makes_the_batches_of_a_stream():
    with pytest.raises(TypeError, match="max_batch cannot be given here"):
        StreamDataset([1], max_batch=4)


def test_windows_of_a_stream_are_a_stream():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        windows = items_of(Pipeline(window(iter(range(6)), size=3, step=2)))
    assert [w.items for w in windows] == [[0, 1, 2], [2, 3, 4], [4, 5]]


def test_a_merge_reports_which_stream_failed():
    def broken():
        yield 1
        raise OSError("cable")

    with pytest.raises(OSError, match="cable") as caught:
        items_of(Pipeline(merge({"left": broken(), "right": Camera(100)})))
    assert "raised by the stream 'left'" in caught.value.__notes__


def test_as_source_reads_what_is_there_and_no_more():
    source = as_source([1, 2, 3, 4, 5])
    assert [source.read(2), source.read(2), source.read(2)] == [[1, 2], [3, 4], [5]]
    with pytest.raises(EndOfStream):
        source.read(2)
