"""The parent's side: send answers to a child, wait with limits, and collect the outcomes.

A limit is on what the child did, not on the clock of a machine that others use too: so many
seconds of CPU time in one case, or no CPU time at all while every thread of it sleeps.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import cloudpickle
import psutil

from dlkit.lab.exercises.contract import Answer, Exercise
from dlkit.lab.exercises.outcome import FINAL, Outcome
from dlkit.lab.exercises.values import read_plain

IDLE_SECONDS = 1.5
WALL_SECONDS = 90.0
POLL_SECONDS = 0.1


class Zygote:
    """The process that children are forked from; started on first use."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._errors: IO[bytes] | None = None
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def start(self) -> None:
        """Start the process, unless it runs; it gets ready while the learner reads the task."""
        with self._lock:
            running = self._process is not None and self._process.poll() is None
            if running and self._owner == os.getpid():
                return
            self._control, theirs = socket.socketpair()
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
            self._owner = os.getpid()
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dlkit.lab.exercises.zygote", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=environment,
                start_new_session=True,  # an interrupt of the kernel is not for this process
            )
            theirs.close()

    def child(self) -> tuple[Connection, int]:
        """Fork a child and return the connection to it and its process id.

        Raises:
            RuntimeError: If the process cannot be started, with what it said.
        """
        for last_attempt in (False, True):
            self.start()
            ours, theirs = socket.socketpair()
            connection = Connection(ours.detach())
            try:
                with self._lock, theirs:
                    assert self._control is not None
                    socket.send_fds(self._control, [b"f"], [theirs.fileno()])
                return connection, int(pickle.loads(connection.recv_bytes()))
            except (EOFError, OSError):
                connection.close()
                said = self.stop()
                if last_attempt:
                    raise RuntimeError(f"the grading process did not start:\n{said}") from None
        raise AssertionError("unreachable")

    def stop(self) -> str:
        """End the process and return what it wrote to its standard error."""
        with self._lock:
            process, control, errors = self._process, self._control, self._errors
            self._process = self._control = self._errors = None
        if self._owner != os.getpid() or process is None or control is None or errors is None:
            return ""
        control.close()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with errors:
            errors.seek(0)
            return errors.read().decode(errors="replace")[-2000:]


ZYGOTE = Zygote()
atexit.register(ZYGOTE.stop)


def run(
    exercise: Exercise, answers: Sequence[Answer], positions: Sequence[int]
) -> list[list[Outcome]]:
    """Run answers on cases of an exercise in a child process.

    Args:
        exercise: Whose cases to run.
        positions: Which of its cases.
        answers: What learners wrote. One that ends its child, or has to be stopped, costs the
            others nothing but a new child.

    Returns:
        For each answer one outcome for each case; fewer if one of them was final, then the last.
    """
    job = {
        "cases": [cloudpickle.dumps(exercise.all_cases[position]) for position in positions],
        "drive": cloudpickle.dumps(exercise.drive),
        "mutates": exercise.mutates,
        "path": list(sys.path),
        "folder": os.getcwd(),
    }
    outcomes: list[list[Outcome]] = [[] for _ in answers]
    waiting: list[tuple[int, bytes]] = []
    for number, answer in enumerate(answers):
        try:
            waiting.append((number, cloudpickle.dumps(answer)))
        except Exception as error:
            outcomes[number] = [Outcome("unpicklable", text=f"{type(error).__name__}: {error}")]
    while waiting:
        _run_in_one_child({**job, "answers": waiting}, outcomes, exercise)
        waiting = [(number, answer) for number, answer in waiting if not outcomes[number]]
    return outcomes


def _run_in_one_child(
    job: dict[str, Any], outcomes: list[list[Outcome]], exercise: Exercise
) -> None:
    """Run until all is done or the child is lost; then the answer that lost it is told so."""
    connection, pid = ZYGOTE.child()
    number = job["answers"][0][0]
    order = [n for n, _ in job["answers"]]
    later = dict(itertools.pairwise(order))
    try:
        connection.send_bytes(pickle.dumps(job))
        while True:
            if failure := _wait(connection, pid, exercise.seconds):
                outcomes[number].append(failure)
                return
            try:
                message = read_plain(connection.recv_bytes())
            except Exception:  # the end of the stream, or what no answer should write to it
                outcomes[number].append(Outcome("died"))
                return
            if message is None:
                return
            number, _, outcome = message
            outcomes[number].append(outcome)
            if outcome.kind in FINAL or len(outcomes[number]) == len(job["cases"]):
                number = later.get(number, number)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        connection.close()


def _wait(connection: Connection, pid: int, cpu_seconds: float) -> Outcome | None:
    """Wait for the next message; return why there will be none when the child must be ended."""
    if connection.poll(2 * POLL_SECONDS):
        return None
    start = last_progress = time.monotonic()
    first = last = _cpu_seconds(pid)[0]
    while not connection.poll(POLL_SECONDS):
        now = time.monotonic()
        used, asleep = _cpu_seconds(pid)
        if used - first > cpu_seconds:
            return Outcome("timeout", text=f"{cpu_seconds:g} s")
        if used > last or not asleep:
            last, last_progress = used, now
        if now - last_progress > IDLE_SECONDS:
            return Outcome("stuck")
        if now - start > WALL_SECONDS:
            return Outcome("timeout", text=f"{WALL_SECONDS:g} s")
    return None


def _cpu_seconds(pid: int) -> tuple[float, bool]:
    """CPU time of a child and its own children so far, and whether all their threads sleep."""
    used, asleep = 0.0, True
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                used += times.user + times.system
                asleep = asleep and _sleeps(process)
    return used, asleep


def _sleeps(process: psutil.Process) -> bool:
    """Whether every thread waits: on a busy machine one that wants to run is not stuck."""
    tasks = Path(f"/proc/{process.pid}/task")
    if not tasks.is_dir():
        return process.status() in (psutil.STATUS_SLEEPING, psutil.STATUS_IDLE)
    states = []
    for stat in tasks.glob("*/stat"):
        with contextlib.suppress(OSError):
            states.append(stat.read_text().rpartition(")")[2].split()[0])
    return not {"R", "D"} & set(states)
