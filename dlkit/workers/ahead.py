"""Running ahead of the user: tasks in flight, results in order.

    tasks --submit--> workers 0, 1, 0, 1, ...  --take--> early ones wait --> results in order

`Ahead.__next__` is the whole of it. The number of batches in flight never changes: for each batch
that is handed out, one more task goes in.
"""

import itertools
from collections.abc import Iterator

from dlkit.failures import WorkerDiedError
from dlkit.workers.interface import Pool, Position, Result, Task


class Ahead:
    """Keeps a pool of workers busy with the tasks of one pass, and yields their results.

    Task t goes to worker t modulo the number of workers, as in PyTorch: which worker, and so which
    random numbers, a sample meets does not depend on how fast they are.

    Args:
        pool: the workers; closed at the end of the pass unless `persistent`.
        tasks: what to fetch. The first `limit` are drawn and submitted at once.
        limit: how many batches may be in flight.
        in_order: whether a batch that is ready early waits for its turn.
        persistent: whether the pool lives on after the pass.
        positions: where each worker begins in an iterable dataset.
        turn: the worker that gets the first task.
    """

    def __init__(
        self,
        pool: Pool,
        tasks: Iterator[Task],
        *,
        limit: int,
        in_order: bool = True,
        persistent: bool = False,
        positions: list[Position] | None = None,
        turn: int = 0,
    ) -> None:
        if limit < 1:
            raise ValueError("prefetch_factor must be 1 or more to fetch in workers, but got 0")
        self._pool = pool
        self._tasks = tasks
        self._limit = limit
        self._in_order = in_order
        self._persistent = persistent
        self._submitted = 0  # number of the next task
        self._turn = 0  # number of the task whose batch is due
        self._owner: dict[int, int] = {}  # of each task in flight: its worker
        self._early: dict[int, Result] = {}  # results before their turn
        self._active = set(range(pool.size))
        self._cycle: Iterator[int] = itertools.cycle([*range(turn, pool.size), *range(turn)])
        pool.begin(positions or [Position()] * pool.size)
        self._pass = pool.running
        for _ in range(limit):
            self._submit()

    def __iter__(self) -> Iterator[Result]:
        return self

    def __next__(self) -> Result:
        result = self._next_result()
        self._submit()
        return result

    def _next_result(self) -> Result:
        while True:
            while self._in_order and self._turn < self._submitted:
                if self._turn in self._early:
                    self._turn += 1
                    return self._early.pop(self._turn - 1)
                if self._turn in self._owner:
                    break
                self._turn += 1  # its worker ended before it
            if not self._owner:
                self.close()
                raise StopIteration
            if self._pool.running != self._pass:
                raise WorkerDiedError(
                    "this pass has ended, because a newer one uses its workers: with "
                    "persistent_workers=True there can be only one at a time"
                )
            result = self._pool.take()
            if result.ended:
                self._end_of(result.worker)
                continue
            del self._owner[result.number]
            if not self._in_order:
                return result
            self._early[result.number] = result

    def _submit(self) -> None:
        """Give the next task to the worker whose turn it is."""
        worker = self._next_in_cycle()
        if worker is None:
            return
        task = next(self._tasks, _NO_TASK)
        if task is _NO_TASK:
            return
        self._pool.submit(worker, self._submitted, task)
        self._owner[self._submitted] = worker
        self._submitted += 1

    def _next_in_cycle(self) -> int | None:
        for worker in itertools.islice(self._cycle, self._pool.size):
            if worker not in self._active:
                continue
            # Out of order, a slow worker is passed over rather than waited for.
            share = max(self._limit // len(self._active), 1)
            if self._in_order or sum(o == worker for o in self._owner.values()) < share:
                return worker
        return None

    def _end_of(self, worker: int) -> None:
        """Its part of the dataset is read: forget its tasks, and give it no more."""
        if worker not in self._active:
            return
        self._active.discard(worker)
        self._owner = {n: owner for n, owner in self._owner.items() if owner != worker}
        self._submit()

    @property
    def next_worker(self) -> int:
        """The worker whose batch is due next: where a resumed pass has to go on."""
        for number in range(self._turn, self._submitted if self._in_order else 0):
            if number in self._early:
                return self._early[number].worker
            if number in self._owner:
                return self._owner[number]
        return 0

    def close(self) -> None:
        """End the workers, unless they are to be used again."""
        if not self._persistent:
            self._pool.close()


_NO_TASK = object()
