"""Fetching in threads of this process.

Threads share the dataset and the batches: nothing is copied, nothing is pickled, and starting one
takes no time. They run at once as far as the work releases the GIL, as decoding images and
NumPy's and PyTorch's functions do, or wholly where there is no such lock (free-threaded Python).
"""

import os
import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from dlkit.failures import WorkerDiedError, WorkerTimeoutError, raiser, stop_message, twin
from dlkit.memory import Target, keep_freed_memory
from dlkit.structure import count_bytes
from dlkit.workers.info import set_thread_info, worker_info
from dlkit.workers.interface import Position, Result, Sizes, Task
from dlkit.workers.shared_memory import Ring
from dlkit.workers.traced import thread_fetcher
from dlkit.workers.worker import Fetcher, WorkerSetup, own_generators

_starting = threading.Lock()
_STOP = object()
KEPT = 8  # batches of one thread that may lie in memory that is used again
_PATIENCE = 5.0  # seconds for the samples at hand; threads that hang can only be left behind


class Threads:
    """A pool of threads, each with a queue of tasks of its own and one queue for all results.

    Args:
        setup: what the workers do.
        timeout: seconds that `take` waits; 0 waits for ever.
    """

    def __init__(self, setup: WorkerSetup, timeout: float = 0) -> None:
        self.size = setup.size
        self.sizes = Sizes(kept=KEPT + KEPT // 4)  # a grown slot has a quarter to spare
        self._timeout = timeout
        self.running = 0
        self._newest = [0]  # the running pass, as its workers see it
        self._results: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
        self._tasks: list[queue.SimpleQueue[Any]] = []
        self._stopping = threading.Event()
        self._owner = os.getpid()
        self._threads: list[threading.Thread] = []
        keep_freed_memory()
        ready = threading.Barrier(setup.size + 1)
        # torch.set_num_threads in a thread changes what new threads begin with, so it is put right
        # again, and nobody else may start workers in between.
        with _starting:
            width = torch.get_num_threads()
            try:
                for number in range(setup.size):
                    self._start(setup, number, ready)
                ready.wait()
            except BaseException:  # the system gives no more threads, or Ctrl-C
                ready.abort()
                for thread in self._threads:
                    thread.join()
                raise
            finally:
                torch.set_num_threads(width)
        self._finalizer = weakref.finalize(self, _close, self._tasks, self._threads, self._stopping)

    def _start(self, setup: WorkerSetup, number: int, ready: threading.Barrier) -> None:
        tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        thread = threading.Thread(
            target=_work,
            args=(setup, number, tasks, self._results, self._stopping, ready, self._newest),
            name=f"dlkit worker {number}",
            daemon=True,
        )
        thread.start()
        self._tasks.append(tasks)
        self._threads.append(thread)

    def begin(self, positions: list[Position]) -> None:
        """Begin a pass; what was submitted before will not be taken any more."""
        self.running = self._newest[0] = self.running + 1
        for tasks, position in zip(self._tasks, positions, strict=True):
            tasks.put((self.running, None, position))

    def submit(self, worker: int, number: int, task: Task) -> None:
        """Put a task into a worker's queue."""
        self._tasks[worker].put((self.running, number, task))

    def take(self) -> Result:
        """Wait for the next result of any worker."""
        while True:
            if self.closed:
                raise WorkerDiedError("the workers of this pass have been closed")
            try:
                result = self._results.get(timeout=self._timeout or None)
            except queue.Empty:
                raise WorkerTimeoutError(stop_message(self._timeout)) from None
            if result is not None and result.of_pass == self.running:
                self.sizes.largest = max(self.sizes.largest, result.nbytes)
                return result

    def cancel(self) -> None:
        """Let a `take` that waits in another thread raise."""
        self._stopping.set()
        self._results.put(None)

    def close(self) -> None:
        """Let each thread finish the batch it is at, and wait for that."""
        self._finalizer()

    @property
    def closed(self) -> bool:
        """Whether the workers are gone; a forked process has none of its parent's threads."""
        return self._stopping.is_set() or os.getpid() != self._owner


def _work(
    setup: WorkerSetup,
    number: int,
    tasks: "queue.SimpleQueue[Any]",
    results: "queue.SimpleQueue[Result | None]",
    stopping: threading.Event,
    ready: threading.Barrier,
    newest: list[int],
) -> None:
    # Several threads that each wake all of OpenMP's would only fight for the cores. Asking comes
    # first, because what a thread sets before PyTorch has prepared it is forgotten.
    torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ready.wait()
    except threading.BrokenBarrierError:  # the others could not be started
        return
    seed, rng = own_generators(setup, number)
    set_thread_info(worker_info(number, setup.size, seed, setup.dataset, rng))
    memory = _Memory()
    fetcher = thread_fetcher(setup, number, memory.target.writing)
    started: BaseException | None = None
    try:
        if setup.init_fn is not None:
            setup.init_fn(number)
    except BaseException as error:
        started = error
    current, ended = 0, False
    while (message := tasks.get()) is not _STOP:
        of_pass, task_number, task = message
        if task_number is None:
            current, ended = of_pass, False
            fetcher.begin(task, of_pass)
        elif not stopping.is_set():
            due = (current, task_number, task)
            over = ended or of_pass != newest[0]  # or its pass was left early
            result = _ended(number, due) if over else _result(fetcher, memory, due, number, started)
            ended = result.ended
            results.put(result)
            del result  # the batch is the user's now, and is freed when they let it go
    set_thread_info(None)


class _Memory:
    """What the batches of a thread are written into, used again when the user has let go of it."""

    def __init__(self) -> None:
        self.target = Target()
        self._ring = Ring(lambda nbytes: (np.empty(nbytes, dtype=np.uint8), ""), may_watch=KEPT)

    def make(self, fetch: Callable[[], Any]) -> Any:
        """Return what `fetch` returns, lying over memory of the ring where there is any."""
        slot, arena = self._ring.begin()
        base = weakref.ref(arena.base)
        self.target.memory = arena
        try:
            return fetch()
        finally:
            self._ring.want(arena.needed)
            self.target.memory = None
            del arena
            self._ring.give_up(slot, base)


def _result(
    fetcher: Fetcher,
    memory: _Memory,
    message: tuple[int, int, Task],
    worker: int,
    started: BaseException | None,
) -> Result:
    of_pass, number, task = message
    try:
        if started is not None:
            # Not itself: this thread keeps it, and what is raised keeps the frames of the thread
            # that gets it, so that the pool in them would never be freed.
            raise twin(started)
        batch = memory.make(lambda: fetcher.fetch(task, number))
        nbytes = count_bytes(batch)
    except StopIteration:
        return _ended(worker, message)
    except BaseException as error:
        # Also SystemExit and the like: a thread cannot end its process, and must not end silently.
        note = f"raised in thread worker {worker}"
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
        return Result(worker, number, raiser(error), of_pass=of_pass)
    return Result(worker, number, lambda: batch, of_pass=of_pass, nbytes=nbytes)


def _ended(worker: int, message: tuple[int, int, Task]) -> Result:
    of_pass, number, _ = message
    return Result(worker, number, lambda: None, True, of_pass)


def _close(
    tasks: list["queue.SimpleQueue[Any]"],
    threads: list[threading.Thread],
    stopping: threading.Event,
) -> None:
    stopping.set()
    for queue_of_worker in tasks:
        queue_of_worker.put(_STOP)
    deadline = time.monotonic() + _PATIENCE
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
