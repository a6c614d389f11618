"""Fetching in the calling process: no worker, no copy, no waiting in parallel."""

from collections.abc import Iterator
from typing import Any

from dlkit.trace.recorder import UNTRACED, Untraced
from dlkit.workers.interface import Fetch, Task


class Inline:
    """Fetches a batch when it is asked for, in the process and thread that ask.

    Args:
        fetch: from a task to its batch.
        recorder: notes when, where that is traced.

    Example:
        >>> list(Inline(sum).run(iter([[1, 2], [3, 4]])))
        [3, 7]
    """

    def __init__(self, fetch: Fetch, recorder: Untraced = UNTRACED) -> None:
        self._fetch = fetch
        self._recorder = recorder

    def run(self, tasks: Iterator[Task]) -> Iterator[Any]:
        """Yield the batch of each task; nothing is drawn or fetched ahead."""
        return self._recorder.run(self._fetch, tasks)
