"""One pass over the data: draw a task, have its batch fetched, deliver it, count it.

    order --tasks--> workers.run --batches--> __next__ --> user
                                                 |
                                               Epoch: how many were delivered

Everything before `__next__` is starting: at the beginning, or in the middle from a saved state.
"""

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

from dlkit.device import can_pin_memory, pin_memory
from dlkit.fetch import iterable_fetcher, map_fetcher
from dlkit.workers import Inline

if TYPE_CHECKING:
    from dlkit.loader import DataLoader

Batch = TypeVar("Batch")


class Epoch:
    """How far one pass has come. It outlives the iterator, which may hold worker processes.

    Args:
        order: the resumable order of the tasks; None for an iterable dataset.
        stream: an iterable dataset that can say where it stands, else None.
        seed_state: the state of the generator from which the workers' base seed is drawn.
    """

    def __init__(self, order: Any, stream: Any, seed_state: torch.Tensor) -> None:
        self.order = order
        self.stream = stream
        self.seed_state = seed_state
        self.batches = 0  # delivered to the user
        self.last_task: Any = None
        self.finished = False

    def state_dict(self) -> dict[str, Any]:
        """Return what brings a loader back to this point."""
        started = self.batches > 0
        return {
            "batches": self.batches,
            "seed_state": self.seed_state,
            "order": self.order.state_dict(self.batches)
            if self.order is not None and started
            else None,
            "stream": self.stream.state_dict() if self.stream is not None and started else None,
        }


class EpochIterator(Generic[Batch]):
    """One pass over the data of a loader, from the beginning or from a saved state.

    Args:
        loader: whose dataset, order and workers it uses.
        saved: the state of an `Epoch` to continue.
    """

    def __init__(self, loader: "DataLoader[Batch]", saved: dict[str, Any] | None) -> None:
        self._loader = loader
        self._in_flight: deque[Any] = deque()  # tasks that were drawn and not delivered yet
        self._lost = False  # the task at hand was interrupted
        self._batches: Iterator[Any]
        if loader.is_iterable:
            self._start_stream(loader, saved)
        else:
            self._start_map(loader, saved)
        if loader.pin_memory and not loader.num_workers and can_pin_memory():
            self._batches = map(pin_memory, self._batches)

    def __next__(self) -> Batch:
        if self._lost:
            self._count()
            self._lost = False
        try:
            batch: Batch = next(self._batches)
        except StopIteration:
            self.epoch.finished = True
            raise
        except Exception:
            self._count()  # this batch is lost, as in PyTorch, and the next one follows
            raise
        except BaseException:
            # An interrupt: the batch was not delivered and comes again when the pass is resumed
            # from here. Only if this iterator is used further is it lost.
            self._lost = not self._loader.num_workers
            raise
        self._count()
        return batch

    def _count(self) -> None:
        epoch = self.epoch
        epoch.batches += 1
        if self._in_flight:
            epoch.last_task = self._in_flight.popleft()

    def __iter__(self) -> "EpochIterator[Batch]":
        return self

    def __len__(self) -> int:
        return len(self._loader)

    def _start_map(self, loader: "DataLoader[Batch]", saved: dict[str, Any] | None) -> None:
        order = loader.new_order()
        if saved is not None and saved["order"] is not None:
            order.load_state_dict(saved["order"])
        # PyTorch asks the sampler for its iterator before it draws the workers' seed.
        batched = loader.batch_sampler is not None
        tasks = order.arrays() if batched and hasattr(order, "arrays") else iter(order)
        self.epoch = Epoch(order, None, _draw_seed(loader, saved))
        if saved is not None:
            self.epoch.batches = saved["batches"]
        workers = loader.processes or Inline(
            map_fetcher(loader.dataset, loader.collate_fn, batched)
        )
        self._batches = workers.run(self._remember(tasks), self.epoch.seed_state)

    def _remember(self, tasks: Iterator[Any]) -> Iterator[Any]:
        for task in tasks:
            self._in_flight.append(task)
            yield task

    def _start_stream(self, loader: "DataLoader[Batch]", saved: dict[str, Any] | None) -> None:
        # Where workers read the dataset, its state is in their copies, out of reach.
        stateful = not loader.num_workers and hasattr(loader.dataset, "load_state_dict")
        self.epoch = Epoch(None, loader.dataset if stateful else None, _draw_seed(loader, saved))
        position = saved["stream"] if saved is not None else None
        if stateful and position is not None:
            loader.dataset.load_state_dict(position)
        workers = loader.processes or Inline(
            iterable_fetcher(iter(loader.dataset), loader.collate_fn, loader.drop_last)
        )
        batches = workers.run(repeat(loader.batch_size), self.epoch.seed_state)
        if saved is not None:
            self.epoch.batches = saved["batches"]
            if position is None:
                _read_again(batches, saved["batches"], loader.dataset)
        self._batches = map(_length_watcher(loader, self.epoch), batches)


def _draw_seed(loader: "DataLoader[Any]", saved: dict[str, Any] | None) -> torch.Tensor:
    """Draw the workers' base seed as PyTorch does, and return the state it was drawn from."""
    if saved is not None:
        state: torch.Tensor = saved["seed_state"]
        return state
    if loader.processes is not None and loader.processes.keep_seed is not None:
        return loader.processes.keep_seed
    generator = loader.generator or torch.default_generator
    state = generator.get_state()
    torch.empty((), dtype=torch.int64).random_(generator=generator)
    return state


def _read_again(batches: Iterator[Any], count: int, dataset: Any) -> None:
    """Come back to where a stream stood by reading everything before it once more."""
    if count:
        warnings.warn(
            f"{type(dataset).__name__} has no state_dict and load_state_dict, so {count} batches "
            "are read again and thrown away to continue after them",
            stacklevel=5,
        )
    for _ in range(count):
        try:
            next(batches)
        except StopIteration:
            return
        except Exception:
            continue


def _length_watcher(loader: "DataLoader[Any]", epoch: Epoch) -> Callable[[Any], Any]:
    """Return a function that passes batches on, and warns beyond a promised `len(loader)`."""
    promised = loader.told_length

    def watch(batch: Any) -> Any:
        if promised is not None and epoch.batches >= promised:
            hint = "; with workers, each must read its own share: see get_worker_info"
            warnings.warn(
                f"the length of {type(loader.dataset).__name__} promised {promised} batches, but "
                f"this is number {epoch.batches + 1}{hint if loader.num_workers else ''}",
                stacklevel=3,
            )
        return batch

    return watch
