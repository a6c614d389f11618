"""dlkit's DataLoader, on the very datasets that PyTorch's is given.

Where the package has more to offer, its documentation advises that: `pad_collate` for sequences,
and `open_dataset` for records, which reads a whole batch at once.
"""

from collections.abc import Iterable
from typing import Any

import dlkit
from dlkit.bench.peers import NotMadeForIt
from dlkit.bench.peers.pytorch import settings
from dlkit.bench.works import Work
from dlkit.storage import convert, open_dataset


def processes(work: Work) -> Iterable[Any]:
    """Return dlkit's loader with worker processes."""
    return dlkit.DataLoader(_samples(work), **settings(work))


def threads(work: Work) -> Iterable[Any]:
    """Return dlkit's loader with worker threads."""
    if not work.workers:
        raise NotMadeForIt("without workers it is the same as with processes")
    return dlkit.DataLoader(_samples(work), worker_method="thread", **settings(work))


def _samples(work: Work) -> Any:
    if work.name != "file":
        return work.samples()
    path = work.folder / "dlkit.memmap"
    if not path.exists():
        convert(work.samples(), path, "memmap", progress=False)
    return open_dataset(path)
