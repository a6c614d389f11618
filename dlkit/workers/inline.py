"""Fetching in the calling process: no worker, no copy, no waiting in parallel."""

from collections.abc import Iterator
from typing import Any

from dlkit.workers.interface import Fetch, Task


class Inline:
    """Fetches a batch when it is asked for, in the process and thread that ask.

    Args:
        fetch: from a task to its batch.

    Example:
        >>> list(Inline(sum).run(iter([[1, 2], [3, 4]])))
        [3, 7]
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    def run(self, tasks: Iterator[Task]) -> Iterator[Any]:
        """Yield the batch of each task; nothing is drawn or fetched ahead."""
        return map(self._fetch, tasks)
