"""What a worker does, in a process or in a thread: prepare itself, then one task after another.

WorkerSetup --> Fetcher.begin (a pass) --> Fetcher.fetch (a task) --> batch
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from dlkit.collate import default as collate_registry
from dlkit.datasets.base import has_state
from dlkit.fetch import iterable_fetcher, map_fetcher, read_again, skipping, with_state
from dlkit.trace.recorder import UNTRACED, Untraced
from dlkit.workers.info import WorkerRNG, numpy_seed
from dlkit.workers.interface import Position, Task

Writing = Callable[[Callable[[Any], Any]], Callable[[Any], Any]]


@dataclass(frozen=True)
class WorkerSetup:
    """All that a worker needs to know; it travels to a process once, when that starts.

    Attributes:
        dataset: what to read.
        collate_fn: from a list of samples to a batch.
        init_fn: the loader's `worker_init_fn`.
        iterable: whether the dataset is iterable-style.
        batched: whether a task is a list of indices rather than a single one.
        drop_last: whether an iterable dataset's last batch is left out if it is not full.
        error_limit: how many samples may fail and be left out; None raises the first error.
        base_seed: worker n is seeded with `base_seed + n`.
        size: number of workers.
        trace: what notes the spans of workers (see `traced`); None where nothing is traced.
        registry: the user's own rules of `register_collate`.
    """

    dataset: Any
    collate_fn: Callable[[Any], Any]
    init_fn: Callable[[int], None] | None
    iterable: bool
    batched: bool
    drop_last: bool
    error_limit: int | None
    base_seed: int
    size: int
    trace: Any = None
    registry: dict[type, Any] = field(default_factory=lambda: dict(collate_registry._registry))


class Fetcher:
    """Fetches the batches of one worker, pass after pass.

    Args:
        setup: what to fetch from.
        writing: wraps what makes a batch, so that it is written where the worker wants it.
        recorder: wraps the stages of a batch where they are traced.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        writing: Writing | None = None,
        recorder: Untraced = UNTRACED,
    ) -> None:
        self._setup = setup
        self._writing = writing
        self._recorder = recorder
        self._fetch: Callable[[Task], Any] | None = None

    def begin(self, position: Position, of_pass: int) -> None:
        """Begin a pass, at its start or where an iterable dataset had come to."""
        self._fetch = None
        self._position = position

    def fetch(self, task: Task, number: int) -> Any:
        """Return the batch of a task, which has this number in its pass.

        Raises:
            StopIteration: at the end of an iterable dataset.
        """
        if self._fetch is None:
            self._fetch = self._started(self._position, task)
        return self._fetch(task)

    def _started(self, position: Position, task: Task) -> Callable[[Task], Any]:
        """Make the fetching function of a pass, at its start or where another one had come to."""
        setup = self._setup
        limit = setup.error_limit
        if not setup.iterable:
            fetch = map_fetcher(
                setup.dataset, setup.collate_fn, setup.batched, self._writing, self._recorder
            )
            if limit is None:
                return fetch
            return skipping(fetch, setup.dataset, setup.collate_fn, setup.batched)
        if position.state is not None:
            setup.dataset.load_state_dict(position.state)
        fetch = iterable_fetcher(
            iter(self._recorder.dataset(setup.dataset)),
            setup.collate_fn,
            setup.drop_last,
            self._writing,
            limit,
            self._recorder,
        )
        read_again(fetch, task, position.skip)
        return with_state(fetch, setup.dataset) if has_state(setup.dataset) else fetch


def seed_globally(setup: WorkerSetup, number: int) -> int:
    """Seed the global generators of a worker process as PyTorch does, and return its seed."""
    seed = setup.base_seed + number
    random.seed(seed)
    torch.manual_seed(seed)
    np.random.seed(numpy_seed(setup.base_seed, number))  # noqa: NPY002
    return seed


def own_generators(setup: WorkerSetup, number: int) -> tuple[int, WorkerRNG]:
    """Return a thread worker's seed, and generators that draw what a process worker's would."""
    seed = setup.base_seed + number
    generator = torch.Generator()
    generator.manual_seed(seed)
    legacy = np.random.RandomState(numpy_seed(setup.base_seed, number))
    return seed, WorkerRNG(random.Random(seed), generator, legacy)
