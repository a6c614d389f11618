"""The loader: from a dataset and an order of indices to batches.

    sampler -> batch sampler -> tasks --workers: fetch, collate--> batches -> pin -> user

`DataLoader` checks its arguments and holds them; `dlkit.iterator.EpochIterator` is one pass over
the data, and its `__next__` is the steady state, all of it. Arguments, attributes, errors, random
numbers and batches are those of `torch.utils.data.DataLoader`. New is that a pass can be saved in
its middle (`state_dict`) and continued, in another process too; that workers may be threads; and
that batches come from worker processes in shared memory that is used again and again.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils import data as torch_data
from typing_extensions import TypeVar  # comes with torch; the default is new in Python 3.13

from dlkit.arguments import (
    check_methods,
    check_order,
    check_workers,
    resolve_context,
    resolve_device,
    resolve_trace,
)
from dlkit.checks import check_generator
from dlkit.collate import default_collate, default_convert
from dlkit.epoch import Epoch
from dlkit.failures import SampleError
from dlkit.iterator import EpochIterator
from dlkit.loader_state import check_state, loader_state, restore_generators
from dlkit.samplers import BatchSampler, InfiniteSampler, RandomSampler, SequentialSampler
from dlkit.samplers.batches import resumable_batches
from dlkit.samplers.epochs import EpochCounter
from dlkit.samplers.foreign import resumable
from dlkit.traced_pass import traced_pass
from dlkit.workers import Pool, Sizes, start_pool

if TYPE_CHECKING:
    from dlkit.trace import Trace

Batch = TypeVar("Batch", default=Any)
_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class DataLoader(torch_data.DataLoader[Batch]):
    """Batches of a dataset; a drop-in for `torch.utils.data.DataLoader`.

    It is a subclass for the sake of code that asks `isinstance(loader, DataLoader)`; everything
    that happens is written here.

    Args:
        dataset: map-style or iterable; see `dlkit.datasets.base`.
        batch_size: samples in a batch; None yields single samples.
        shuffle: whether to draw a new random order for each epoch.
        sampler: an order of indices of your own. One that is dealt to ranks (`DistributedSampler`,
            PyTorch's too) gets the number of each pass as its epoch, unless you set one.
        batch_sampler: batches of indices of your own.
        num_workers: processes that fetch ahead of the user; 0 fetches when asked.
        collate_fn: from a list of samples to a batch.
        pin_memory: whether to put batches into pinned memory, if there is an accelerator.
        drop_last: whether to leave out the last batch if it has fewer samples.
        timeout: seconds to wait for a worker's batch; 0 waits for ever.
        worker_init_fn: called in each worker with its number.
        multiprocessing_context: a start method's name, or a context.
        generator: source of the random order and of the workers' seeds; PyTorch's global one by
            default.
        prefetch_factor: batches that each worker fetches ahead; 2 by default.
        persistent_workers: whether workers live on from epoch to epoch.
        pin_memory_device: accepted for PyTorch's sake, where it is deprecated.
        in_order: whether batches come in the order of the sampler, also if a later one is ready.
        worker_method: `"process"`, or `"thread"` for workers that share the dataset and copy
            nothing, which is faster where the work releases the GIL, as decoding images does.
            Threads let this process keep up to 128 MB that samples have freed (see
            `dlkit.memory.keep_freed_memory`).
        restart_workers: how many worker processes that die may be replaced in one epoch; their
            batches are loaded again.
        on_error: `"raise"`, or `"skip"` to leave out samples whose reading raises; `errors` lists
            them.
        error_limit: how many samples of one epoch may be left out before that is an error.
        device: where batches are copied to, from pinned memory and one batch ahead.
        trace: True, or a `dlkit.Trace`, to record when each stage of each batch ran and in which
            worker: `loader.trace` then shows it. Without it nothing is recorded and nothing paid.

    Raises:
        ValueError, TypeError: if an argument is none of the accepted, or two exclude each other.

    Example:
        >>> from dlkit.datasets import TensorDataset
        >>> loader = DataLoader(TensorDataset(torch.arange(5)), batch_size=2)
        >>> [batch for (batch,) in loader]
        [tensor([0, 1]), tensor([2, 3]), tensor([4])]
    """

    dataset: Any
    batch_sampler: Any

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: torch.Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        worker_method: str = "process",
        restart_workers: int = 0,
        on_error: str = "raise",
        error_limit: int = 100,
        device: torch.device | str | int | None = None,
        trace: "Trace | bool | None" = None,
    ) -> None:
        self.is_iterable = isinstance(dataset, torch_data.IterableDataset)
        check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        check_methods(num_workers, worker_method, restart_workers, on_error, error_limit)
        check_order(self.is_iterable, batch_size, shuffle, sampler, batch_sampler, drop_last)
        check_generator(generator)
        if collate_fn is not None and not callable(collate_fn):
            raise TypeError(f"collate_fn must be callable or None, but got {collate_fn!r}")
        if batch_sampler is not None:
            batch_size = None
        if sampler is None:
            if self.is_iterable:
                sampler = InfiniteSampler()
            elif shuffle:
                sampler = RandomSampler(dataset, generator=generator)
            else:
                sampler = SequentialSampler(dataset)
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        if collate_fn is None:
            collate_fn = default_convert if batch_sampler is None else default_collate

        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn
        self.pin_memory = pin_memory
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = resolve_context(
            multiprocessing_context, num_workers, worker_method
        )
        self.generator = generator
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self.pin_memory_device = pin_memory_device
        self.in_order = in_order
        self.worker_method = worker_method
        self.restart_workers = restart_workers
        self.on_error = on_error
        self.error_limit = error_limit
        self.device = resolve_device(device)
        self.trace = resolve_trace(trace)

        self._epochs = EpochCounter()  # for samplers whose order depends on the number of the pass
        self._epoch: Epoch | None = None  # the pass that was started last
        self._resume: dict[str, Any] | None = None  # a loaded state that the next pass starts from
        self.told_length: int | None = None  # what len() has promised for an iterable dataset
        self._pool: Pool | None = None  # workers that live on from pass to pass
        self._sizes: Sizes | None = None  # of the newest workers' batches
        self.pool_seed: Any = None  # the state that their seeds were drawn from
        self._initialised = True

    def __iter__(self) -> "EpochIterator[Batch]":  # type: ignore[override]
        resume = self._resume
        self._epochs.begin(self, resume)
        saved = resume["epoch"] if resume else None
        start = EpochIterator[Batch] if self.trace is None else traced_pass
        iterator: EpochIterator[Batch] = start(self, saved)
        self._resume = None  # not before: workers that could not be started may be tried again
        self._epoch = iterator.epoch
        return iterator

    def __len__(self) -> int:
        if not self.is_iterable:
            return len(self._index_sampler)
        samples = len(self.dataset)
        if self.batch_size is None:
            length = samples
        elif self.drop_last:
            length = samples // self.batch_size
        else:
            length = -(-samples // self.batch_size)
        # Each worker may end with a batch that is not full, so the promise is looser with workers.
        self.told_length = samples if self.num_workers else length
        return length

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and getattr(self, "_initialised", False):
            raise ValueError(
                f"{name} cannot be changed once the DataLoader is made; make a new one"
            )
        super().__setattr__(name, value)

    @property
    def _index_sampler(self) -> Any:
        """What yields the tasks: batches of indices, or single ones where nothing is batched."""
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    @property
    def last_indices(self) -> list[Any] | None:
        """The dataset indices of the batch that was delivered last; None if that is not known."""
        task = self._epoch.last_task if self._epoch else None
        if task is None:
            return None
        if isinstance(task, np.ndarray):
            return list(task.tolist())
        return list(task) if isinstance(task, list | tuple) else [task]

    @property
    def errors(self) -> list[SampleError]:
        """The samples that the newest pass has left out, under `on_error="skip"`."""
        return self._epoch.errors if self._epoch else []

    def memory_bound(self) -> int:
        """Return how many bytes the batches in flight, and those kept in slots, can take at most.

        There are at most `prefetch_factor` of them for each worker. A worker process keeps each in
        a slot as large as the largest batch so far, and the user may hold on to a few more slots
        before batches are copied out of them. Without workers nothing is in flight: 0.

        Raises:
            RuntimeError: if no worker has loaded a batch yet, so that its size is not known.
        """
        if not self.num_workers:
            return 0
        if self._sizes is None or not self._sizes.largest:
            raise RuntimeError("memory_bound needs one batch to be loaded first, to know its size")
        batches = self.num_workers * ((self.prefetch_factor or 2) + self._sizes.kept)
        return batches * self._sizes.largest

    # ---- workers that live on -------------------------------------------------------------------

    def idle_pool(self) -> Pool | None:
        """Return the persistent workers, if they have been started and still live."""
        return None if self._pool is None or self._pool.closed else self._pool

    def new_pool(self, seed_state: torch.Tensor, size: int) -> Pool:
        """Start workers for a pass, and keep them if they are to live on."""
        pool = start_pool(self, seed_state, size)
        self._sizes = pool.sizes
        if self.persistent_workers and size == self.num_workers:
            if self._pool is not None:
                self._pool.close()
            self._pool, self.pool_seed = pool, seed_state
        return pool

    def keeps(self, pool: Pool) -> bool:
        """Whether a pool lives on after the pass."""
        return pool is self._pool

    def __getstate__(self) -> dict[str, Any]:
        # Workers belong to this process, and so does a pass that is under way.
        mine = {"_pool": None, "_epoch": None}
        return {**self.__dict__, **mine}

    def state_dict(self) -> dict[str, Any]:
        """Return where the newest pass over the data stands, as numbers and tensors.

        The state counts the batches that were delivered, not what workers have fetched ahead, and
        does not depend on their number. After the end of a pass it is the state between passes.
        """
        if self._resume is not None:
            return dict(self._resume)
        return loader_state(self, self._epochs, self._epoch)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next `iter(loader)` continue exactly where `state` was made.

        Raises:
            ValueError: if the state was made over another dataset, order or batch size.
        """
        check_state(self, state)
        restore_generators(self, state)
        self._epochs.load_state_dict(self, state)
        self._resume = dict(state)

    def new_order(self) -> Any:
        """Return the tasks of a pass over a map-style dataset, as an order that can be saved."""
        if self.batch_sampler is None:
            return resumable(self.sampler).own_pass()
        return resumable_batches(self.batch_sampler).own_pass()
