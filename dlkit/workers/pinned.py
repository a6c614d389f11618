"""Pinning batches in a thread, so that the copy does not hold up the training step.

pool.take --> pin_memory, in a thread --> take
"""

import queue
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from dlkit.device import pin_memory
from dlkit.failures import is_fatal, raiser
from dlkit.fetch import on_batch
from dlkit.trace.recorder import Recorder
from dlkit.workers.interface import Pool, Position, Result, Task

Raise = Callable[[], Any]


class Pinned:
    """A pool whose batches arrive in pinned memory.

    Args:
        pool: where the batches come from. From now on only the pinning thread takes from it.
        recorder: notes when batches are pinned; None where nothing is traced.
    """

    def __init__(self, pool: Pool, recorder: Recorder | None = None) -> None:
        self.pool = pool
        self.size, self.sizes = pool.size, pool.sizes
        self.running = 0
        # One ticket for each task that was submitted, with the number of its pass: the thread never
        # waits without reason, and so a time-out means what it says.
        self._tickets: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Result | Raise] = queue.SimpleQueue()
        pin = _pinned if recorder is None else partial(_pinned_and_noted, recorder)
        thread = threading.Thread(
            target=_pin,
            args=(pool, self._tickets, self._results, pin),
            name="dlkit pin",
            daemon=True,
        )
        self._finalizer = weakref.finalize(self, _close, pool, self._tickets, thread)
        thread.start()

    def begin(self, positions: list[Position]) -> None:
        """Begin a pass; what was submitted before will not be taken any more."""
        self.running += 1
        self.pool.begin(positions)

    def submit(self, worker: int, number: int, task: Task) -> None:
        """Give a worker one more task."""
        self.pool.submit(worker, number, task)
        self._tickets.put(self.running)

    def take(self) -> Result:
        """Wait for the next result, pinned."""
        while True:
            result = self._results.get()
            if not isinstance(result, Result):
                self._tickets.put(self.running)  # whoever asks again is answered again
                result()
            elif result.of_pass == self.running:
                return result

    def cancel(self) -> None:
        """Let a `take` that waits in another thread raise."""
        self.pool.cancel()

    def close(self) -> None:
        """End the thread and the pool."""
        self._finalizer()

    @property
    def closed(self) -> bool:
        """Whether the workers are gone."""
        return self.pool.closed


def _pin(
    pool: Pool,
    tickets: "queue.SimpleQueue[int | None]",
    results: "queue.SimpleQueue[Result | Raise]",
    pin: Callable[[Result], Result],
) -> None:
    newest, due = 0, 0  # pass of the last result, and how many of its results are still to come
    while (of_pass := tickets.get()) is not None:
        if of_pass < pool.running:
            continue  # that pass was left early, and its results are not taken any more
        if of_pass > newest:
            newest, due = of_pass, 0
        due += 1
        if due <= 0:
            continue  # its result came while this waited for one of the pass before
        try:
            result = pool.take()
        except BaseException as error:
            due -= 1
            if not is_fatal(error):
                error.add_note("raised in the thread that pins batches")
            results.put(raiser(error))
            continue
        if result.of_pass > newest:
            newest, due = result.of_pass, 0
        due -= 1
        results.put(result if result.ended else pin(result))
        del result  # the batch is the user's now, and is freed when they let it go


def _pinned(result: Result) -> Result:
    """Pin the batch of a result; what goes wrong there is raised when the batch is asked for."""
    try:
        batch = on_batch(pin_memory)(result.get())
    except BaseException as error:
        return replace(result, get=raiser(error))
    return replace(result, get=lambda: batch)


def _pinned_and_noted(recorder: Recorder, result: Result) -> Result:
    recorder.key = recorder.epoch + result.number
    return recorder.timed("transfer", _pinned)(result)  # type: ignore[no-any-return]


def _close(pool: Pool, tickets: "queue.SimpleQueue[int | None]", thread: threading.Thread) -> None:
    pool.cancel()
    tickets.put(None)
    thread.join()
    pool.close()
