"""One pass over the data: draw a task, have its batch fetched, deliver it, count it.

    order --tasks--> fetch, here or in workers --batches--> __next__ --> user
                                                               |
                                                             Epoch: what was delivered

Everything before `__next__` is starting: at the beginning, or in the middle from a saved state.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

from dlkit.datasets.base import has_state
from dlkit.delivery import Delivery
from dlkit.device import DeviceAhead, can_pin_memory, pin_memory
from dlkit.epoch import Epoch, Share
from dlkit.failures import is_fatal
from dlkit.fetch import (
    Fetched,
    iterable_fetcher,
    map_fetcher,
    on_batch,
    read_again,
    skipping,
    with_state,
)
from dlkit.samplers.foreign import Replayed
from dlkit.streams import (
    length_watcher,
    start_positions,
    tell_reading_again,
    tell_size,
)
from dlkit.trace.recorder import UNTRACED, Untraced
from dlkit.workers import Ahead, Inline, Pool, Position

if TYPE_CHECKING:
    from dlkit.loader import DataLoader

Batch = TypeVar("Batch")


class EpochIterator(Generic[Batch]):
    """One pass over the data of a loader, from the beginning or from a saved state.

    Args:
        loader: whose dataset, order and workers it uses.
        saved: the state of an `Epoch` to continue.
        recorder: wraps the stages of a batch where they are traced.
        delivery: takes results of workers to the user; one that does nothing else by default.
    """

    def __init__(
        self,
        loader: "DataLoader[Batch]",
        saved: dict[str, Any] | None,
        recorder: Untraced = UNTRACED,
        delivery: Delivery | None = None,
    ) -> None:
        self._loader = loader
        self._recorder = recorder
        self._lost = False  # the task at hand was interrupted
        self.pool: Pool | None = None
        self._ahead: Ahead | None = None
        self._delivery = Delivery() if delivery is None else delivery
        self._numbers: dict[int, int] | None = None  # of tasks, where they are not 0, 1, 2, ...
        self._batches: Iterator[Any]
        if loader.is_iterable:
            self._start_stream(loader, saved)
        else:
            self._start_map(loader, saved)

    def __next__(self) -> Batch:
        if self._lost:
            self._count()
            self._lost = False
        while True:
            try:
                batch = next(self._batches)
            except StopIteration:
                self.epoch.finished = True
                raise
            except Exception as error:
                if not is_fatal(error):
                    self._count()  # this batch is lost, as in PyTorch, and the next one follows
                raise
            except BaseException:
                self._interrupted()
                raise
            self._count()
            if type(batch) is not Fetched:
                return batch  # type: ignore[no-any-return]
            if self._unwrap(batch):
                return batch.batch  # type: ignore[no-any-return]

    def _count(self) -> None:
        """Count the batch that was delivered, or lost by an error."""
        epoch, result = self.epoch, self._delivery.newest
        if self._numbers is None:
            epoch.count()
        else:
            given = min(self._numbers) if result is None else result.number
            epoch.count_number(self._numbers.pop(given))
        if epoch.shares is not None and result is not None and self._ahead is not None:
            epoch.shares[result.worker].count()
            waiting = self._delivery.waiting
            epoch.turn = waiting[0].worker if waiting else self._ahead.next_worker

    def _unwrap(self, fetched: Fetched) -> bool:
        """Note what came with a batch, and say whether anything is left of the batch."""
        epoch, loader = self.epoch, self._loader
        if fetched.state is not None:
            result = self._delivery.newest
            if epoch.shares is not None and result is not None:
                epoch.shares[result.worker].came_to(fetched.state)
            else:
                epoch.stream_state = fetched.state
        epoch.errors.extend(fetched.skipped)
        if len(epoch.errors) > loader.error_limit:
            newest = epoch.errors[-1]
            raise RuntimeError(
                f"{len(epoch.errors)} samples of this pass could not be read, more than "
                f"error_limit={loader.error_limit}; the last was sample {newest.index}"
            ) from newest.exception
        return not fetched.empty

    def _interrupted(self) -> None:
        """Ctrl-C, or something else that is no `Exception`, came while waiting for a batch.

        The batch was not delivered and comes again when the pass is resumed from here. Only if
        this iterator is used further is it lost. Workers are ended: nothing must be left behind.
        """
        if self.pool is None:
            self._lost = True
        else:
            self.pool.close()

    def __iter__(self) -> "EpochIterator[Batch]":
        return self

    def __len__(self) -> int:
        return len(self._loader)

    # ---- starting -------------------------------------------------------------------------------

    def _start_map(self, loader: "DataLoader[Batch]", saved: dict[str, Any] | None) -> None:
        order = loader.new_order()
        if saved is not None and saved["order"] is not None:
            order.load_state_dict(saved["order"])
        batched = loader.batch_sampler is not None
        pool = loader.idle_pool() if saved is None else None
        fresh_workers = loader.num_workers > 0 and pool is None
        # PyTorch asks the sampler for its iterator before it draws the workers' seed, and again
        # after it has started them, which a sampler that draws at once will notice.
        if fresh_workers and isinstance(order, Replayed) and saved is None:
            iter(order.sampler)
            seed_state = _draw_seed(loader, saved)
            tasks = iter(order)
        else:
            tasks = order.arrays() if batched and hasattr(order, "arrays") else iter(order)
            seed_state = loader.pool_seed if pool else _draw_seed(loader, saved)
        self.epoch = epoch = Epoch(order, seed_state, saved)
        tasks = self._recorder.draws(tasks)
        if epoch.early or not loader.in_order:
            self._numbers = {}
            tasks = epoch.remember_numbered(tasks, self._numbers)
        else:
            tasks = epoch.remember(tasks)
        if loader.num_workers:
            self.pool = pool or loader.new_pool(seed_state, loader.num_workers)
            self._run_ahead(loader, tasks)
        else:
            fetch = map_fetcher(loader.dataset, loader.collate_fn, batched, recorder=self._recorder)
            if loader.on_error == "skip":
                fetch = skipping(fetch, loader.dataset, loader.collate_fn, batched)
            self._run_inline(loader, fetch, tasks)

    def _start_stream(self, loader: "DataLoader[Batch]", saved: dict[str, Any] | None) -> None:
        shares = saved["shares"] if saved is not None else None
        size = loader.num_workers
        if saved is not None and saved["batches"]:
            size = len(shares) if shares else 0
            tell_size(loader, size)
        pool = loader.idle_pool() if saved is None and size else None
        seed_state = loader.pool_seed if pool else _draw_seed(loader, saved)
        self.epoch = epoch = Epoch(None, seed_state, saved)
        tasks = self._recorder.numbers(repeat(loader.batch_size))
        if size:
            places = [Position(s["state"], s["batches"]) for s in shares or []]
            tell_reading_again(loader.dataset, places)
            places = places or start_positions(loader.dataset, size)
            epoch.shares = [Share(place) for place in places]
            epoch.turn = saved["turn"] if saved is not None and shares else 0
            self.pool = pool or loader.new_pool(seed_state, size)
            self._run_ahead(loader, tasks, places, epoch.turn)
        else:
            self._read_stream_here(loader, saved, tasks)
        self._batches = map(length_watcher(loader, epoch), self._batches)

    def _read_stream_here(
        self, loader: "DataLoader[Batch]", saved: dict[str, Any] | None, tasks: Iterator[Any]
    ) -> None:
        dataset, position = loader.dataset, saved["stream"] if saved is not None else None
        if has_state(dataset):
            self.epoch.stream = dataset
            if position is not None:
                dataset.load_state_dict(position)
        skip = loader.error_limit if loader.on_error == "skip" else None
        fetch = iterable_fetcher(
            iter(self._recorder.dataset(dataset)),
            loader.collate_fn,
            loader.drop_last,
            skip=skip,
            recorder=self._recorder,
        )
        if saved is not None and saved["batches"] and position is None:
            tell_reading_again(dataset, [Position(skip=saved["batches"])])
            read_again(fetch, loader.batch_size, saved["batches"])
        if has_state(dataset) and loader.device is not None:
            fetch = with_state(fetch, dataset)
        self._run_inline(loader, fetch, tasks)

    def _run_inline(
        self, loader: "DataLoader[Batch]", fetch: Callable[[Any], Any], tasks: Iterator[Any]
    ) -> None:
        batches = Inline(fetch, self._recorder).run(tasks)
        if loader.pin_memory and can_pin_memory():
            batches = map(self._recorder.timed("transfer", on_batch(pin_memory)), batches)
        if loader.device is not None:
            ahead = DeviceAhead(repeat(partial(next, batches)), loader.device, self._recorder)
            batches = map(_call, ahead)
        self._batches = batches

    def _run_ahead(
        self,
        loader: "DataLoader[Batch]",
        tasks: Iterator[Any],
        positions: list[Position] | None = None,
        turn: int = 0,
    ) -> None:
        assert self.pool is not None
        self._ahead = Ahead(
            self.pool,
            tasks,
            limit=(2 if loader.prefetch_factor is None else loader.prefetch_factor)
            * self.pool.size,
            in_order=loader.in_order,
            persistent=loader.keeps(self.pool),
            positions=positions,
            turn=turn,
        )
        if loader.trace is not None:
            loader.trace.began(self.pool)
        batches: Iterator[Callable[[], Any]] = map(self._delivery.arrived, self._ahead)
        if loader.device is not None:
            batches = DeviceAhead(batches, loader.device, self._recorder)
        self._batches = map(self._delivery.deliver, batches)


def _call(get: Callable[[], Any]) -> Any:
    return get()


def _draw_seed(loader: "DataLoader[Any]", saved: dict[str, Any] | None) -> torch.Tensor:
    """Draw the workers' base seed as PyTorch does, and return the state it was drawn from."""
    if saved is not None:
        state: torch.Tensor = saved["seed_state"]
        return state
    generator = loader.generator or torch.default_generator
    state = generator.get_state()
    torch.empty((), dtype=torch.int64).random_(generator=generator)
    return state
