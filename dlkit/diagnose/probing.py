"""What a profile measures beside the run: how a batch gets out of a worker, and reading by itself.

    a copy of one batch --> a stand-in for the loader --one worker of each kind--> crossings
    the dataset, in a worker of its own --read, and looked at--> lock_share, slow_again

The stand-in has batches like the loader's, but reads nothing, so that the user's dataset is left
alone, and the costs of reading do not hide the few hundred microseconds in question.
"""

import contextlib
import pickle
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch.utils import data as torch_data

from dlkit.collate import default_collate
from dlkit.datasets.combine import vectorised
from dlkit.diagnose.costs import Crossing
from dlkit.diagnose.crossing import measure_crossing
from dlkit.diagnose.lock import lock_share
from dlkit.diagnose.parts import Parts
from dlkit.diagnose.private import copied
from dlkit.diagnose.running import end_workers
from dlkit.diagnose.skew import Skew, computed_longer, read_again, sample_times, skew_of
from dlkit.loader import DataLoader
from dlkit.structure import count_bytes, map_structure
from dlkit.trace.samples import InFront

_CROSSING_SECONDS = 0.03  # a batch or two of anything; small ones come by the hundred
_PATIENCE = 20.0  # seconds for a worker that reads a few samples


class Probed(NamedTuple):
    """What was found out beside the run; see `Profile` for all of it."""

    lock_share: float | None
    crossings: dict[str, Crossing]
    slow_again: float


def probe(loader: Any, batch: Any, size: int, records: Any) -> Probed:
    """Measure what a run of a loader does not show.

    What cannot be measured is left out: a batch that cannot be sent to a process, a dataset that
    cannot be read in a worker.

    Args:
        loader: dlkit's or PyTorch's, which is only read.
        batch: one of its batches, from `own_copy`.
        size: samples in it.
        records: all spans of the run.
    """
    loader = copied(loader)  # whose samplers may be asked
    return Probed(
        _probe_lock(loader), _probe_crossings(loader, batch, size), _probe_skew(loader, records)
    )


def own_copy(batch: Any) -> Any:
    """Return a batch whose tensors lie in ordinary memory of their own."""
    return map_structure(
        lambda part: part.detach().cpu().clone() if isinstance(part, torch.Tensor) else part, batch
    )


# ---- crossing -----------------------------------------------------------------------------------


def _probe_crossings(loader: Any, batch: Any, size: int) -> dict[str, Crossing]:
    ours = isinstance(loader, DataLoader)
    stand_in = _stand_in(loader, batch, size)
    parts = Parts.of(stand_in)
    making = _making(parts, _CROSSING_SECONDS / 2)
    found = {"inline": Crossing()}
    for method in ("process", "thread") if ours else ("process",):
        with contextlib.suppress(Exception):
            if not ours:
                _check_sendable(batch)
            found[method] = measure_crossing(
                stand_in, parts.tasks, method, making, count_bytes(batch), _CROSSING_SECONDS
            ).crossing
    return found


def _check_sendable(batch: Any) -> None:
    """Raise if PyTorch's workers cannot send a batch: they would say so, and wait for ever."""
    pickle.dumps(map_structure(lambda part: isinstance(part, torch.Tensor) or part, batch))


def _stand_in(loader: Any, batch: Any, size: int) -> Any:
    """Return a loader, never iterated over, with batches like these."""
    tensors = _columns(batch, size)
    collate = loader.collate_fn
    dataset: Any
    if tensors is None or collate not in (default_collate, torch_data.default_collate):
        dataset, collate = Same(batch, size), _cloned
    else:  # such a collate writes where the batch is to lie, in a worker's shared memory too
        dataset = torch_data.TensorDataset(*tensors)
    kind: Any = DataLoader if isinstance(loader, DataLoader) else torch_data.DataLoader
    processes = loader.num_workers and getattr(loader, "worker_method", "process") == "process"
    context = loader.multiprocessing_context if processes else None
    return kind(
        dataset,
        batch_size=size,
        num_workers=1,
        collate_fn=collate,
        multiprocessing_context=context,
    )


