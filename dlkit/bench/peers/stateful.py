"""torchdata's StatefulDataLoader.

https://docs.pytorch.org/data/0.11/torchdata.stateful_dataloader.html: a drop-in for PyTorch's.
"""

from collections.abc import Iterable
from typing import Any

from torchdata.stateful_dataloader import StatefulDataLoader

from dlkit.bench.peers.pytorch import settings
from dlkit.bench.works import Work


def loader(work: Work) -> Iterable[Any]:
    """Return the loader with PyTorch's arguments."""
    made: Iterable[Any] = StatefulDataLoader(work.samples(), **settings(work))
    return made
