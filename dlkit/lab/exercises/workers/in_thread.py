"""An exception in another thread has to reach the one who waits."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def in_thread(function: Callable[[], Any]) -> Any:
    box: dict[str, Any] = {}

    def work() -> None:
        try:
            box["result"] = function()
        except BaseException as error:
            box["error"] = error

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if "error" in box:
        raise box["error"]
    return box["result"]


def _with_a_future(function: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def _with_a_queue(function: Callable[[], Any]) -> Any:
    from queue import Queue

    answers: Queue[Any] = Queue()

    def work() -> None:
        try:
            answers.put((function(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    result, error = answers.get()
    if error is not None:
        raise error
    return result


def _loses_the_error(function: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0] if results else None


def _returns_the_error(function: Callable[[], Any]) -> Any:
    results: list[Any] = []

    def work() -> None:
        try:
            results.append(function())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return results[0]


def _raises_another_type(function: Callable[[], Any]) -> Any:
    try:
        return in_thread(function)
    except BaseException as error:
        raise RuntimeError(str(error)) from None


def _raises_without_the_traceback(function: Callable[[], Any]) -> Any:
    try:
        return in_thread(function)
    except BaseException as error:
        raise type(error)(*error.args) from None


def _uses_no_thread(function: Callable[[], Any]) -> Any:
    return function()


def _expects_a_true_result(function: Callable[[], Any]) -> Any:
    result = None
    try:
        result = in_thread(function)
    except BaseException as error:
        failure = error
    if not result:
        raise failure
    return result


class _Stop(BaseException):
    pass


def _drive(answer: Any, kind: str, message: str) -> Any:
    import traceback

    where = []

    def the_function() -> Any:
        where.append(threading.get_ident())
        errors: dict[str, Any] = {"ValueError": ValueError, "KeyError": KeyError, "Stop": _Stop}
        if kind in errors:
            raise errors[kind](message)
        return None if kind == "None" else message

    seen: dict[str, Any] = {"returned": None, "raised": "", "traceback": True}
    threading.excepthook = lambda _: None
    try:
        seen["returned"] = answer(the_function)
    except NotImplementedError:
        raise
    except BaseException as error:
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        seen["raised"] = f"{type(error).__name__}{error.args}".replace("_Stop", "Stop")
        seen["traceback"] = "the_function" in names
    seen["calls"] = len(where)
    seen["other thread"] = threading.get_ident() not in where
    return seen


def _oracle(kind: str, message: str) -> Any:
    raised = "" if kind in ("value", "None") else f"{kind}{(message,)}"
    returned = message if kind == "value" else None
    return {
        "returned": returned,
        "raised": raised,
        "traceback": True,
        "calls": 1,
        "other thread": True,
    }


def _cases(rng: random.Random) -> Iterator[Case]:
    for kind in ("value", "None", "ValueError", "KeyError", "Stop"):
        yield kind, "abc"


EXERCISE = Exercise(
    level=1,
    reference=in_thread,
    alternatives=(_with_a_future, _with_a_queue),
    mistakes=(
        _loses_the_error,
        _returns_the_error,
        _raises_another_type,
        _raises_without_the_traceback,
        _uses_no_thread,
        _expects_a_true_result,
    ),
    cases=_cases,
    drive=_drive,
    oracle=_oracle,
    properties={
        "thread": lambda case, got: got["other thread"],
        "once": lambda case, got: got["calls"] == 1,
        "raises": lambda case, got: (got["raised"] != "") == (case[0] not in ("value", "None")),
        "type": lambda case, got: got["raised"].split("(")[0] == case[0] or not got["raised"],
        "traceback": lambda case, got: got["traceback"],
    },
)
