"""Any sampler dealt to ranks: weighted, stratified, bucketed by length, or your own.

    ShardedSampler        indices 7 1 4 0 ...             rank 0 of 2 gets 7 4 ...
    ShardedBatchSampler   batches [7 1] [4 0] [9 2] ...   rank 0 of 2 gets [7 1] [9 2] ...

Every rank draws the whole order from the same random numbers and takes its share of it. All ranks
wait for the slowest one in each step, so batches of different lengths can be dealt such that those
of one step take about the same work.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils import data as torch_data

from dlkit.randomness import get_rng_state, set_rng_state
from dlkit.samplers.base import IndexArray, ResumableOrder, Sampler
from dlkit.samplers.batches import BatchSampler, resumable_batches
from dlkit.samplers.elastic import ElasticIndices, ElasticOrder, Pass
from dlkit.samplers.orders import SequentialSampler, as_array
from dlkit.samplers.shares import Deal, check_ranks, check_sharding


class _Wrapped:
    """The sampler whose order is dealt, and what is common to indices and batches."""

    source: Any
    seed: int
    num_replicas: int
    rank: int
    pad: bool
    drop_last: bool

    def _wrap(
        self, source: Any, ranks: tuple[int | None, int | None], options: tuple[Any, Any, Any]
    ) -> None:
        check_sharding(*options)
        inner = getattr(source, "sampler", source)
        if isinstance(inner, ElasticOrder | torch_data.DistributedSampler):
            raise ValueError(
                f"{type(inner).__name__} deals its order to ranks already; pass the sampler of the "
                "whole order, such as RandomSampler"
            )
        if not hasattr(source, "__iter__") or not hasattr(source, "__len__"):
            raise TypeError(
                f"the sampler must be iterable and have a length, but got a {type(source).__name__}"
            )
        self.source = source
        self.seed, self.drop_last, self.pad = options
        self.num_replicas, self.rank = check_ranks(*ranks)

    @property
    def repeats(self) -> bool:
        """Whether epochs ought to differ: as far as one can see, the sampler is a random one."""
        inner = resumable_batches(self.source)
        inner = inner._source if isinstance(inner, BatchSampler) else inner
        random_one = isinstance(inner, ResumableOrder) and not isinstance(inner, SequentialSampler)
        return random_one and getattr(inner, "shuffle", True)

    def _identity(self) -> dict[str, Any]:
        return {
            "sampler": f"{type(self).__name__}({type(self.source).__name__})",
            "length": len(self.source),
            "seed": self.seed,
        }

    def __len__(self) -> int:
        deal = Deal(len(self.source), self.num_replicas, 0, self.pad, self.drop_last)
        return deal.count(self.rank)


class ShardedSampler(_Wrapped, ElasticIndices):
    """A rank's share of the indices of any sampler.

    Args:
        sampler: the order of all ranks together. Ours and PyTorch's draw it from `seed + epoch`;
            any other must have the same order on every rank if the global random numbers, or those
            of its `generator`, are the same, or if its `set_epoch` was called.
        num_replicas: the number of ranks; by default that of the process group.
        rank: which of them this is; by default that of this process.
        seed: the same on all ranks.
        drop_last: whether to leave out the last indices, so that all ranks get as many.
        pad: whether to repeat the first indices, so that all ranks get as many.

    Raises:
        ValueError: if the sampler is sharded already, or an argument is none of the accepted.
        TypeError: if `sampler` has no length or cannot be iterated.

    Example:
        >>> from dlkit.samplers import WeightedRandomSampler
        >>> rare_as_often = WeightedRandomSampler([1, 1, 1, 3], num_samples=1000)
        >>> shares = [list(ShardedSampler(rare_as_often, 2, rank)) for rank in (0, 1)]
        >>> [len(share) for share in shares], 450 < sum(s.count(3) for s in shares) < 550
        ([500, 500], True)
    """

    def __init__(
        self,
        sampler: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        *,
        seed: int = 0,
        drop_last: bool = False,
        pad: bool = True,
    ) -> None:
        self._wrap(sampler, (num_replicas, rank), (seed, drop_last, pad))

    def _share(self, running: Pass) -> Iterator[IndexArray]:
        order = _whole_order(self.source, self.seed, running.epoch)
        total = len(order)
        gone = min(total, running.items)
        deal = Deal(total, self.num_replicas, gone, self.pad, self.drop_last)
        if deal.count(self.rank):
            yield as_array(order)[deal.places(self.rank) % total]


class ShardedBatchSampler(_Wrapped, ElasticOrder[list[int]]):
    """A rank's share of the batches of any batch sampler.

    The batches stay whole, so a stratified batch is stratified on each rank, and a bucketed one
    holds similar lengths.

    Args:
        batch_sampler: the batches of all ranks together; as `sampler` of `ShardedSampler`.
        num_replicas: the number of ranks; by default that of the process group.
        rank: which of them this is; by default that of this process.
        seed: the same on all ranks.
        drop_last: whether to leave out the last batches, so that all ranks get as many.
        pad: whether to repeat the first batches, so that all ranks get as many.
        lengths: the length of each sample, to balance the work. A batch takes its size times its
            longest sample, since the others are padded to that. Batches of about the same work are
            dealt in the same step; the steps come in random order.

    Raises:
        ValueError: if the sampler is sharded already, or an argument is none of the accepted.
        TypeError: if `batch_sampler` has no length or cannot be iterated.

    Example:
        >>> from dlkit.samplers import LengthBucketSampler
        >>> lengths = [5, 1, 9, 2, 8, 6, 7, 3]
        >>> bucketed = LengthBucketSampler(lengths, batch_size=2)
        >>> ranks = [ShardedBatchSampler(bucketed, 2, r, lengths=lengths) for r in (0, 1)]
        >>> steps = zip(*ranks, strict=True)
        >>> sorted(sorted(max(lengths[i] for i in batch) for batch in step) for step in steps)
        [[2, 5], [7, 9]]
    """

    def __init__(
        self,
        batch_sampler: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        *,
        seed: int = 0,
        drop_last: bool = False,
        pad: bool = True,
        lengths: Sequence[float] | torch.Tensor | None = None,
    ) -> None:
        self._wrap(batch_sampler, (num_replicas, rank), (seed, drop_last, pad))
        self.lengths = None if lengths is None else np.asarray(lengths)
        if self.lengths is not None and (
            self.lengths.ndim != 1 or self.lengths.dtype.kind not in "iuf"
        ):
            raise ValueError(
                f"lengths must be a flat list of numbers, but got shape "
                f"{list(self.lengths.shape)} of {self.lengths.dtype}"
            )

    def arrays(self) -> Iterator[Any]:
        """This rank's batches as arrays or lists, as the batch sampler makes them."""
        return self._share(self._begin_pass())

    def _share(self, running: Pass) -> Iterator[Any]:
        batches = _whole_order(self.source, self.seed, running.epoch)
        legs = [*running.legs]
        if not legs or legs[-1][0] != self.num_replicas:
            legs.append((self.num_replicas, 0))
        gone = 0
        # Which batches make a step depends on the number of ranks, so each leg is dealt again.
        for ranks, turns in legs:
            assert isinstance(ranks, int)
            batches = self._in_steps(batches[gone:], ranks, running.epoch)
            gone = min(len(batches), ranks * turns)
        deal = Deal(len(batches), self.num_replicas, gone, self.pad, self.drop_last)
        for place in deal.places(self.rank).tolist():
            self._position += 1
            yield batches[place % len(batches)]

    def _in_steps(self, batches: list[Any], ranks: int, epoch: int) -> list[Any]:
        """The batches in such an order that each run of `ranks` takes about the same work."""
        if self.lengths is None or len(batches) <= ranks:
            return batches
        work = np.array([len(batch) * self.lengths[batch].max() for batch in batches])
        ranking = np.argsort(-work, kind="stable")
        whole = len(batches) - len(batches) % ranks
        steps = ranking[:whole].reshape(-1, ranks)
        generator = torch.Generator().manual_seed(self.seed + epoch)
        # Shuffled inside too, or the first rank would have the most work in every step.
        inside = torch.rand(steps.shape, generator=generator).argsort(dim=1).numpy()
        steps = np.take_along_axis(steps, inside, axis=1)
        steps = steps[torch.randperm(len(steps), generator=generator).numpy()]
        return [batches[number] for number in (*steps.ravel(), *ranking[whole:])]

    def __iter__(self) -> Iterator[list[int]]:
        batches = self.arrays()
        return (batch.tolist() if isinstance(batch, np.ndarray) else batch for batch in batches)


