"""PyTorch's DataLoader: https://docs.pytorch.org/docs/stable/data.html."""

from collections.abc import Iterable
from typing import Any

from torch.utils.data import DataLoader

from dlkit.bench.works import Work


def settings(work: Work) -> dict[str, Any]:
    """Return the arguments that PyTorch's loader and those that copy it take."""
    return {
        "batch_size": work.batch_size,
        "shuffle": work.shuffle,
        "num_workers": work.workers,
        "collate_fn": work.collate,
        "persistent_workers": work.workers > 0,
    }


def loader(work: Work) -> Iterable[Any]:
    """Return PyTorch's loader, whose workers live on from pass to pass."""
    return DataLoader(work.samples(), **settings(work))
