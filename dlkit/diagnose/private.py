"""A loader to be watched: the user's settings in an object of our own, which notes what it does.

    the user's loader --copied, its samplers too--> private loader --> batches
                                                          +--> Trace

The user's loader is only read. The dataset is shared: it is read through something in front of it,
and where its transforms are timed, through a shallow copy that holds the timed ones.
"""

import contextlib
import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils import data as torch_data
from torch.utils.data._utils import worker as torch_worker

from dlkit.diagnose.running import end_workers
from dlkit.diagnose.transforms import with_timed_transforms
from dlkit.loader import DataLoader
from dlkit.trace import Recorder, Trace
from dlkit.trace.recorder import Untraced, here
from dlkit.trace.samples import TimedSamples, timed_samples
from dlkit.trace.spans import CODES, clock

_WAIT, _FETCH = CODES["wait"], CODES["fetch"]


class PrivateLoader:
    """A copy of a loader that can be iterated over without the user's noticing.

    Args:
        loader: a `dlkit.DataLoader` or a `torch.utils.data.DataLoader`.
        trace: where its spans go.

    Attributes:
        loader: the copy.
        parts: the names of the transforms that are timed.
    """

    def __init__(self, loader: Any, trace: Trace) -> None:
        self.trace = trace
        self.ours = isinstance(loader, DataLoader)
        self.loader = _copied(loader)
        self.batches: Any = None
        self._over = False
        settings = self.loader.__dict__
        dataset, self.parts = with_timed_transforms(loader.dataset)
        trace.parts = self.parts
        settings["dataset"] = dataset
        if self.ours:
            settings.update(trace=trace, _pool=None, _epoch=None, _resume=None, _sizes=None)
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
        if not _is_datapipe(dataset):
            batched = loader.batch_sampler is not None
            settings["dataset"] = _in_front(dataset, batched)
        settings["collate_fn"] = TimedCollate(loader.collate_fn)
        for name in ("batch_sampler", "sampler"):
            if settings.get(name) is not None and (
                name == "batch_sampler" or not batched_by(loader)
            ):
                settings[name] = TimedOrder(settings[name], self.trace)

    @property
    def closed(self) -> bool:
        """Whether nobody writes into the rings any more."""
        return self._over

    def start(self) -> None:
        """Begin a pass."""
        if self.ours:
            self.batches = iter(self.loader)
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
        """Note how long the training step took; dlkit's loader does so itself."""
        if not self.ours:
            self._recorder.note(CODES["compute"], self._number - 1, start, end)

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


def batched_by(loader: Any) -> bool:
    """Whether a sampler yields whole batches of indices."""
    return loader.batch_sampler is not None


def _copied(loader: Any) -> Any:
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


def generators_of(loader: Any) -> list[torch.Generator]:
    """Return the torch generators that a loader and its samplers hold."""
    inner = getattr(loader.batch_sampler, "sampler", None)
    owners = (loader, loader.sampler, loader.batch_sampler, inner)
    found = [getattr(owner, "generator", None) for owner in owners]
    return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())


@contextlib.contextmanager
def generators_kept(loader: Any) -> Iterator[None]:
    """Put all random generators back as they were: global ones, the loader's, the dataset's."""
    own = [(g, g.get_state()) for g in generators_of(loader)]
    held = list(_numpy_generators(loader.dataset))
    kept = [(g, copy.deepcopy(g.bit_generator.state)) for g in held]
    legacy = np.random.get_state()  # noqa: NPY002
    before = random.getstate(), legacy, torch.get_rng_state()
    cuda: Any = torch.cuda
    accelerators = cuda.get_rng_state_all() if cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])
        if accelerators is not None:
            cuda.set_rng_state_all(accelerators)
        for generator, torch_state in own:
            generator.set_state(torch_state)
        for numpy_generator, state in kept:
            numpy_generator.bit_generator.state = state


def _numpy_generators(dataset: Any) -> Iterator[np.random.Generator]:
    for value in vars(dataset).values() if hasattr(dataset, "__dict__") else ():
        if isinstance(value, np.random.Generator):
            yield value