def _columns(batch: Any, size: int) -> list[torch.Tensor] | None:
    """Return the tensors of a batch that is a list of them, with a row for each sample."""
    parts = batch if isinstance(batch, list | tuple) else [batch]
    if not parts or not all(isinstance(part, torch.Tensor) and part.dim() for part in parts):
        return None
    return list(parts) if all(len(part) == size for part in parts) else None


class Same(torch_data.Dataset[Any]):
    """A dataset that gives out the same batch, however it is asked.

    Args:
        batch: what it gives out.
        length: of the dataset.
    """

    def __init__(self, batch: Any, length: int) -> None:
        self.batch, self.length = batch, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        return self.batch

    def __getitems__(self, indices: Sequence[Any]) -> list[Any]:
        """Return the batch as the only item of a list, which `_cloned` unpacks."""
        return [self.batch]


def _cloned(items: list[Any]) -> Any:
    """A batch of its own, so that each has to be sent anew."""
    return own_copy(items[0])


def _making(parts: Parts, seconds: float) -> float:
    """Return the CPU seconds that making a batch takes here."""
    task = parts.tasks[0]
    parts.collate(parts.read(task))
    count, before, end = 0, time.thread_time(), time.perf_counter() + seconds
    while not count or time.perf_counter() < end:
        parts.collate(parts.read(task))
        count += 1
    return (time.thread_time() - before) / count


# ---- reading alone ------------------------------------------------------------------------------


def _probe_lock(loader: Any) -> float | None:
    """Measure the GIL; a stream would be used up."""
    if isinstance(loader.dataset, torch_data.IterableDataset):
        return None
    with contextlib.suppress(Exception):
        parts = Parts.of(loader)
        tasks = parts.tasks if parts.one_by_one is None else list(chain.from_iterable(parts.tasks))
        found: float | None = _where_it_reads(loader, partial(_lock_share, tasks))
        return found
    return None


def _lock_share(tasks: Sequence[Any], dataset: Any) -> float | None:
    by_lists = isinstance(tasks[0], list)
    return lock_share(dataset.__getitems__ if by_lists else dataset.__getitem__, tasks)


def _probe_skew(loader: Any, records: Any) -> float:
    """Read again what seemed to be slow, if anything did."""
    workers = loader.num_workers
    skew = skew_of(sample_times(records, workers))
    if skew is None:
        return 0.0
    if isinstance(loader.dataset, torch_data.IterableDataset):
        return computed_longer(records, workers)
    with contextlib.suppress(Exception):
        found: float = _where_it_reads(loader, partial(_read_again, skew))
        return found
    return 0.0


def _read_again(skew: Skew, dataset: Any) -> float:
    return read_again(dataset.__getitem__, skew)


def _where_it_reads(loader: Any, measure: Callable[[Any], Any]) -> Any:
    """Measure a loader's dataset in a process of the kind in which the loader reads."""
    ours = isinstance(loader, DataLoader)
    dataset = vectorised(loader.dataset) if ours else loader.dataset
    if not loader.num_workers or getattr(loader, "worker_method", "process") == "thread":
        return measure(dataset)
    # In a worker like the loader's, so that the dataset here is not read.
    alone = DataLoader(
        MeasuredDataset(dataset, measure),
        batch_size=None,
        sampler=[0],
        num_workers=1,
        collate_fn=_as_it_is,
        timeout=_PATIENCE,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
    )
    batches = iter(alone)
    try:
        return next(batches)
    finally:
        end_workers(alone, batches)


class MeasuredDataset(InFront):
    """A dataset of one sample, which is what was measured of the dataset behind it.

    Args:
        behind: what is measured.
        measure: from the dataset to what is found.
    """

    def __init__(self, behind: Any, measure: Callable[[Any], Any]) -> None:
        super().__init__(behind)
        self.__dict__["measure"] = measure

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> Any:
        return self.__dict__["measure"](self.__dict__["behind"])


def _as_it_is(sample: Any) -> Any:
    return sample
