"""One worker process, seen from the main process: its connection, its slots, its tasks.

submit --pickle--> socket --> the process --> socket --message, descriptors--> receive
"""

import contextlib
import errno
import os
import pickle
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

import cloudpickle

from dlkit.workers import child
from dlkit.workers.interface import Position, Result, Task
from dlkit.workers.lifeline import BUFFER, socket_pair
from dlkit.workers.parcel import unpack
from dlkit.workers.sending import Sent
from dlkit.workers.shared_memory import SlotViews

HELD = 4  # batches that a user may keep in the slots of one worker; more are copied
_AHEAD = 32  # tasks that may lie in a worker's socket; more wait here, so that nobody ever blocks


class RemoteWorker:
    """A worker process, started by `start` and, after it has died, once more.

    Args:
        number: from 0; it stays the same when the process is replaced.
        ahead: how many tasks it may have at a time, those of a pass that was left early included.
    """

    connection: socket.socket
    pid: int
    _process: BaseProcess
    _lifeline: socket.socket

    def __init__(self, number: int, ahead: int = _AHEAD) -> None:
        self.number = number
        self._limit = min(ahead, _AHEAD)
        self.slots = SlotViews(HELD)
        self._unread = bytearray()
        self._descriptors: deque[int] = deque()  # of new slots, in the order of their parcels
        self._sent: dict[int, Task] = {}  # tasks of this pass that the process has, in order
        self._waiting: deque[tuple[int | None, Any]] = deque()  # tasks for later; None: a new pass
        self._unanswered = 0  # tasks that the process has, also of earlier passes
        self._pass = (0, Position())
        self._answered = 0  # in this pass
        self._sending = threading.RLock()  # a thread that pins batches receives and sends, too

    def start(self, context: Any, setup: Sent) -> None:
        """Start the process, with a connection and a lifeline of its own."""
        self.slots = SlotViews(HELD)
        self._unread.clear()
        self._descriptors.clear()
        self.connection, theirs = socket_pair()
        self._lifeline, their_lifeline = socket_pair()
        self._process = context.Process(
            target=child.work,
            args=(self.number, theirs, their_lifeline, setup),
            name=f"dlkit worker {self.number}",
            daemon=True,
        )
        try:
            self._process.start()
        except BaseException:
            self.connection.close()
            self._lifeline.close()
            raise
        finally:
            # Closed here at once: only so does the end of the one process reach the other.
            theirs.close()
            their_lifeline.close()
        self.pid = self._process.pid or 0

    def begin(self, of_pass: int, position: Position) -> None:
        """Tell the process that a pass begins."""
        with self._sending:
            self._sent.clear()
            self._waiting.clear()
            self._pass = (of_pass, position)
            self._answered = 0
            self._waiting.append((None, self._pass))
            self._send_waiting()

    def begin_again(self) -> None:
        """Bring a new process to where the old one was."""
        of_pass, position = self._pass
        with self._sending:
            place = (of_pass, Position(position.state, position.skip + self._answered))
            tasks = [*self._sent.items(), *(w for w in self._waiting if w[0] is not None)]
            self._sent.clear()
            self._unanswered = 0
            self._waiting = deque([(None, place), *tasks])
            self._send_waiting()

    def submit(self, number: int, task: Task) -> None:
        """Send a task, unless enough of them are on their way."""
        with self._sending:
            self._waiting.append((number, task))
            self._send_waiting()

    def _send_waiting(self) -> None:
        while self._waiting and self._unanswered < self._limit:
            number, task = self._waiting.popleft()
            if number is None:
                self._send(task)
            else:
                self._send((number, task, self.slots.take_returned()))
                self._sent[number] = task
                self._unanswered += 1

    def _send(self, message: Any) -> None:
        try:
            data = pickle.dumps(message, protocol=5)
        except Exception:
            data = cloudpickle.dumps(message)  # indices of a class of a notebook or of a function
        # If it has died, the end of its connection is read next, and says so.
        with contextlib.suppress(ConnectionError):
            self.connection.sendall(data)

    def receive(self) -> list[Any] | None:
        """Return the answers that have come in; None if the process is gone.

        Raises:
            OSError: if the slot of a batch cannot be mapped, as with too many open files.
        """
        try:
            if hasattr(socket, "recv_fds"):
                data, descriptors, flags, _ = socket.recv_fds(self.connection, BUFFER, _AHEAD)
                self._descriptors.extend(descriptors)
                if flags & socket.MSG_CTRUNC:
                    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            else:
                data = self.connection.recv(BUFFER)
        except ConnectionError:
            return None
        if not data:
            return None
        self._unread += data
        answers = [self._read(message) for message in self._complete_messages()]
        with self._sending:
            self._unanswered -= len(answers)
            self._send_waiting()
        return answers

    def _complete_messages(self) -> list[bytes]:
        messages, start = [], 0
        header = child.HEADER
        while len(self._unread) >= start + header.size:
            (length,) = header.unpack_from(self._unread, start)
            end = start + header.size + length
            if len(self._unread) < end:
                break
            messages.append(bytes(self._unread[start + header.size : end]))
            start = end
        del self._unread[:start]
        return messages

    def _read(self, message: bytes) -> tuple[int, int, int, Callable[[], Any]]:
        """Take note of new and retired slots, and return the answer itself."""
        of_pass, number, kind, parcel, announced, retired = pickle.loads(message)
        if announced is not None:
            handle, nbytes = announced
            if isinstance(handle, int):
                handle = self._descriptors.popleft()
            self.slots.add(parcel.slot, handle, nbytes)
        self.slots.forget(retired)
        return of_pass, number, kind, _nothing if parcel is None else unpack(parcel, self.slots)

    def result(self, of_pass: int, number: int, kind: int, batch: Callable[[], Any]) -> Result:
        """Turn an answer of the running pass into a result, and send the next task."""
        with self._sending:
            if of_pass == self._pass[0]:  # else another pass was begun in this very moment
                del self._sent[number]
                self._answered += 1
        if kind == child.ERROR:
            return Result(self.number, number, lambda: _raise(batch), of_pass=of_pass)
        return Result(self.number, number, batch, kind == child.END, of_pass)

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    def reap(self) -> int | None:
        """Give up a process that has died, and return its exit code; None if it still runs."""
        self.connection.close()
        self._wait(time.monotonic() + 1.0)
        exit_code = self._process.exitcode
        self._let_go()
        return exit_code

    def end(self, deadline: float) -> None:
        """Wait for the process to end by itself, and kill it at the deadline (monotonic)."""
        self.connection.close()
        with contextlib.suppress(ValueError):  # it has been let go before
            self._wait(deadline)
        self._let_go()

    def _wait(self, deadline: float) -> None:
        # In short steps: a child of the process may still hold what would tell its end at once.
        while self._process.exitcode is None and (left := deadline - time.monotonic()) > 0:
            self._process.join(min(left, 0.05))

    def _let_go(self) -> None:
        """Close everything that belongs to the process."""
        with contextlib.suppress(ValueError):
            if self._process.exitcode is None:
                self._process.kill()
                self._process.join()
            self._process.close()
        self._lifeline.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())


def _raise(failure: Callable[[], Any]) -> Any:
    raise failure().error()


def _nothing() -> None:
    return None
