"""Fetching in worker processes, by PyTorch's own machinery.

dlkit's samplers draw the tasks, `torch.utils.data.DataLoader` runs the workers: their order, seeds,
`worker_init_fn`, time-outs and errors are PyTorch's.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import data as torch_data

from dlkit.fetch import for_collate
from dlkit.workers.interface import Task

if TYPE_CHECKING:
    from dlkit.loader import DataLoader


class TorchProcesses:
    """Runs the tasks of one pass after another in PyTorch's worker processes.

    Args:
        loader: whose dataset is read, with its settings for workers.
    """

    def __init__(self, loader: "DataLoader[Any]") -> None:
        self._loader = loader
        self._tasks = _Tasks()
        self._persistent: torch_data.DataLoader[Any] | None = None
        self.keep_seed: Tensor | None = None  # of workers that live on, which are seeded once

    def run(self, tasks: Iterator[Task], seed_state: Tensor) -> Iterator[Any]:
        """Start the workers on the tasks at once, and yield the batches."""
        self._tasks.now = (_as_list(task) for task in tasks)
        # Not `or`: the truth of a DataLoader is its length, which the tasks do not have.
        inner = self._inner(seed_state) if self._persistent is None else self._persistent
        if self._loader.persistent_workers:
            self._persistent, self.keep_seed = inner, seed_state
        batches = iter(inner)  # asks for its tasks at once
        del self._tasks.now  # a generator would keep the loader from being pickled
        return batches

    def _inner(self, seed_state: Tensor) -> torch_data.DataLoader[Any]:
        loader = self._loader
        if loader.is_iterable:
            order: dict[str, Any] = {"batch_size": loader.batch_size, "drop_last": loader.drop_last}
        elif loader.batch_sampler is not None:
            order = {"batch_sampler": self._tasks}
        else:
            order = {"batch_size": None, "sampler": self._tasks}
        # The inner loader draws the workers' base seed itself: from where ours was drawn.
        generator = torch.Generator()
        generator.set_state(seed_state)
        return torch_data.DataLoader(
            loader.dataset,
            collate_fn=_CollateSamples(loader.collate_fn),
            num_workers=loader.num_workers,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=generator,
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=loader.persistent_workers,
            in_order=loader.in_order,
            **order,
        )


class _Tasks:
    """A sampler over the tasks of the pass that is about to run."""

    now: Iterator[Task] = iter(())

    def __iter__(self) -> Iterator[Task]:
        return self.now


class _CollateSamples:
    """Calls a `collate_fn` in a worker with what it expects there; can be pickled."""

    def __init__(self, collate_fn: Callable[[Any], Any]) -> None:
        self._collate_fn = collate_fn

    def __call__(self, samples: Any) -> Any:
        return self._collate_fn(for_collate(samples, self._collate_fn))


def _as_list(task: Task) -> Task:
    return task.tolist() if isinstance(task, np.ndarray) else task
