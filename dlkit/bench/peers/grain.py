"""grain's datasets.

https://google-grain.readthedocs.io/en/latest/data_loader/transformations.html and the docstrings of
`MapDataset.to_iter_dataset` and `ReadOptions`: threads that read ahead, none for what lies in
memory.
"""

from collections.abc import Iterable
from typing import Any

import grain
from torch.utils.data import default_collate

from dlkit.bench.works import Work


class loader:  # noqa: N801  # made like the functions of the other peers
    """A dataset with a new seed for each pass."""

    def __init__(self, work: Work) -> None:
        self.work, self.passes = work, 0
        self.source = grain.MapDataset.source(work.samples())

    def __iter__(self) -> Any:
        self.passes += 1
        work, dataset = self.work, self.source
        if work.shuffle:
            dataset = dataset.shuffle(seed=self.passes)
        options = grain.ReadOptions(
            num_threads=work.workers, prefetch_buffer_size=4 if work.workers else 0
        )
        batches: Iterable[Any] = dataset.batch(
            work.batch_size, batch_fn=work.collate or default_collate
        ).to_iter_dataset(options)
        return iter(batches)
