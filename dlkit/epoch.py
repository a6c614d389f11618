"""How far one pass over the data has come: what was delivered, and what brings a loader back there.

The count is of batches that the user got, never of those that workers have fetched ahead.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch

from dlkit.failures import SampleError
from dlkit.samplers.foreign import Replayed
from dlkit.workers import Position


class Epoch:
    """The state of one pass. It outlives the iterator, which may hold worker processes.

    Args:
        order: the resumable order of the tasks; None for an iterable dataset.
        seed_state: the state of the generator from which the workers' base seed is drawn.
        saved: the state of a pass to continue.
    """

    def __init__(self, order: Any, seed_state: torch.Tensor, saved: dict[str, Any] | None) -> None:
        self.order = order
        self.seed_state = seed_state
        self.batches = 0  # delivered, without a gap
        self.early: set[int] = set()  # numbers of batches that were delivered before their turn
        self.tasks: deque[Any] = deque()  # drawn; the first is the one that `batches` counts next
        self.last_task: Any = None
        self.stream: Any = None  # an iterable dataset that is read here and can say where it stands
        self.stream_state: Any = None  # where it stood after the last batch, if it reads ahead
        self.shares: list[Share] | None = None  # what the workers have read of an iterable dataset
        self.turn = 0  # the worker whose share is next
        self.errors: list[SampleError] = []
        self.finished = False
        if saved is not None:
            self.batches = saved["batches"]
            self.early = set(saved["early"])

    @property
    def delivered(self) -> int:
        """Batches that the user got."""
        return self.batches + len(self.early)

    def count(self) -> None:
        """Count the batch whose turn it was."""
        self.batches += 1
        if self.tasks:
            self.last_task = self.tasks.popleft()

    def count_number(self, number: int) -> None:
        """Count batch `number` of the pass, whichever came before it."""
        self.last_task = self.tasks[number - self.batches]
        self.early.add(number)
        while self.batches in self.early:
            self.early.discard(self.batches)
            self.batches += 1
            if self.tasks:  # else it was delivered before this pass was saved, and is not drawn yet
                self.tasks.popleft()

    def remember(self, tasks: Iterator[Any]) -> Iterator[Any]:
        """Pass tasks on, noting which are in flight."""
        for task in tasks:
            self.tasks.append(task)
            yield task

    def remember_numbered(self, tasks: Iterator[Any], numbers: dict[int, int]) -> Iterator[Any]:
        """The same; leaves out what was delivered early, and notes the others' numbers."""
        done = frozenset(self.early)
        passed_on = 0
        for number, task in enumerate(tasks, self.batches):
            if number >= self.batches:
                self.tasks.append(task)
            if number not in done:
                numbers[passed_on] = number
                passed_on += 1
                yield task

    def state_dict(self) -> dict[str, Any]:
        """Return what brings a loader back to this point."""
        started = self.delivered > 0
        state: dict[str, Any] = {
            "batches": self.batches,
            "early": sorted(self.early),
            "seed_state": self.seed_state,
            "order": None,
            "stream": None,
            "shares": None,
        }
        # Workers have tasks before the first batch is delivered, and some samplers draw their order
        # when they are asked for an iterator: then it is drawn before anything has started.
        drawn = bool(self.tasks) or isinstance(self.order, Replayed)
        if (started or drawn) and self.order is not None:
            state["order"] = self.order.state_dict(self.batches)
        if started and self.stream is not None:
            ahead = self.stream_state
            state["stream"] = self.stream.state_dict() if ahead is None else ahead
        if started and self.shares is not None:
            state["turn"] = self.turn
            state["shares"] = [share.state_dict() for share in self.shares]
        return state


class Share:
    """What one worker has read of an iterable dataset, as far as it was delivered."""

    def __init__(self, position: Position) -> None:
        self.batches = position.skip  # since `state`
        self.state = position.state

    def count(self) -> None:
        """Count a batch."""
        self.batches += 1

    def came_to(self, state: Any) -> None:
        """Note where the dataset stood after the batch that was counted last."""
        self.state, self.batches = state, 0

    def state_dict(self) -> dict[str, Any]:
        """Return what brings a worker back to this point."""
        return {"state": self.state, "batches": self.batches}
