"""Where batches are fetched, behind one small interface.

Every way of working takes the tasks of a pass, in order, and gives back their batches:

    inline       the calling process fetches each batch when it is asked for
    threads      threads of this process fetch ahead
    processes    worker processes fetch ahead, into slots of shared memory

Read `interface`, then `ahead` (tasks in flight, results in order) and `worker` (what a worker
does); then `threads`, or `processes` with `remote` and `child` (both ends of one process),
`sending` (what it gets when it starts), `parcel` and `shared_memory` (how a batch comes back) and
`lifeline` (how processes end together). `start` chooses among them, `info` tells a dataset in which
worker it is, `pinned` pins beside the training loop, and `traced` notes what workers do.
`clockwork` and `simulated` are workers that only count time.
"""

from dlkit.workers.ahead import Ahead
from dlkit.workers.inline import Inline
from dlkit.workers.interface import Fetch, Pool, Position, Result, Sizes
from dlkit.workers.start import start_pool

__all__ = ["Ahead", "Fetch", "Inline", "Pool", "Position", "Result", "Sizes", "start_pool"]
