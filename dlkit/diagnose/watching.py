"""What stands in front of the parts of PyTorch's loader, and notes when they ran.

dataset --> TimedBatches, collate_fn --> TimedCollate, sampler --> TimedOrder
                 +-----------+--> TorchRecorder, of each worker (WorkerStart)
"""

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils import data as torch_data
from torch.utils.data._utils import worker as torch_worker

from dlkit.trace import Recorder, Trace
from dlkit.trace.recorder import here
from dlkit.trace.samples import TimedSamples, timed_samples
from dlkit.trace.spans import CODES, clock

_FETCH = CODES["fetch"]


def in_front(dataset: Any, batched: bool) -> Any:
    """Return a dataset that reads as another one does, and notes when."""
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
