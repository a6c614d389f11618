"""What a loader and its workers say to each other: submit a task, take the next result, close.

`threads` and `processes` are such pools, and `Ahead` is what uses them. Fetching `inline` needs no
pool: it is `map(fetch, tasks)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

# A task says what one batch is made of: indices of a map-style dataset, one index where nothing is
# batched, or the number of samples to take from an iterable one (None: a single sample).
Task = Any
Fetch = Callable[[Task], Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What a worker answers to one task.

    Attributes:
        worker: its number, from 0.
        number: which task of the pass it was, from 0.
        get: returns the batch, or raises what the dataset or `collate_fn` raised.
        ended: whether the worker's share of an iterable dataset has come to its end instead.
        of_pass: which pass of the pool it belongs to, from 1.
        nbytes: how large the batch is, where the pool counts that.
    """

    worker: int
    number: int
    get: Callable[[], Any]
    ended: bool = False
    of_pass: int = 0
    nbytes: int = 0


@dataclass(frozen=True, slots=True)
class Position:
    """Where a worker begins in an iterable dataset.

    Attributes:
        state: what the dataset's `load_state_dict` is given first; None at the beginning.
        skip: batches to read and throw away after that.
    """

    state: Any = None
    skip: int = 0


@dataclass(slots=True)
class Sizes:
    """What the batches of a pool take.

    Attributes:
        largest: bytes of the largest batch so far, or of the slot that holds it.
        kept: batches that may stay in each worker's memory after they were delivered.
    """

    largest: int = 0
    kept: int = 0


class Pool(Protocol):
    """Workers that fetch batches beside the thread that asks for them."""

    size: int
    sizes: Sizes
    running: int  # number of the pass that was begun last; 0 before the first

    def begin(self, positions: list[Position]) -> None:
        """Begin a pass; what was submitted before will not be taken any more."""
        ...

    def submit(self, worker: int, number: int, task: Task) -> None:
        """Give a worker one more task; it works through its tasks in their order."""
        ...

    def take(self) -> Result:
        """Wait for the next result of any worker.

        Raises:
            WorkerTimeoutError: if none comes for the loader's `timeout`.
            WorkerDiedError: if a worker has died and may not be replaced.
        """
        ...

    def cancel(self) -> None:
        """Let a `take` that waits in another thread raise."""
        ...

    def close(self) -> None:
        """End all workers, and wait until they have ended."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the workers are gone, by `close` or by themselves."""
        ...
