"""A loader to be watched: the user's settings in an object of our own, which notes what it does.

    the user's loader --copied, its samplers too--> private loader --> batches
                                                          +--> Trace

The user's loader is only read. The dataset is shared: it is read through something in front of it,
and where its transforms are timed, through a shallow copy that holds the timed ones.
"""

import contextlib
import copy
from typing import Any

from torch.utils import data as torch_data

from dlkit.diagnose.running import end_workers
from dlkit.diagnose.transforms import with_timed_transforms
from dlkit.diagnose.watching import TimedCollate, TimedOrder, TorchRecorder, WorkerStart, in_front
from dlkit.loader import DataLoader
from dlkit.loader_state import generators_of
from dlkit.trace import Trace
from dlkit.trace.recorder import Untraced, here
from dlkit.trace.spans import CODES, clock

_WAIT, _COMPUTE = CODES["wait"], CODES["compute"]


class PrivateLoader:
    """A copy of a loader that can be iterated over without the user's noticing.

    Args:
        loader: a `dlkit.DataLoader` or a `torch.utils.data.DataLoader`.
        trace: where its spans go.

    Attributes:
        loader: the copy.
    """

    def __init__(self, loader: Any, trace: Trace) -> None:
        self.trace = trace
        self.ours = isinstance(loader, DataLoader)
        self.loader = copied(loader)
        self.batches: Any = None
        self._over = False
        settings = self.loader.__dict__
        dataset, trace.parts = with_timed_transforms(loader.dataset)
        settings["dataset"] = dataset
        if self.ours:
            settings.update(trace=trace, _pool=None, _epoch=None, _resume=None, _sizes=None)
            trace.deliveries.computing = False  # a profile says when: see `note_compute`
        else:
            settings["_iterator"] = None
            self._watch_torch(settings, dataset)

    def _watch_torch(self, settings: dict[str, Any], dataset: Any) -> None:
        loader = self.loader
        self._rings = None
        if loader.num_workers:
            self._rings = self.trace.worker_rings(loader.num_workers)
            self._rings.belong_to(self)
            rings, shown = self._rings.rings, loader.dataset
            settings["worker_init_fn"] = WorkerStart(rings, shown, loader.worker_init_fn)
        batched = loader.batch_sampler is not None
        if not _is_datapipe(dataset):
            settings["dataset"] = in_front(dataset, batched)
        settings["collate_fn"] = TimedCollate(loader.collate_fn)
        order = "batch_sampler" if batched else "sampler"
        settings[order] = TimedOrder(settings[order], self.trace)

    @property
    def closed(self) -> bool:
        """Whether nobody writes into the rings any more."""
        return self._over

    def start(self) -> None:
        """Begin a pass."""
        if self.ours:
            self.batches = iter(self.loader)
            self._recorder = self.trace.recorder()
            return
        epoch = self.trace.begin()
        local = self.trace.recorder()
        self._recorder = local if self._rings is not None else TorchRecorder(local.ring, True, True)
        self._recorder.epoch = local.epoch
        here.recorder = self._recorder
        if self._rings is not None:
            self._rings.epochs[0] = epoch
        self._number = 0
        self.batches = iter(self.loader)

    def next(self) -> Any:
        """Return the next batch.

        Raises:
            StopIteration: at the end of the pass.
        """
        if self.ours:
            return next(self.batches)
        asked = clock()
        batch = next(self.batches)
        self._recorder.note(_WAIT, self._number, asked, clock())
        self._number += 1
        return batch

    def note_compute(self, start: int, end: int) -> None:
        """Note when the training step ran: not all that passes between two batches is training."""
        number = self.batches.number if self.ours else self._number - 1
        self._recorder.note(_COMPUTE, number, start, end)

    def pids(self) -> list[int]:
        """Return the numbers of the worker processes, by worker."""
        workers = getattr(self.batches, "_workers", None)
        if workers is not None:
            return [process.pid for process in workers]
        pool = getattr(self.batches, "pool", None)
        pool = getattr(pool, "pool", pool)  # of the one that pins
        return list(getattr(pool, "pids", []))

    def leave(self) -> None:
        """Leave the pass; workers that live on do so."""
        if not self.loader.persistent_workers:
            end_workers(self.loader, self.batches)
        self.batches = None

    def close(self) -> None:
        """End all workers."""
        end_workers(self.loader, self.batches)
        self.batches = None
        self._over = True
        here.recorder = Untraced()


def copied(loader: Any) -> Any:
    """Return a loader with the same settings, and samplers of its own.

    Raises:
        ValueError: if its sampler is a generator, which can be read only once.
    """
    kind: Any = type(loader)
    own = kind.__new__(kind)
    own.__dict__.update(loader.__dict__)
    shared: dict[int, Any] = {id(loader.dataset): loader.dataset}
    for generator in generators_of(loader):
        shared[id(generator)] = generator
    for name in ("batch_sampler", "sampler"):
        sampler = getattr(loader, name)
        if type(sampler).__name__ == "generator":
            raise ValueError(
                f"{name} must be something that can be iterated over again, but got a generator, "
                "which profiling would use up"
            )
        # A sampler that cannot be copied is used as it is.
        with contextlib.suppress(Exception):
            own.__dict__[name] = copy.deepcopy(sampler, shared)
    return own


def _is_datapipe(dataset: Any) -> bool:
    """Whether PyTorch treats it as a pipe, which it shards itself: it is left as it is."""
    kinds = [getattr(torch_data, name, None) for name in ("IterDataPipe", "MapDataPipe")]
    return any(kind is not None and isinstance(dataset, kind) for kind in kinds)
