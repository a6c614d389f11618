"""Read ahead in a thread that ends when nobody reads any more."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator
from queue import Full, Queue
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def background(items: Iterable[Any], size: int) -> Iterator[Any]:
    queue: Queue[tuple[str, Any]] = Queue(size)
    stopped = threading.Event()

    def put(message: tuple[str, Any]) -> None:
        while not stopped.is_set():
            try:
                queue.put(message, timeout=0.05)
            except Full:
                continue
            return

    def work() -> None:
        try:
            for item in items:
                put(("item", item))
                if stopped.is_set():
                    return
            put(("end", None))
        except BaseException as error:
            put(("error", error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (message := queue.get())[0] == "item":
            yield message[1]
        if message[0] == "error":
            raise message[1]
    finally:
        stopped.set()
        thread.join()


def _with_a_condition(items: Iterable[Any], size: int) -> Any:
    held: list[Any] = []
    change = threading.Condition()
    state: dict[str, Any] = {"stop": False, "end": False, "error": None}

    def work() -> None:
        try:
            for item in items:
                with change:
                    change.wait_for(lambda: len(held) < size or state["stop"])
                    if state["stop"]:
                        return
                    held.append(item)
                    change.notify_all()
        except BaseException as error:
            state["error"] = error
        finally:
            with change:
                state["end"] = True
                change.notify_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while True:
            with change:
                change.wait_for(lambda: held or state["end"])
                if not held:
                    break
                item = held.pop(0)
                change.notify_all()
            yield item
        if state["error"]:
            raise state["error"]
    finally:
        with change:
            state["stop"] = True
            change.notify_all()
        thread.join()


def _with_permits(items: Iterable[Any], size: int) -> Any:
    permits, ready, held = threading.Semaphore(size), threading.Semaphore(0), []
    stopped = False

    def work() -> None:
        try:
            for item in items:
                permits.acquire()
                if stopped:
                    return
                held.append((True, item))
                ready.release()
            held.append((False, None))
        except BaseException as error:
            held.append((False, error))
        ready.release()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while True:
            ready.acquire()
            more, item = held.pop(0)
            if not more:
                break
            permits.release()
            yield item
        if item is not None:
            raise item
    finally:
        stopped = True
        permits.release()
        thread.join()


def _leaves_the_thread_behind(items: Iterable[Any], size: int) -> Any:
    queue: Queue[Any] = Queue(size)

    def work() -> None:
        try:
            for item in items:
                queue.put((True, item))
            queue.put((False, None))
        except BaseException as error:
            queue.put((False, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while (message := queue.get())[0]:
        yield message[1]
    thread.join()
    if message[1] is not None:
        raise message[1]


def _reads_everything(items: Iterable[Any], size: int) -> Any:
    return background(items, 10**6)


def _takes_an_error_for_the_end(items: Iterable[Any], size: int) -> Any:
    def without_error() -> Iterator[Any]:
        try:
            yield from items
        except Exception:
            return

    return background(without_error(), size)


def _joins_a_thread_that_cannot_end(items: Iterable[Any], size: int) -> Any:
    queue: Queue[Any] = Queue(size)

    def work() -> None:
        try:
            for item in items:
                queue.put((True, item))
            queue.put((False, None))
        except BaseException as error:
            queue.put((False, error))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while (message := queue.get())[0]:
            yield message[1]
        if message[1] is not None:
            raise message[1]
    finally:
        thread.join()


def _uses_no_thread(items: Iterable[Any], size: int) -> Any:
    yield from items


def _drive(answer: Any, n: int, size: int, taken: int, fails: bool) -> Any:
    read, ahead, readers = 0, 0, set()

    def items() -> Iterator[int]:
        nonlocal read, ahead
        for item in range(n):
            readers.add(threading.get_ident())
            read += 1
            ahead = max(ahead, read - len(given))
            yield item
        if fails:
            raise ValueError("no more")

    given: list[int] = []
    before, raised = set(threading.enumerate()), ""
    reader = answer(items(), size)
    try:
        for item in reader:
            given.append(item)
            if len(given) == taken:
                break
    except ValueError as error:
        raised = str(error)
    reader.close()
    return {
        "given": given,
        "raised": raised,
        "threads left": len(set(threading.enumerate()) - before),
        "most read ahead": ahead,
        "own thread": threading.get_ident() not in readers,
    }


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 1, 2, 9, False
    yield 5, 2, 9, False
    yield 3, 2, 9, True
    yield 30, 2, 9, False
    yield 30, 4, 1, False


def _oracle(n: int, size: int, taken: int, fails: bool) -> Any:
    return {"given": list(range(min(n, taken))), "raised": "no more" if fails else ""}


EXERCISE = Exercise(
    level=3,
    reference=background,
    alternatives=(_with_a_condition, _with_permits),
    mistakes=(
        _leaves_the_thread_behind,
        _reads_everything,
        _takes_an_error_for_the_end,
        _joins_a_thread_that_cannot_end,
        _uses_no_thread,
    ),
    cases=_cases,
    drive=_drive,
    oracle=_oracle,
    same=lambda expected, got: all(got[key] == expected[key] for key in expected),
    properties={
        "thread": lambda case, got: got["own thread"],
        "error": lambda case, got: (got["raised"] != "") == case[3],
        # The queue's places, one item in the reader's hand, and one in the consumer's.
        "bounded": lambda case, got: got["most read ahead"] <= case[1] + 2,
        "clean": lambda case, got: got["threads left"] == 0,
    },
)
