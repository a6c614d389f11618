"""What happens in the child: run answers on cases, and send back what was seen.

The case is unpickled anew for every answer, so that none sees what another changed.
"""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import random
import sys
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle
import numpy as np
import torch

from dlkit.lab.exercises.outcome import FINAL, Outcome
from dlkit.lab.exercises.values import plain, same

KEPT_CHARACTERS = 4000
LARGEST_RESULT = 32 << 20


class Printed(io.TextIOBase):
    """Keeps the beginning of what is printed, and counts the rest."""

    def __init__(self) -> None:
        self.start, self.size = "", 0

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, text: str) -> int:
        """Keep as much of a text as there is room for."""
        self.start += text[: max(0, KEPT_CHARACTERS - len(self.start))]
        self.size += len(text)
        return len(text)


def serve(connection: Connection) -> None:
    """Run one job that arrives over a connection, then wait to be ended."""
    connection.send_bytes(pickle.dumps(os.getpid()))
    job = pickle.loads(connection.recv_bytes())
    sys.path[:] = job["path"]
    if os.path.isdir(job["folder"]):
        os.chdir(job["folder"])
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    for number, answer in job["answers"]:
        for position, outcome in _outcomes(answer, job):
            connection.send_bytes(pickle.dumps((number, position, outcome)))
            if outcome.kind in FINAL:
                break
    connection.send_bytes(pickle.dumps(None))
    connection.recv_bytes()  # the parent ends the whole group; until then its number stays taken


def _outcomes(pickled: bytes, job: dict[str, Any]) -> Iterator[tuple[int, Outcome]]:
    try:
        answer = cloudpickle.loads(pickled)
        drive = cloudpickle.loads(job["drive"])
    except BaseException as error:
        yield 0, Outcome("unpicklable", text=f"{type(error).__name__}: {error}")
        return
    for position, case in enumerate(job["cases"]):
        yield position, observe(answer, case, drive, job["mutates"])


def observe(
    answer: Callable[..., Any],
    case: bytes,
    drive: Callable[..., Any] | None = None,
    mutates: bool = False,
) -> Outcome:
    """Run an answer on one case.

    Args:
        answer: What the learner wrote.
        case: The pickled arguments.
        drive: Calls the answer and returns what is observed; None to call the answer itself.
        mutates: Whether the arguments may be changed.

    Returns:
        What happened.
    """
    arguments, printed = pickle.loads(case), Printed()
    # An answer that draws from a global generator draws the same numbers in every run.
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  # it is the answer that may use the old generator
    torch.manual_seed(0)
    before = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = printed
    try:
        result = _call(answer, arguments, drive)
    finally:
        sys.stdout, sys.stderr = before
    if result.kind == "value" and not mutates and not same(pickle.loads(case), arguments):
        result = Outcome("mutated", plain(arguments))
    return dataclasses.replace(result, printed=printed.start, printed_bytes=printed.size)


def _call(answer: Callable[..., Any], arguments: Any, drive: Any) -> Outcome:
    try:
        got = drive(answer, *arguments) if drive else answer(*arguments)
        if isinstance(got, Iterator):
            return Outcome("iterator")
        value = plain(got)
        if len(pickle.dumps(value)) > LARGEST_RESULT:
            return Outcome("memory", text=f"the result is larger than {LARGEST_RESULT >> 20} MiB")
        return Outcome("value", value)
    except MemoryError:
        return Outcome("memory")
    except SystemExit as error:
        return Outcome("exit", text=f"sys.exit({error.code!r})")
    except BaseException as error:
        if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
            return Outcome("memory")
        kinds = [kind.__name__ for kind in type(error).__mro__]
        return Outcome("raised", kinds, _own_lines(error))


def _own_lines(error: BaseException) -> str:
    """The error, with the lines of the answer that lead to it and none of ours."""
    last = "".join(traceback.format_exception_only(error)).strip()[-600:]
    frames = [f for f in traceback.extract_tb(error.__traceback__)[-12:] if f.line]
    own = [f for f in frames if f"{os.sep}exercises{os.sep}" not in f.filename]
    return "\n".join([last, *(f"  line {f.lineno}: {f.line}" for f in own[-2:])])
