"""Fetching in worker processes: the main process's side.

    submit --RemoteWorker--> dlkit.workers.child.work --RemoteWorker--> take

The connections of all workers are watched together, so `take` sleeps until there is a result or a
worker is gone, whichever is first.
"""

import math
import multiprocessing
import os
import selectors
import time
import weakref
from collections import deque
from typing import Any

from dlkit.failures import WorkerDiedError, WorkerTimeoutError, death_notice, stop_message
from dlkit.workers.interface import Position, Result, Sizes, Task
from dlkit.workers.remote import HELD, RemoteWorker
from dlkit.workers.sending import Sent, preload
from dlkit.workers.worker import WorkerSetup

_LOOK_ROUND = 0.1  # seconds between looks at workers that say nothing
_PATIENCE = 5.0  # seconds that a worker gets to finish the sample at hand


class Processes:
    """A pool of worker processes.

    Args:
        setup: what the workers do.
        context: the start method, as a `multiprocessing` context; None for Python's default.
        timeout: seconds that `take` waits; 0 waits for ever.
        restarts: how many workers may be replaced in one pass.
        ahead: how many tasks each worker may have at a time.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        context: Any = None,
        timeout: float = 0,
        restarts: int = 0,
        ahead: int = 2,
    ) -> None:
        self.size = setup.size
        self.sizes = Sizes(kept=HELD + 1)  # and the one that is being handed over
        self._context = context or multiprocessing.get_context()
        self._setup = Sent(setup)
        self._timeout = timeout
        self._restarts = self._restarts_left = restarts
        self.running = 0
        self._inbox: deque[Result] = deque()
        self._selector = selectors.DefaultSelector()
        self._workers: list[RemoteWorker] = []
        self._died: str | None = None
        self._owner = os.getpid()
        self._finalizer = weakref.finalize(self, _close, self._workers, self._selector, self._owner)
        preload(self._context)
        try:
            for number in range(setup.size):
                self._start(RemoteWorker(number, ahead))
        except BaseException:
            self.close()
            raise

    def begin(self, positions: list[Position]) -> None:
        """Begin a pass; what was submitted before will not be taken any more."""
        self.running += 1
        self._restarts_left = self._restarts
        self._inbox.clear()
        for worker, position in zip(self._workers, positions, strict=True):
            worker.begin(self.running, position)

    def submit(self, worker: int, number: int, task: Task) -> None:
        """Send a task to a worker, or keep it here while it has enough of them."""
        if self._died is None:  # else what has arrived is still handed out, and then `take` says so
            self._workers[worker].submit(number, task)

    def take(self) -> Result:
        """Wait for the next result of any worker."""
        deadline = time.monotonic() + self._timeout if self._timeout else math.inf
        while not self._inbox:
            if self._died is not None:
                raise WorkerDiedError(self._died)
            wait = min(deadline - time.monotonic(), _LOOK_ROUND)
            ready = self._selector.select(wait) if wait > 0 else []
            for key, _ in ready:
                if self._died is None:
                    self._receive(key.data)
            if not ready:
                self._look_round()
                if time.monotonic() >= deadline and self._died is None:
                    raise WorkerTimeoutError(stop_message(self._timeout))
        return self._inbox.popleft()

    def cancel(self) -> None:
        """Let a `take` that waits in another thread raise, within a tenth of a second."""
        self._died = self._died or "the workers of this pass have been closed"

    def close(self) -> None:
        """End all workers: each finishes the sample it is at, and is killed if that takes long."""
        self.cancel()
        self._finalizer()

    @property
    def closed(self) -> bool:
        """Whether the workers are gone; to a forked process its parent's do not answer."""
        return self._died is not None or os.getpid() != self._owner

    @property
    def shared_bytes(self) -> int:
        """Bytes of shared memory in the slots of all workers."""
        return sum(worker.slots.nbytes for worker in self._workers)

    @property
    def pids(self) -> list[int]:
        """The process numbers of the workers."""
        return [worker.pid for worker in self._workers]

    def _receive(self, worker: RemoteWorker) -> None:
        """Read what a worker has sent; if it has died, replace it or say so."""
        try:
            answers = worker.receive()
        except OSError as error:
            self._died = (
                f"a batch of DataLoader worker {worker.number} could not be received: {error}; "
                "its slot needs an open file for a moment (`ulimit -n` raises their number)"
            )
            self.close()
            return
        if answers is None:
            self._lost(worker)
            return
        self.sizes.largest = max(self.sizes.largest, worker.slots.largest)
        for of_pass, number, kind, batch in answers:
            if of_pass == self.running:
                self._inbox.append(worker.result(of_pass, number, kind, batch))

    def _look_round(self) -> None:
        """Find workers that died without closing their connection: a child of theirs has it too."""
        for worker in self._workers:
            if self._died is None and not worker.is_alive():
                self._lost(worker)

    def _start(self, worker: RemoteWorker) -> None:
        worker.start(self._context, self._setup)
        if worker.number == len(self._workers):
            self._workers.append(worker)
        self._selector.register(worker.connection, selectors.EVENT_READ, worker)

    def _lost(self, worker: RemoteWorker) -> None:
        """A worker is gone: start another one on its tasks, or end them all."""
        self._selector.unregister(worker.connection)
        notice = death_notice(worker.number, worker.pid, worker.reap())
        if self._restarts_left == 0:
            if self._restarts:
                notice += f" (restart_workers={self._restarts} others had died before it)"
            self._died = notice
            self.close()
            return
        self._restarts_left -= 1
        try:
            self._start(worker)
        except Exception as error:
            self._died = f"{notice}; starting another one failed: {error!r}"
            self.close()
            return
        worker.begin_again()


def _close(workers: list[RemoteWorker], selector: selectors.BaseSelector, owner: int) -> None:
    """End the processes, in the process that has started them."""
    if os.getpid() != owner:
        return
    selector.close()
    for worker in workers:
        worker.connection.close()
    deadline = time.monotonic() + _PATIENCE
    for worker in workers:
        worker.end(deadline)
