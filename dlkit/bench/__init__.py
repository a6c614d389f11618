"""The same work on dlkit's loader, PyTorch's, and those of other projects, side by side.

    works      what is loaded: five kinds of samples, as a user of PyTorch writes them
    peers      how each loader does that work, as its own documentation advises
    contest    a process for each loader, and their turns
    table      what came out: for a terminal, as JSON, as a picture

Loaders that are not installed are named and left out. See `dlkit bench --help`.
"""

from dlkit.bench.contest import Result, contest
from dlkit.bench.peers import PEERS
from dlkit.bench.works import WORKS, Work

__all__ = ["PEERS", "WORKS", "Result", "Work", "contest"]
