"""Where batches are fetched, behind one small interface.

Every way of working takes the tasks of an epoch, in order, and gives back their batches:

    tasks (arrays of indices) --> run --> batches

`inline` fetches each batch in the calling process at the moment it is asked for; `processes` hands
the tasks to worker processes that run ahead of the caller.
"""

from dlkit.workers.inline import Inline
from dlkit.workers.interface import Fetch, Workers
from dlkit.workers.processes import TorchProcesses

__all__ = ["Fetch", "Inline", "TorchProcesses", "Workers"]
