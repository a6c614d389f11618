"""What every way of working offers to the loader."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from torch import Tensor

# A task says what one batch is made of: indices of a map-style dataset, one index where nothing is
# batched, or the number of samples to take from an iterable one (None: a single sample).
Task = Any
Fetch = Callable[[Task], Any]


class Workers(Protocol):
    """Turns tasks into batches."""

    def run(self, tasks: Iterator[Task], seed_state: Tensor) -> Iterator[Any]:
        """Yield the batch of each task, in the order of the tasks.

        Args:
            tasks: what to fetch; it may be drawn from ahead of what has been yielded.
            seed_state: state of the generator from which the workers' base seed is drawn.
        """
        ...
