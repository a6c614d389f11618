"""The last steps of a worker's result to the user."""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from dlkit.workers import Result


class Label(NamedTuple):
    """Which worker a result is of, and which task of the pass it answers."""

    worker: int
    number: int


class Delivery:
    """The results of workers on their last steps to the user.

    It knows nothing of the iterator, which would otherwise be part of a reference cycle: leaving
    the loop early must end the workers at once, not at some later garbage collection. Nor does it
    keep the results, whose batches take memory for as long as anybody refers to them.

    Attributes:
        waiting: results that were taken from the workers, and not delivered yet.
        newest: the one that was delivered last.
    """

    def __init__(self) -> None:
        self.waiting: deque[Label] = deque()
        self.newest: Label | None = None

    def arrived(self, result: Result) -> Callable[[], Any]:
        """Take a result from a worker; return the function that gives its batch out."""
        self.waiting.append(Label(result.worker, result.number))
        return result.get

    def deliver(self, get: Callable[[], Any]) -> Any:
        """Give out the batch that has waited longest."""
        self.newest = self.waiting.popleft()
        return get()
