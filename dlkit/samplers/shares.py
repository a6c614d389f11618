"""Who gets what of an order, as arithmetic: places are dealt out like cards, one to each rank.

    place in the order   0 1 2 3 4 5 6 7 8 9        10 samples, 3 ranks
    rank                 0 1 2 0 1 2 0 1 2 0

After each rank has taken `k` samples, the first `3 k` of the order are gone, whatever the ranks. So
where an epoch stands is one number, and any number of ranks can deal out the rest. The last turn is
filled up with samples from the beginning of the order (`pad`), left out (`drop_last`), or uneven.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import distributed

from dlkit.checks import check_bool, check_positive_int
from dlkit.samplers.base import IndexArray


@dataclass(frozen=True, slots=True)
class Deal:
    """How the rest of an order is dealt to the ranks.

    Attributes:
        total: items in the whole order.
        ranks: how many they are dealt to.
        start: the first place that is not gone yet.
        pad: whether the last turn is filled up, so that every rank gets as many items.
        drop_last: whether the last turn is left out if it is not full; `pad` means nothing then.

    Example:
        >>> deal = Deal(total=10, ranks=3)
        >>> [deal.places(rank).tolist() for rank in range(3)]
        [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
        >>> [deal.count(rank) for rank in range(3)], Deal(10, 3, pad=False).count(2)
        ([4, 4, 4], 3)
    """

    total: int
    ranks: int
    start: int = 0
    pad: bool = True
    drop_last: bool = False

    def count(self, rank: int) -> int:
        """Return how many items a rank gets."""
        left = max(self.total - self.start, 0)
        if self.drop_last:
            return left // self.ranks
        if self.pad:
            return -(-left // self.ranks)
        return max(0, -(-(left - rank) // self.ranks))

    @property
    def padding(self) -> int:
        """How many places lie behind the end of the order; they hold its first items again."""
        return max(0, self.start + self.count(0) * self.ranks - self.total) if self.evenly else 0

    @property
    def evenly(self) -> bool:
        """Whether every rank gets as many items as the others."""
        return self.pad or self.drop_last

    def places(self, rank: int) -> IndexArray:
        """Return the places in the order that a rank gets; those from `total` on are padding."""
        first = self.start + rank
        return np.arange(first, first + self.count(rank) * self.ranks, self.ranks)

    def blocks(self, rank: int, size: int) -> Iterator[IndexArray]:
        """The same, at most `size` places at a time, for an order that is never held as a whole."""
        for taken in range(0, self.count(rank), size):
            end = min(taken + size, self.count(rank))
            first = self.start + rank
            yield np.arange(first + taken * self.ranks, first + end * self.ranks, self.ranks)


def check_ranks(num_replicas: Any, rank: Any) -> tuple[int, int]:
    """Return the world size and the rank, asking the process group for what is None.

    Raises:
        ValueError: if there is no process group to ask, or `rank` is none of the ranks.

    Example:
        >>> check_ranks(4, 3)
        (4, 3)
    """
    if num_replicas is None or rank is None:
        if not (distributed.is_available() and distributed.is_initialized()):
            raise ValueError(
                f"num_replicas and rank must be given where no process group is initialised, but "
                f"got num_replicas={num_replicas!r} and rank={rank!r}"
            )
        num_replicas = distributed.get_world_size() if num_replicas is None else num_replicas
        rank = distributed.get_rank() if rank is None else rank
    check_positive_int("num_replicas", num_replicas)
    if not isinstance(rank, int) or isinstance(rank, bool) or not 0 <= rank < num_replicas:
        raise ValueError(
            f"rank must be an integer from 0 to {num_replicas - 1} for num_replicas="
            f"{num_replicas}, but got {rank!r}"
        )
    return num_replicas, rank


def check_sharding(seed: Any, drop_last: Any, pad: Any) -> None:
    """Raise unless the arguments that every sharding sampler has are possible."""
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise TypeError(f"seed must be an integer, but got {seed!r}")
    check_bool("drop_last", drop_last)
    check_bool("pad", pad)
