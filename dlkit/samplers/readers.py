"""Streams dealt to ranks and workers: an iterable dataset is copied into each, and asked who it is.

    readers of 2 ranks with 2 workers each      0: rank 0, worker 0    1: rank 1, worker 0
                                                2: rank 0, worker 1    3: rank 1, worker 1
    a stream  a b c d e f g h i                 reader 0: a e i    reader 1: b f    ...

The samples that a worker's number gets on all ranks together are a stream of their own, a b e f i
for worker 0. Where that stands is how many ranks took how many turns of it, and any number of ranks
can go on with the rest.
"""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch.utils.data import IterableDataset

from dlkit.checks import check_bool
from dlkit.datasets.base import has_state
from dlkit.samplers.elastic import Pass
from dlkit.samplers.shares import check_ranks
from dlkit.workers.info import get_worker_info, in_thread_worker


@dataclass(frozen=True, slots=True)
class Reader:
    """One of the places where a stream is read: a worker of a rank.

    Attributes:
        index: which one, counted over ranks and workers.
        count: how many there are.
    """

    index: int
    count: int


def this_reader(num_replicas: int | None = None, rank: int | None = None) -> Reader:
    """Return which reader of how many this is; call it where the stream is opened.

    Neighbours are on different ranks, so ranks differ by one sample at most. With files, each
    reader opens its own: `files[reader.index :: reader.count]`.

    Args:
        num_replicas: the number of ranks; by default that of the process group. A worker process is
            in no group: give both, or let `ShardedIterable` remember them.
        rank: which of them this is; by default that of this process.

    Example:
        >>> this_reader(num_replicas=3, rank=1)
        Reader(index=1, count=3)
    """
    world, rank = check_ranks(num_replicas, rank)
    worker, workers = _this_worker()
    return Reader(worker * world + rank, world * workers)


@dataclass(slots=True)
class _Running:
    """A pass of one reader.

    Attributes:
        dealt_to: among so many ranks the stream was shared out to workers when the pass began.
        begun: what ranks had taken of this worker's samples before.
        turns: samples that were yielded since.
        read: samples of the whole stream that lie behind.
        ended: whether nothing is left; the dataset may have gone back to its beginning.
    """

    dealt_to: int
    begun: Pass
    turns: int = 0
    read: int = 0
    ended: bool = False


