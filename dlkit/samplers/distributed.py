"""`DistributedSampler`: each rank draws the whole order and keeps every world-size-th index of it.

    order of the epoch, seed + epoch    7 1 4 0 9 2 5 3 8 6
    rank 0 of 3                         7     0     5     6
    rank 1                                1     9     3     (7)     one more, so that all have 4
    rank 2                                  4     2     8     (1)

PyTorch holds the order as a list of Python integers, which takes 40 bytes for each sample of the
dataset on every rank. Here it is drawn into four bytes for each, and what other ranks get is let go
before the first index comes out.
"""

from collections.abc import Iterator, Sized
from typing import Any, Self

import numpy as np
import torch
from torch.utils import data as torch_data

from dlkit.checks import check_bool, check_sized
from dlkit.samplers.base import IndexArray
from dlkit.samplers.elastic import ElasticIndices, Pass
from dlkit.samplers.shares import Deal, check_ranks, check_sharding

_BLOCK = 65_536  # indices that are widened to 64 bits at a time
# Beyond this length torch.randperm draws 64 bits for each index; below, in any integer type, 32.
_NARROW = 2**32 // 20


class DistributedSampler(ElasticIndices, torch_data.DistributedSampler[Any]):
    """A rank's share of the data, as `torch.utils.data.distributed.DistributedSampler`.

    With the options that PyTorch's class has, the indices are the same. In dlkit's loader nobody
    has to call `set_epoch`; without a loader, an order that repeats gives a warning. A state can be
    loaded by another number of ranks, in the middle of an epoch too.

    Args:
        dataset: anything with a length.
        num_replicas: the number of ranks; by default that of the process group.
        rank: which of them this is; by default that of this process.
        shuffle: whether each epoch has a random order, drawn from `seed + epoch`.
        seed: the same on all ranks.
        drop_last: whether to leave out the last samples of the order, at most `num_replicas - 1`,
            so that all ranks get as many.
        pad: whether to repeat the first samples of the order, at most `num_replicas - 1`, so that
            all ranks get as many. With False every sample comes once, and some ranks get one sample
            less: right for evaluation. Training then needs `dlkit.ddp.join`, or the ranks that have
            one more would wait for the others for ever.

    Raises:
        ValueError: if there is no process group to ask, or an argument is none of the accepted.
        TypeError: if `dataset` has no length or `seed` is no integer.

    Example:
        >>> [list(DistributedSampler(range(5), 2, rank, shuffle=False)) for rank in (0, 1)]
        [[0, 2, 4], [1, 3, 0]]
        >>> [list(DistributedSampler(range(5), 2, r, shuffle=False, pad=False)) for r in (0, 1)]
        [[0, 2, 4], [1, 3]]
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        *,
        pad: bool = True,
    ) -> None:
        check_sized("dataset", dataset)
        check_bool("shuffle", shuffle)
        check_sharding(seed, drop_last, pad)
        self.num_replicas, self.rank = check_ranks(num_replicas, rank)
        self.dataset: Any = dataset
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.pad = pad
        self.epoch = 0
        deal = self._deal()
        self.num_samples = deal.count(self.rank)
        self.total_size = self.num_samples * self.num_replicas if deal.evenly else deal.total

    @property
    def repeats(self) -> bool:
        """Whether epochs ought to differ: they are shuffled."""
        return self.shuffle

    def _deal(self, gone: int = 0) -> Deal:
        total = len(self.dataset)
        return Deal(total, self.num_replicas, min(total, gone), self.pad, self.drop_last)

    def _share(self, running: Pass) -> Iterator[IndexArray]:
        deal = self._deal(running.items)
        if self.shuffle:
            yield from _in_blocks(shuffled_share(deal, self.rank, self.seed + running.epoch))
        else:
            for places in deal.blocks(self.rank, _BLOCK):
                yield places % deal.total

    def __len__(self) -> int:
        return self._deal().count(self.rank)

    def _identity(self) -> dict[str, Any]:
        return {
            "sampler": "DistributedSampler",
            "length": len(self.dataset),
            "shuffle": self.shuffle,
            "seed": self.seed if self.shuffle else None,
        }


def shuffled_share(deal: Deal, rank: int, seed: int) -> IndexArray:
    """Return what a rank gets of a random order, in an array that holds nothing else.

    Example:
        >>> torch.randperm(7, generator=torch.Generator().manual_seed(0)).tolist()
        [4, 0, 5, 3, 2, 6, 1]
        >>> shuffled_share(Deal(total=7, ranks=2), 1, seed=0)
        array([0, 3, 6, 4], dtype=int32)
    """
    order = random_order(deal.total, seed)
    first, step, count = deal.start + rank, deal.ranks, deal.count(rank)
    last = first + (count - 1) * step
    padded = count > 0 and last >= deal.total  # only a rank's last place can lie behind the end
    padding = order[last % deal.total] if padded else 0
    own = count - padded
    # Moved to the front piece by piece: a copy of the share would add to the peak.
    for start in range(0, own, _BLOCK):
        end = min(start + _BLOCK, own)
        order[start:end] = order[first + start * step : first + end * step : step]
    order.resize(count, refcheck=False)  # in place, where fancy indexing would copy
    if padded:
        order[-1] = padding
    return order


def random_order(total: int, seed: int) -> IndexArray:
    """Return the permutation that `torch.randperm` draws, in four bytes for each index if it fits.

    Example:
        >>> random_order(4, seed=0)
        array([0, 1, 3, 2], dtype=int32)
    """
    order = np.empty(total, np.int32 if total < _NARROW else np.int64)
    out = torch.from_numpy(order)
    generator = torch.Generator().manual_seed(seed)
    torch.randperm(total, generator=generator, dtype=out.dtype, out=out)
    return order


def _in_blocks(share: IndexArray) -> Iterator[IndexArray]:
    """Hand a share out in pieces of the type that indices have everywhere else."""
    for start in range(0, len(share), _BLOCK):
        yield share[start : start + _BLOCK].astype(np.int64)


class Exchanged(DistributedSampler):
    """PyTorch's `DistributedSampler` drawn in our way; the epoch is that of the original.

    Args:
        theirs: PyTorch's sampler.

    Example:
        >>> theirs = torch_data.DistributedSampler(range(4), 2, 0)
        >>> theirs.set_epoch(3)
        >>> list(Exchanged(theirs)) == list(theirs)
        True
    """

    def __init__(self, theirs: torch_data.DistributedSampler[Any]) -> None:
        super().__init__(
            theirs.dataset,  # type: ignore[arg-type]  # PyTorch asks for its length too
            theirs.num_replicas,
            theirs.rank,
            bool(theirs.shuffle),
            theirs.seed,
            bool(theirs.drop_last),
        )
        self._theirs = theirs

    @property
    def repeats(self) -> bool:
        """Nothing is warned of here: the original is allowed to repeat itself."""
        return False

    def own_pass(self) -> Self:
        """Return a copy with the epoch that the original has now."""
        self.epoch = self._theirs.epoch
        return super().own_pass()

    def _begin_pass(self) -> Pass:
        if not self._is_twin:
            self.epoch = self._theirs.epoch
        return super()._begin_pass()