def _whole_order(sampler: Any, seed: int, epoch: int) -> Any:
    """Every item of a sampler's epoch, drawn from `seed + epoch` whatever was drawn before."""
    source = resumable_batches(sampler).own_pass()
    inner = source._source if isinstance(source, BatchSampler) else source
    if isinstance(inner, ResumableOrder):
        inner.generator, inner._resume = torch.Generator().manual_seed(seed + epoch), None
        if isinstance(source, Sampler):
            return np.concatenate([*source._blocks()] or [np.empty(0, np.int64)])
        return list(source.arrays() if hasattr(source, "arrays") else source)
    foreign = inner.sampler
    with _seeded(foreign, seed + epoch):
        if hasattr(foreign, "set_epoch"):
            foreign.set_epoch(epoch)
        return list(source)


@contextmanager
def _seeded(sampler: Any, seed: int) -> Iterator[None]:
    """Seed everything that an unknown sampler may draw from, and put it back afterwards."""
    generator = getattr(sampler, "generator", None)
    own = generator if isinstance(generator, torch.Generator) else None
    outside, own_outside = get_rng_state(), own.get_state() if own else None
    try:
        for one in filter(None, (torch.default_generator, own)):
            one.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  (the global generator is meant)
        yield
    finally:
        set_rng_state(outside)
        if own is not None and own_outside is not None:
            own.set_state(own_outside)
