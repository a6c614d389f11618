"""A fork server for ranks alone, which has imported what every rank needs before it forks one.

    launch --first rank--> server: import torch, torchmetrics, ... --fork--> rank 0
           --next rank-----------------------------------------------fork--> rank 1

Python has one fork server for a whole process, and whoever starts it decides what it imports: that
of a loader knows nothing of ranks, and each rank would then import for seconds. This one differs in
nothing else: it ends with this process, and if it has died the next rank starts a new one.
"""

import io
import os
from multiprocessing import context, forkserver, popen_forkserver, reduction, spawn, util
from typing import Any

# The metrics, which take longer than PyTorch, and what the first optimizer asks for.
NEEDED = ("dlkit.workers.child", "dlkit.ddp.child", "torchmetrics.classification", "torch._dynamo")

_server = forkserver.ForkServer()
_server.set_forkserver_preload(["__main__", *NEEDED])


class _Popen(popen_forkserver.Popen):
    """Asks our server for a process instead of Python's."""

    _fds: list[int]

    def _launch(self, process_obj: Any) -> None:
        # As in the class above, which always asks the server of the whole process.
        pickled = io.BytesIO()
        preparation = spawn.get_preparation_data(process_obj.name)
        context.set_spawning_popen(self)
        try:
            reduction.dump(preparation, pickled)
            reduction.dump(process_obj, pickled)
        finally:
            context.set_spawning_popen(None)
        self.sentinel, data = _server.connect_to_new_process(self._fds)
        kept = os.dup(data)  # its closing tells the rank that this process is gone
        close: Any = util.close_fds  # type: ignore[attr-defined]  # unknown to the checker
        self.finalizer = util.Finalize(self, close, (kept, self.sentinel))
        with open(data, "wb") as pipe:
            pipe.write(pickled.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


class _RankProcess(context.ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802  # multiprocessing's name
        return _Popen(process_obj)


class RankContext(context.ForkServerContext):
    """Multiprocessing's way to start a process, by the server of this module."""

    Process = _RankProcess
