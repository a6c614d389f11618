"""Wait for a batch, but neither for a dead worker nor for longer than the timeout."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from queue import Empty
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def wait_for_batch(
    get: Callable[[float], Any], is_alive: Callable[[], bool], timeout: float
) -> Any:
    left = timeout
    while True:
        alive = is_alive()
        wait = min(1.0, left) if alive else 0.0
        try:
            return get(wait)
        except Empty:
            left -= wait
        if not alive:
            raise RuntimeError("the worker died")
        if left <= 0:
            raise TimeoutError(f"no batch within {timeout} s")


def _in_equal_slices(get: Any, is_alive: Any, timeout: float) -> Any:
    slices = max(1, -int(-timeout // 1))
    for _ in range(slices):
        try:
            return get(timeout / slices)
        except Empty:
            if not is_alive():
                try:
                    return get(0)
                except Empty:
                    raise RuntimeError("dead") from None
    raise TimeoutError


def _in_short_slices(get: Any, is_alive: Any, timeout: float) -> Any:
    waited = 0.0
    while waited < timeout:
        alive = is_alive()
        slice_ = min(0.25, timeout - waited)
        try:
            return get(slice_)
        except Empty:
            waited += slice_
        if not alive:
            raise RuntimeError("dead")
    raise TimeoutError


def _waits_in_one_go(get: Any, is_alive: Any, timeout: float) -> Any:
    try:
        return get(timeout)
    except Empty:
        pass
    if not is_alive():
        raise RuntimeError("dead")
    raise TimeoutError


def _gives_up_before_it_looks(get: Any, is_alive: Any, timeout: float) -> Any:
    left = timeout
    while left > 0:
        if not is_alive():
            raise RuntimeError("dead")
        try:
            return get(min(1.0, left))
        except Empty:
            left -= 1.0
    raise TimeoutError


def _never_gives_up(get: Any, is_alive: Any, timeout: float) -> Any:
    while True:
        alive = is_alive()
        try:
            return get(min(1.0, timeout))
        except Empty:
            if not alive:
                raise RuntimeError("dead") from None


def _waits_too_long(get: Any, is_alive: Any, timeout: float) -> Any:
    waited = 0.0
    while waited < timeout:
        alive = is_alive()
        try:
            return get(1.0)
        except Empty:
            waited += 1.0
        if not alive:
            raise RuntimeError("dead")
    raise TimeoutError


def _lets_empty_through(get: Any, is_alive: Any, timeout: float) -> Any:
    return get(timeout)


def _drive(answer: Any, arrives: float, dies: float, timeout: float) -> Any:
    clock, calls = 0.0, 0

    def get(seconds: float) -> str:
        nonlocal clock, calls
        calls += 1
        if calls > 400:
            raise KeyboardInterrupt("400 calls of get and no end")
        # The batch is there, or comes while we wait; a dead worker sends nothing more.
        if arrives <= clock + seconds and arrives <= dies:
            clock = max(clock, arrives)
            return "the batch"
        clock += seconds
        raise Empty

    result: str
    try:
        result = answer(get, lambda: clock < dies, timeout)
    except NotImplementedError:
        raise
    except (RuntimeError, TimeoutError, Empty) as error:
        result = type(error).__name__
    return {"result": result, "after seconds": round(clock, 6)}


NEVER = 1000.0


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 0.0, NEVER, 5.0
    yield NEVER, NEVER, 5.0
    yield 0.0, 0.0, 5.0
    yield 2.5, NEVER, 5.0
    yield NEVER, 0.0, 5.0
    yield NEVER, NEVER, 2.5
    yield NEVER, 1.5, 20.0
    yield 1.5, 1.6, 20.0
    for _ in range(15):
        yield rng.uniform(0, 12), rng.uniform(0, 12), rng.randrange(1, 10) + 0.5


def _allowed(case: Case, got: Any) -> bool:
    arrives, dies, timeout = case
    end = got["after seconds"]
    if got["result"] == "the batch":
        return bool(arrives <= min(dies, timeout) + 1e-6)
    if got["result"] == "RuntimeError":
        return bool(dies <= min(timeout, end) and arrives > dies)
    # A death just before the end may go unseen until then.
    return bool(got["result"] == "TimeoutError" and min(arrives, dies + 1) > timeout - 1e-6)


EXERCISE = Exercise(
    level=2,
    reference=wait_for_batch,
    alternatives=(_in_equal_slices, _in_short_slices),
    mistakes=(
        _waits_in_one_go,
        _gives_up_before_it_looks,
        _never_gives_up,
        _waits_too_long,
        _lets_empty_through,
    ),
    cases=_cases,
    drive=_drive,
    properties={
        "in_time": lambda case, got: got["after seconds"] <= case[2] + 1e-6,
        "notices_death": lambda case, got: (
            got["result"] == "the batch" or got["after seconds"] <= case[1] + 1 + 1e-6
        ),
        "allowed": _allowed,
    },
)
