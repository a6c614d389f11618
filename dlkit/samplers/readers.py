"""Streams dealt to ranks and workers: an iterable dataset is copied into each, and asked who it is.

readers of 2 ranks with 2 workers each      0: rank 0, worker 0    1: rank 1, worker 0
                                            2: rank 0, worker 1    3: rank 1, worker 1
a stream  a b c d e f g h i                 reader 0: a e i    reader 1: b f    ...
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch.utils.data import IterableDataset

from dlkit.checks import check_bool
from dlkit.samplers.shares import check_ranks
from dlkit.workers.info import get_worker_info


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
    info = get_worker_info()
    worker, workers = (info.id, info.num_workers) if info else (0, 1)
    return Reader(worker * world + rank, world * workers)


class ShardedIterable(IterableDataset[Any]):
    """An iterable dataset of which each worker of each rank yields its share.

    Every reader goes through the whole stream and yields its samples only: right where reading is
    cheap and what follows is not, such as decoding. Where reading is what takes time, use
    `this_reader` to open different files.

    Args:
        dataset: any iterable with the same samples in the same order in every reader.
        num_replicas: the number of ranks; by default that of the process group.
        rank: which of them this is; by default that of this process.
        drop_last: whether to leave out the last samples, at most `num_replicas * num_workers - 1`,
            so that all readers yield as many. Otherwise some yield one more.

    Raises:
        ValueError: if there is no process group to ask, or an argument is none of the accepted.
        TypeError: if `dataset` cannot be iterated.

    Example:
        >>> [list(ShardedIterable("abcdefg", 3, rank)) for rank in range(3)]
        [['a', 'd', 'g'], ['b', 'e'], ['c', 'f']]
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
        self.dataset = dataset
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[Any]:
        reader = this_reader(self.num_replicas, self.rank)
        for number, sample in enumerate(self.dataset):
            place = number % reader.count
            if place == reader.index:
                own = sample
                if not self.drop_last:
                    yield own
            if self.drop_last and place == reader.count - 1:  # this turn is full
                yield own

    def __len__(self) -> int:
        """The samples of this rank over all its workers; with workers, `drop_last` leaves fewer."""
        total, world = len(self.dataset), self.num_replicas  # type: ignore[arg-type]
        return total // world if self.drop_last else max(0, -(-(total - self.rank) // world))
