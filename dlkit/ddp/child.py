"""The inside of a rank that `launch` has started: a process that runs one function.

parent --function, arguments--> run() --outcome--> parent
`--- what it prints, line by line ---^
"""

import contextlib
import faulthandler
import multiprocessing.process
import multiprocessing.util
import os
import pickle
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle
import torch
from torch import Tensor

from dlkit.cores import allowed_cores
from dlkit.ddp.errors import MissingRankError, is_consequence
from dlkit.ddp.group import process_group
from dlkit.failures import Failure
from dlkit.structure import map_structure
from dlkit.workers.lifeline import die_with


@dataclass(frozen=True)
class Task:
    """What every rank is told.

    Attributes:
        pickled: the function and its arguments.
        environ: of the parent, with the address at which the ranks meet.
        world_size: how many ranks there are.
        device: see `process_group`.
        timeout: seconds for each operation between ranks.
    """

    pickled: bytes
    environ: Mapping[str, str]
    world_size: int
    device: str
    timeout: float


@dataclass(frozen=True)
class Outcome:
    """How a rank ended.

    Attributes:
        value: the pickled result, if it returned one.
        failure: what it raised, if it did.
        consequence: whether that only says that another rank has failed, and not which.
        at: when, on the clock that all processes of a machine share; seconds.
    """

    value: bytes | None
    failure: Failure | None = None
    consequence: bool = False
    at: float = 0.0


def run(
    rank: int, task: Task, results: Connection, output: tuple[Any, Any], lifeline: socket.socket
) -> None:
    """Be a rank: run the function, send back what came of it, and end.

    Args:
        rank: from 0.
        task: what to do.
        results: where the outcome goes.
        output: connections for what is printed, and for errors.
        lifeline: closed when the parent is gone.
    """
    # Ctrl-C reaches all processes of a terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(lifeline)
    _print_into(output)
    # A rank may have worker processes of its own, which multiprocessing forbids daemons.
    multiprocessing.process.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    os.environ.clear()
    os.environ.update(task.environ)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    # All ranks share the cores; with all threads each, they would only get in each other's way.
    torch.set_num_threads(max(1, allowed_cores() // task.world_size))
    try:
        outcome = Outcome(_result(task))
    except BaseException as error:
        failure = Failure.of(error, f"rank {rank}")
        # A missing rank has been found out already; "connection closed" waits for its cause.
        unexplained = is_consequence(error) and not isinstance(error, MissingRankError)
        outcome = Outcome(None, failure, unexplained, time.monotonic())
    with contextlib.suppress(OSError):  # the parent has given up
        results.send_bytes(pickle.dumps(outcome))
    _leave(0 if outcome.failure is None else 1)


def _result(task: Task) -> bytes:
    function, arguments = pickle.loads(task.pickled)
    with process_group(task.device, timeout=task.timeout):
        value = function(*arguments)
    # Only now, with the process group closed, is it certain that nothing of the run has failed.
    return bytes(cloudpickle.dumps(map_structure(_to_host, value)))


def _to_host(part: Any) -> Any:
    # A tensor on a GPU would come back onto that GPU, in the parent, which may not want one.
    return part.cpu() if isinstance(part, Tensor) else part


def _print_into(output: tuple[Any, Any]) -> None:
    """Let everything that this process prints, native code too, go to the parent."""
    if sys.platform == "win32":
        return
    for connection, stream, descriptor in zip(
        output, (sys.stdout, sys.stderr), (1, 2), strict=True
    ):
        stream.flush()
        os.dup2(connection.fileno(), descriptor)
        connection.close()
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", closefd=False)
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True)


def _leave(status: int) -> None:
    """End this process, its own workers first, without the interpreter's shutdown.

    What happens there can only do harm: the outcome has been sent, and a thread of gloo that wants
    the GIL then would abort the process.
    """
    with contextlib.suppress(Exception):
        multiprocessing.util._exit_function()  # type: ignore[attr-defined]
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
