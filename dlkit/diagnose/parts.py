"""A loader taken apart: what it reads and collates with, and the tasks that workers would get."""

from collections.abc import Callable
from itertools import islice
from typing import Any

from torch.utils import data as torch_data

from dlkit.collate import default_collate
from dlkit.datasets.base import samples_reader
from dlkit.datasets.combine import vectorised
from dlkit.datasets.tensors import TensorDataset
from dlkit.fetch import for_collate
from dlkit.loader import DataLoader

TASKS = 64  # batches whose indices are drawn from the loader, and read at most once


class Parts:
    """What a loader fetches and collates with, and the tasks that it would give its workers.

    Attributes:
        tasks: lists of indices, or of None for a stream, which sets its own order.
        batch_size: samples of a full batch.
        read: from a task to its samples.
        one_by_one: from an index to its sample; None where a batch is read by one call.
        collate: from samples to a batch.
    """

    def __init__(
        self,
        tasks: list[Any],
        batch_size: int,
        read: Callable[[Any], Any],
        one_by_one: Callable[[Any], Any] | None,
        collate: Callable[[Any], Any],
    ) -> None:
        self.tasks = tasks
        self.batch_size = batch_size
        self.read = read
        self.one_by_one = one_by_one
        self.collate = collate

    @classmethod
    def of(cls, loader: Any) -> "Parts":
        """Take a loader apart."""
        ours = isinstance(loader, DataLoader)
        if isinstance(loader.dataset, torch_data.IterableDataset):
            return cls._of_stream(loader)
        batched = loader.batch_sampler is not None
        order = loader.batch_sampler if batched else loader.sampler
        tasks = [list(task) if batched else [task] for task in islice(iter(order), TASKS)]
        if not tasks or not tasks[0]:
            raise ValueError("loader must have at least one batch, but its dataset is empty")
        dataset = vectorised(loader.dataset) if ours else loader.dataset
        collate = loader.collate_fn if batched else lambda samples: loader.collate_fn(samples[0])
        if ours and type(dataset) is TensorDataset and loader.collate_fn is default_collate:
            # The rows of the tensors are the batch: there is nothing to collate.
            return cls(tasks, len(tasks[0]), dataset.read_columns, None, lambda columns: columns)
        whole = batched and bool(getattr(dataset, "__getitems__", None))
        one_by_one = None if whole else dataset.__getitem__
        read = samples_reader(dataset)
        return cls(
            tasks,
            len(tasks[0]),
            read,
            one_by_one,
            lambda samples: collate(for_collate(samples, loader.collate_fn)),
        )

    @classmethod
    def _of_stream(cls, loader: Any) -> "Parts":
        size = loader.batch_size or 1
        samples = iter(loader.dataset)
        batched = loader.batch_size is not None
        collate = loader.collate_fn if batched else lambda samples: loader.collate_fn(samples[0])
        return cls(
            [[None] * size] * TASKS,
            size,
            lambda task: list(islice(samples, len(task))),
            lambda _: next(samples),
            collate,
        )