class ShardedIterable(IterableDataset[Any]):
    """An iterable dataset of which each worker of each rank yields its share.

    Every reader goes through the whole stream and yields its samples only: right where reading is
    cheap and what follows is not, such as decoding. Where reading is what takes time, use
    `this_reader` to open different files.

    A pass can be saved in its middle, by a `dlkit.DataLoader` or directly, and continued by another
    number of ranks: rank 0's state serves all of them, and every sample comes once. The number of
    workers stays the same; the loader sees to that. If `dataset` has `state_dict` and
    `load_state_dict`, reading goes on where it was. Otherwise, and in thread workers, which share
    one `dataset`, what lies before is read again, and a warning says so.

    What cannot be continued by other ranks: a pass of a loader with `in_order=False`, whose workers
    have come to different places on each rank; there every rank must load its own state.

    Args:
        dataset: any iterable with the same samples in the same order in every reader.
        num_replicas: the number of ranks; by default that of the process group.
        rank: which of them this is; by default that of this process.
        drop_last: whether to leave out the last samples, of each worker's stream at most
            `num_replicas - 1`, so that all ranks yield as many. Otherwise some yield one more.

    Raises:
        ValueError: if there is no process group to ask, or an argument is none of the accepted.
        TypeError: if `dataset` cannot be iterated.

    Example:
        >>> [list(ShardedIterable("abcdefg", 3, rank)) for rank in range(3)]
        [['a', 'd', 'g'], ['b', 'e'], ['c', 'f']]
        >>> first = ShardedIterable("abcdefg", 3, rank=0)
        >>> next(iter(first))
        'a'
        >>> two = [ShardedIterable("abcdefg", 2, rank) for rank in range(2)]
        >>> with warnings.catch_warnings(action="ignore"):  # a b c are read again
        ...     for rank in two:
        ...         rank.load_state_dict(first.state_dict())
        >>> [list(rank) for rank in two]
        [['d', 'f'], ['e', 'g']]
    """

    def __init__(
        self,
        dataset: Iterable[Any],
        num_replicas: int | None = None,
        rank: int | None = None,
        *,
        drop_last: bool = False,
    ) -> None:
        if not hasattr(dataset, "__iter__") and not hasattr(dataset, "__getitem__"):
            raise TypeError(f"dataset must be iterable, but got a {type(dataset).__name__}")
        check_bool("drop_last", drop_last)
        # Asked here and kept: worker processes, which iterate over copies, are in no group.
        self.num_replicas, self.rank = check_ranks(num_replicas, rank)
        self.dataset: Any = dataset
        self.drop_last = drop_last
        # By worker, since threads share this object: the running pass, and a state for the next.
        self._running: dict[int, _Running] = {}
        self._resume: dict[int, dict[str, Any]] = {}

    def __iter__(self) -> Iterator[Any]:
        worker, workers = _this_worker()
        self._running[worker] = _Running(self.num_replicas, Pass(0))
        return self._share(worker, workers)

    def _share(self, worker: int, workers: int) -> Iterator[Any]:
        # Only now that something is read: until then the state is the one that was loaded.
        state = self._resume.pop(worker, None)
        running = self._running[worker] = self._begin(state)
        if running.ended:
            return
        world, at_first, gone = self.num_replicas, running.dealt_to, running.begun.items
        for number, sample in enumerate(self.dataset, running.read):
            running.read = number + 1
            turn, place = divmod(number, at_first * workers)
            owner, offset = divmod(place, at_first)
            left = turn * at_first + offset - gone  # its place in what was left to deal out
            if owner != worker or left < 0:
                continue
            rank = left % world
            if rank == self.rank:
                own = sample
            if rank == (world - 1 if self.drop_last else self.rank):
                running.turns += 1
                yield own
        running.ended = True

    def _begin(self, state: dict[str, Any] | None) -> _Running:
        if state is None:
            return _Running(self.num_replicas, Pass(0))
        legs = tuple((ranks, turns) for ranks, turns in state["legs"])
        running = _Running(state["dealt_to"], Pass(0, legs), ended=state["ended"])
        if state["source"] is not None:
            self.dataset.load_state_dict(state["source"])
            running.read = state["read"]
        return running

    def __len__(self) -> int:
        """The samples of this rank in a whole pass, over all its workers."""
        total, world = len(self.dataset), self.num_replicas
        return total // world if self.drop_last else max(0, -(-(total - self.rank) // world))

    # ---- saving and continuing ------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return where the pass of this process or worker stands; on rank 0, that of all ranks."""
        worker, workers = _this_worker()
        if worker in self._resume:  # loaded, and nothing was read since
            return dict(self._resume[worker])
        start = self.start_state(worker, workers)
        running = self._running.get(worker)
        if running is None:
            return start
        now = running.begun.and_then(self.num_replicas, running.turns)
        return start | {
            "dealt_to": running.dealt_to,
            "legs": [list(leg) for leg in now.legs],
            "read": running.read,
            "ended": running.ended,
            "source": self._state_of_source(running),
        }

    def start_state(self, worker: int, workers: int) -> dict[str, Any]:
        """Return the state of a worker that has read nothing yet.

        One that goes on among other ranks must know how the stream was shared out at first, also if
        none of its batches was delivered; so a loader begins each pass with this state.
        """
        return {
            "dataset": type(self.dataset).__name__,
            "worker": [worker, workers],
            "dealt_to": self.num_replicas,
            "legs": [],
            "read": 0,
            "ended": False,
            "source": None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass continue where `state` was made, on any number of ranks.

        Raises:
            ValueError: if the state is of another dataset, or of another worker.
        """
        worker, workers = _this_worker()
        expected = {"dataset": type(self.dataset).__name__, "worker": [worker, workers]}
        found = {key: state.get(key) for key in expected}
        if found != expected or "legs" not in state:
            raise ValueError(
                f"the state does not fit this stream: it was made by {found}, but this is "
                f"{expected} ([worker, workers])"
            )
        if not self._can_seek():
            state = {**state, "source": None}
        self._resume[worker] = dict(state)
        if get_worker_info() is None and self.samples_before(state):
            warn_of_reading_again(self.dataset, f"{self.samples_before(state)} samples")

    def samples_before(self, state: dict[str, Any]) -> int:
        """Return how many samples must be read again to continue from a state."""
        return int(state["read"]) if state["source"] is None and not state["ended"] else 0

    def _state_of_source(self, running: _Running) -> Any:
        seeks = running.read and not running.ended and self._can_seek()
        return self.dataset.state_dict() if seeks else None

    def _can_seek(self) -> bool:
        return has_state(self.dataset) and not in_thread_worker()


def warn_of_reading_again(dataset: Any, amount: str, stacklevel: int = 3) -> None:
    """Warn of what continuing a stream costs that cannot be set to a place."""
    name = type(dataset).__name__
    without = f"{name} has no state_dict and load_state_dict"
    why = f"thread workers share one {name}" if has_state(dataset) else without
    warnings.warn(
        f"{why}, so {amount} are read again and thrown away to continue after them",
        stacklevel=stacklevel,
    )


def _this_worker() -> tuple[int, int]:
    info = get_worker_info()
    return (info.id, info.num_workers) if info else (0, 1)