def _is_datapipe(dataset: Any) -> bool:
    """Whether PyTorch treats it as a pipe, which it shards itself: it is left as it is."""
    kinds = [getattr(torch_data, name, None) for name in ("IterDataPipe", "MapDataPipe")]
    return any(kind is not None and isinstance(dataset, kind) for kind in kinds)


def _in_front(dataset: Any, batched: bool) -> Any:
    if isinstance(dataset, torch_data.IterableDataset) or not batched:
        return timed_samples(dataset)
    return TimedBatches(dataset)


class TimedBatches(TimedSamples):
    """A map-style dataset whose batches are noted, as well as their samples where it reads those.

    PyTorch reads through `__getitems__` wherever there is one.
    """

    def __getitems__(self, indices: list[Any]) -> Any:
        """Return the samples of a batch."""
        start = clock()
        whole = getattr(self.behind, "__getitems__", None)
        samples = whole(indices) if whole else [self[index] for index in indices]
        here.recorder.note_fetch(start, clock())
        return samples


class TimedCollate:
    """A `collate_fn` that notes when it ran; after it, the next batch begins.

    Args:
        collate: the user's.
    """

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: Any) -> Any:
        """Return the batch."""
        start = clock()
        batch = self.collate(samples)
        here.recorder.note_collate(start, clock())
        return batch


class TimedOrder:
    """A sampler that notes how long each draw took, and otherwise is the one behind it."""

    def __init__(self, order: Any, trace: Trace) -> None:
        self.order = order
        self.trace = trace

    def __iter__(self) -> Iterator[Any]:
        return self.trace.recorder().draws(iter(self.order))

    def __len__(self) -> int:
        return len(self.order)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__dict__["order"], name)


class TorchRecorder(Recorder):
    """Notes the batches of one of PyTorch's workers, which are not told their numbers.

    Worker w of n makes batches w, w + n, w + 2n, ... of a pass.
    """

    made = 0
    worker = 0
    workers = 1
    _began: int | None = None
    _read = 0

    def note_sample(self, index: Any, start: int, end: int, cpu: int = -1) -> None:
        """Note the reading of one sample, and that of the batch it belongs to."""
        self.key = self.epoch + self.worker + self.made * self.workers
        super().note_sample(index, start, end, cpu)
        self._began = start if self._began is None else self._began
        self._read = end

    def note_fetch(self, start: int, end: int) -> None:
        """Note the reading of a batch."""
        self.key = self.epoch + self.worker + self.made * self.workers
        self._began, self._read = start, end

    def note_collate(self, start: int, end: int) -> None:
        """Note the collating of a batch, and the reading before it."""
        if self._began is not None:
            self.ring.write(self._began, self._read, self.key, _FETCH)
        else:
            self.key = self.epoch + self.worker + self.made * self.workers
        self._began = None
        self.ring.write(start, end, self.key, CODES["collate"])
        self.made += 1


class WorkerStart:
    """A `worker_init_fn` that prepares for noting, then does what the user's does.

    Args:
        rings: of all workers.
        dataset: what the user's functions are to see as the worker's dataset.
        init: the user's `worker_init_fn`.
    """

    def __init__(self, rings: list[Any], dataset: Any, init: Callable[[int], Any] | None) -> None:
        self.rings = rings
        self.dataset = dataset
        self.init = init

    def __call__(self, worker: int) -> None:
        """Be called in each worker as it starts."""
        self.rings[worker].go_on()
        recorder = TorchRecorder(self.rings[worker], samples=True, cpu=True)
        recorder.worker, recorder.workers = worker, len(self.rings)
        here.recorder = recorder
        info: Any = torch_worker.get_worker_info()
        shown = info.dataset
        # What lies behind our front is the copy that this worker has; its user knows no other.
        object.__setattr__(info, "dataset", getattr(shown, "behind", shown))
        if self.init is not None:
            self.init(worker)
