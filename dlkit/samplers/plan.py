"""Who gets what: an epoch's samples as an array of ranks, steps and places in the batch.

Tests compare it, pictures draw it, and it shows a mistake before any GPU has run:

    >>> plan = shard_plan(10, num_replicas=3, batch_size=2, shuffle=False)
    >>> plan.indices[0].tolist(), plan.indices[2].tolist()
    ([[0, 3], [6, 9]], [[2, 5], [8, 1]])
    >>> plan.summary()
    '10 samples on 3 ranks in 2 steps of up to 6; repeated: 2 (0, 1); in no batch: 0'
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlkit.checks import check_positive_int
from dlkit.samplers.distributed import DistributedSampler


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What each rank gets in each step of an epoch.

    Attributes:
        samples: how many the dataset has.
        indices: of shape `[ranks, steps, batch]`; -1 where a batch is not full or a rank has none.
        repeated: of the same shape; whether the sample has come before in this epoch, earlier in
            the order that is dealt out. With one order for all ranks, that is the padding.
        dropped: the samples that no rank gets, in ascending order.
    """

    samples: int
    indices: npt.NDArray[np.int64]
    repeated: npt.NDArray[np.bool_]
    dropped: npt.NDArray[np.int64]

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """How often each sample comes, of shape `[samples]`."""
        given = self.indices[self.indices >= 0]
        return np.bincount(given, minlength=self.samples)

    @property
    def shares(self) -> list[list[int]]:
        """The samples of each rank, in order."""
        return [rank[rank >= 0].tolist() for rank in self.indices]

    def workers(self, num_workers: int) -> npt.NDArray[np.int64]:
        """Return the worker of each rank's loader that fetches each step, of shape `[steps]`.

        Batches go to workers in turn, which holds while they are delivered in order.
        """
        check_positive_int("num_workers", num_workers)
        return np.arange(self.indices.shape[1]) % num_workers

    def summary(self) -> str:
        """Return the plan's numbers in a sentence."""
        ranks, steps, batch = self.indices.shape
        repeated = self.indices[self.repeated].tolist()
        return (
            f"{self.samples} samples on {ranks} rank{'s' * (ranks > 1)} in {steps} "
            f"step{'s' * (steps != 1)} of up to {ranks * batch}; repeated: {_some(repeated)}; "
            f"in no batch: {_some(self.dropped.tolist())}"
        )


def shard_plan(
    samples: int,
    num_replicas: int,
    batch_size: int = 1,
    *,
    epoch: int = 0,
    shuffle: bool = True,
    seed: int = 0,
    drop_last: bool = False,
    pad: bool = True,
) -> ShardPlan:
    """Return what `DistributedSampler` gives each of `num_replicas` ranks in an epoch.

    Args:
        samples: how many the dataset has; 0 or more.
        num_replicas: the number of ranks.
        batch_size: samples in a batch of one rank.
        epoch: its number.
        shuffle: as for the sampler.
        seed: as for the sampler.
        drop_last: as for the sampler.
        pad: as for the sampler.

    Raises:
        ValueError, TypeError: if an argument is none of the accepted.
    """
    check_positive_int("num_replicas", num_replicas)
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 0:
        raise ValueError(f"samples must be an integer of 0 or more, but got {samples!r}")
    orders = []
    for rank in range(num_replicas):
        sampler = DistributedSampler(
            range(samples), num_replicas, rank, shuffle, seed, drop_last, pad=pad
        )
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    return plan_of(orders, samples, batch_size)


def plan_of(orders: Sequence[Sequence[int]], samples: int, batch_size: int = 1) -> ShardPlan:
    """Return the plan of any orders, right ones or wrong ones.

    Args:
        orders: the indices of each rank, such as `list(sampler)`.
        samples: how many the dataset has.
        batch_size: samples in a batch of one rank.

    Raises:
        ValueError: if there is no rank, or an index is none of the dataset's.

    Example:
        >>> plan_of([[0, 1], [0, 1]], samples=3).summary()
        '3 samples on 2 ranks in 2 steps of up to 2; repeated: 2 (0, 1); in no batch: 1 (2)'
    """
    check_positive_int("batch_size", batch_size)
    if not orders:
        raise ValueError("orders must hold the indices of at least one rank, but got none")
    wrong = next((index for order in orders for index in order if not 0 <= index < samples), None)
    if wrong is not None:
        raise ValueError(f"orders must hold indices from 0 to {samples - 1}, but got {wrong!r}")
    steps = -(-max(map(len, orders)) // batch_size)
    places = np.full((len(orders), steps * batch_size), -1, dtype=np.int64)
    for row, order in zip(places, orders, strict=True):
        row[: len(order)] = order
    dealt = places.T.ravel()  # in the order in which they are dealt out: turn by turn
    first = np.zeros(len(dealt), dtype=bool)
    first[np.unique(dealt, return_index=True)[1]] = True
    repeated = (~first & (dealt >= 0)).reshape(places.T.shape).T
    shape = (len(orders), steps, batch_size)
    dropped = np.setdiff1d(np.arange(samples), places)
    return ShardPlan(samples, places.reshape(shape), repeated.reshape(shape), dropped)


def _some(indices: list[Any], most: int = 8) -> str:
    """How many there are, and which, as far as they fit."""
    if not indices:
        return "0"
    shown = ", ".join(map(str, indices[:most]))
    return f"{len(indices)} ({shown}{', ...' if len(indices) > most else ''})"
