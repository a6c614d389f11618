"""How each loader does the work, as its own documentation advises; each module names its source.

A peer is a function from a `Work` to something that is iterated once for each pass. It raises
`NotMadeForIt` where its documentation has no such use.
"""

import importlib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dlkit.bench.works import Work


class NotMadeForIt(Exception):  # noqa: N818  # an answer, not an error
    """A loader that is not meant for this kind of work; the message says why."""


@dataclass(frozen=True)
class Peer:
    """A loader.

    Attributes:
        name: what it is called in tables.
        package: what must be installed, as it is imported.
        module: the module of this package that uses it.
        function: the function there that makes the loader.
    """

    name: str
    package: str
    module: str
    function: str = "loader"

    @property
    def installed(self) -> bool:
        """Whether its package is there."""
        try:
            return importlib.util.find_spec(self.package) is not None
        except ModuleNotFoundError:  # of the package that this one would be a part of
            return False

    def make(self, work: Work) -> Iterable[Any]:
        """Import the package, and return the loader for a work.

        Raises:
            NotMadeForIt: if the loader is not meant for it.
        """
        module = importlib.import_module(f"dlkit.bench.peers.{self.module}")
        loader: Iterable[Any] = getattr(module, self.function)(work)
        return loader


_PEERS = (
    Peer("torch DataLoader", "torch", "pytorch"),  # the baseline
    Peer("dlkit processes", "dlkit", "ours", "processes"),
    Peer("dlkit threads", "dlkit", "ours", "threads"),
    Peer("StatefulDataLoader", "torchdata.stateful_dataloader", "stateful"),
    Peer("torchdata nodes", "torchdata.nodes", "nodes"),
    Peer("SPDL", "spdl.pipeline", "spdl"),
    Peer("grain", "grain", "grain"),
    Peer("webdataset", "webdataset", "webdataset"),
    Peer("litdata", "litdata", "litdata"),
    Peer("mosaicml-streaming", "streaming", "mosaicml"),
    Peer("Hugging Face datasets", "datasets", "huggingface"),
)
PEERS = {peer.name: peer for peer in _PEERS}
