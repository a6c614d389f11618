"""Map over a stream on several threads, in order, with a bounded number in flight."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def parallel_map(
    function: Callable[[Any], Any], items: Iterable[Any], workers: int, in_flight: int
) -> Iterator[Any]:
    waiting = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        futures = deque(pool.submit(function, item) for item in islice(waiting, in_flight))
        while futures:
            yield futures.popleft().result()
            for item in islice(waiting, 1):
                futures.append(pool.submit(function, item))


def _fills_up_before_it_takes(
    function: Callable[[Any], Any], items: Iterable[Any], workers: int, in_flight: int
) -> Any:
    futures: deque[Any] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            futures.append(pool.submit(function, item))
            if len(futures) == in_flight:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _with_threads(
    function: Callable[[Any], Any], items: Iterable[Any], workers: int, in_flight: int
) -> Any:
    from queue import Queue

    tasks: Queue[Any] = Queue()

    def work() -> None:
        while (task := tasks.get()) is not None:
            item, box = task
            box.put(function(item))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    boxes: deque[Queue[Any]] = deque()
    for item in items:
        boxes.append(Queue())
        tasks.put((item, boxes[-1]))
        if len(boxes) >= in_flight:
            yield boxes.popleft().get()
    yield from (box.get() for box in boxes)
    for _ in threads:
        tasks.put(None)


def _one_after_another(
    function: Callable[[Any], Any], items: Iterable[Any], workers: int, in_flight: int
) -> Any:
    yield from map(function, items)


def _as_they_finish(
    function: Callable[[Any], Any], items: Iterable[Any], workers: int, in_flight: int
) -> Any:
    from concurrent.futures import FIRST_COMPLETED, wait

    waiting = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(function, item) for item in islice(waiting, in_flight)}
        while futures:
            done, futures = wait(futures, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
            for item in islice(waiting, len(done)):
                futures.add(pool.submit(function, item))


def _submits_everything(
    function: Callable[[Any], Any], items: Iterable[Any], workers: int, in_flight: int
) -> Any:
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(function, items)


def _loses_what_is_in_flight(
    function: Callable[[Any], Any], items: Iterable[Any], workers: int, in_flight: int
) -> Any:
    futures: deque[Any] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            futures.append(pool.submit(function, item))
            if len(futures) == in_flight:
                yield futures.popleft().result()


def _in_whole_rounds(
    function: Callable[[Any], Any], items: Iterable[Any], workers: int, in_flight: int
) -> Any:
    waiting = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        while futures := [pool.submit(function, item) for item in islice(waiting, in_flight)]:
            yield [future.result() for future in futures]


def _drive(answer: Any, n: int, workers: int, in_flight: int) -> Any:
    read, ahead = 0, 0
    given: list[Any] = []
    second_is_done = threading.Event()

    def items() -> Iterator[int]:
        nonlocal read, ahead
        for item in range(n):
            read += 1
            ahead = max(ahead, read - len(given))
            yield item

    def function(item: int) -> int:
        # The first item ends after the second, which only a second worker can make happen.
        if item == 0 and n > 1 and workers > 1 and in_flight > 1:
            second_is_done.wait()
        if item == 1:
            second_is_done.set()
        return item * item

    for value in islice(answer(function, items(), workers, in_flight), n + 1):
        given.append(value)  # noqa: PERF402  # items() looks at it in between
    return {"values": given, "most in flight": ahead}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield from ((n, 1, 1) for n in range(3))
    yield from ((n, 2, 3) for n in range(1, 8))
    yield 20, 3, 4
    yield 20, 2, 8


EXERCISE = Exercise(
    level=2,
    reference=parallel_map,
    alternatives=(_fills_up_before_it_takes, _with_threads),
    mistakes=(
        _one_after_another,
        _as_they_finish,
        _submits_everything,
        _loses_what_is_in_flight,
        _in_whole_rounds,
    ),
    cases=_cases,
    drive=_drive,
    oracle=lambda n, workers, in_flight: {"values": [item * item for item in range(n)]},
    same=lambda expected, got: bool(expected["values"] == got["values"]),
    properties={
        "all": lambda case, got: len(got["values"]) == case[0],
        # One more may have been read, to see whether there is one.
        "bounded": lambda case, got: got["most in flight"] <= case[2] + 1,
    },
)
