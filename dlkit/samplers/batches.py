"""Which indices make a batch: consecutive ones, equal class shares, similar lengths."""

import copy
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Self

import numpy as np
import torch

from dlkit.checks import check_bool, check_generator, check_positive_int
from dlkit.samplers.base import IndexArray, Resumable, ResumableOrder, Sampler
from dlkit.samplers.elastic import ElasticOrder
from dlkit.samplers.foreign import resumable


class BatchSampler(torch.utils.data.BatchSampler, Resumable):
    """Consecutive indices of another sampler as lists, as `torch.utils.data.BatchSampler`.

    Args:
        sampler: any iterable of indices.
        batch_size: indices in a batch.
        drop_last: leave out the last batch if it has fewer.

    Raises:
        ValueError: if `batch_size` is no positive integer or `drop_last` no bool.

    Example:
        >>> list(BatchSampler(range(7), batch_size=3, drop_last=False))
        [[0, 1, 2], [3, 4, 5], [6]]
        >>> list(BatchSampler(range(7), batch_size=3, drop_last=True))
        [[0, 1, 2], [3, 4, 5]]
    """

    deals_anew = False  # whether a loaded state cut its batches otherwise than this would

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool) -> None:
        check_positive_int("batch_size", batch_size)
        check_bool("drop_last", drop_last)
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last
        self._source_of: Any = None
        self._origin = (0, 0)  # batches and samples before a state of another batch size

    @property
    def _source(self) -> Any:
        """The sampler in a form that can be saved; made anew when `sampler` is exchanged."""
        if self._source_of is not self.sampler:
            self._source_of, self._saved_source = self.sampler, resumable(self.sampler)
        return self._saved_source

    def own_pass(self) -> Self:
        """Return a copy whose sampler counts for itself too."""
        twin = copy.copy(self)
        twin._source_of, twin._saved_source = self.sampler, self._source.own_pass()
        self._origin = (0, 0)
        return twin

    def arrays(self) -> Iterator[IndexArray | list[int]]:
        """The batches as arrays where the sampler has them, else as lists."""
        if isinstance(self._source, Sampler):
            return self._source.arrays(self.batch_size, self.drop_last)
        return self._lists()

    def _lists(self) -> Iterator[list[int]]:
        indices = iter(self._source)
        while batch := list(islice(indices, self.batch_size)):
            if self.drop_last and len(batch) < self.batch_size:
                return
            yield batch

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.arrays():
            yield batch if isinstance(batch, list) else batch.tolist()

    def __len__(self) -> int:
        total = len(self.sampler)  # type: ignore[arg-type]  # only called where it is known
        return total // self.batch_size if self.drop_last else -(-total // self.batch_size)

    def state_dict(self, position: int | None = None) -> dict[str, Any]:
        """Return where the batches stand; `position` counts batches, by default those drawn."""
        batches, samples = self._origin
        taken = None if position is None else samples + (position - batches) * self.batch_size
        return {
            "sampler": "BatchSampler",
            "batch_size": self.batch_size,
            "drop_last": self.drop_last,
            "batches": position,
            "source": self._source.state_dict(taken),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration continue where `state` was made.

        Raises:
            ValueError: if the state has another batch size or belongs to another sampler. What is
                dealt to ranks may go on with another batch size, as it may with other ranks.
        """
        ours = {"batch_size": self.batch_size, "drop_last": self.drop_last}
        elastic = isinstance(self._source, ElasticOrder)
        if elastic:
            del ours["batch_size"]
        theirs = {key: state.get(key) for key in ours}
        if state.get("sampler") != "BatchSampler" or ours != theirs:
            raise ValueError(
                f"the state does not fit this BatchSampler: it was made by {state.get('sampler')} "
                f"with {theirs}, but this one has {ours}"
            )
        self._source.load_state_dict(state["source"])
        if elastic:
            samples = sum(turns for _, turns in state["source"]["legs"])
            batches = -(-samples // state["batch_size"])
            self._origin = (state.get("batches") or batches, samples)
            self.deals_anew = self._source.deals_anew or state["batch_size"] != self.batch_size


def resumable_batches(batch_sampler: Any) -> Any:
    """Return a batch sampler of the same batches that can be saved; see `resumable`.

    Example:
        >>> theirs = torch.utils.data.BatchSampler(range(5), 2, drop_last=True)
        >>> list(resumable_batches(theirs).arrays())
        [[0, 1], [2, 3]]
    """
    if type(batch_sampler) is torch.utils.data.BatchSampler:
        return BatchSampler(
            batch_sampler.sampler, batch_sampler.batch_size, batch_sampler.drop_last
        )
    return resumable(batch_sampler)


class _BatchOrder(ResumableOrder[list[int]]):
    """Batches that are planned as a whole. A subclass writes `_plan`; its unit is the batch."""

    batch_size: int
    drop_last: bool

    @abstractmethod
    def _plan(self, generator: torch.Generator) -> list[IndexArray]:
        """Return the batches of one epoch."""

    def arrays(self) -> Iterator[IndexArray]:
        """The batches as arrays, from the saved position on."""
        generator, skip = self._begin()
        plan = self._plan(generator)
        self._rejoin()
        for batch in plan[skip:]:
            self._position += 1
            yield batch

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.arrays():
            yield batch.tolist()

    def _count(self, total: int) -> int:
        return total // self.batch_size if self.drop_last else -(-total // self.batch_size)


class StratifiedBatchSampler(_BatchOrder):
    """Batches in which each class has the share that it has in the whole data.

    For each batch, the places go to the classes that are furthest behind their share of everything
    drawn so far (largest remainder). So a class never runs ahead of its share or behind it by as
    much as one sample, and even a rare class is spread evenly over the epoch. Every sample comes
    once an epoch.

    Args:
        labels: the class of each sample, as integers.
        batch_size: samples in a batch.
        shuffle: draw which samples of a class come when; otherwise in the order of the data.
        drop_last: leave out the last batch if it is smaller.
        generator: source of random numbers; PyTorch's global one by default.

    Raises:
        ValueError: if there are no labels, or they are no flat list of integers.

    Example:
        >>> batches = StratifiedBatchSampler([0, 0, 0, 0, 1, 1], batch_size=3)
        >>> [sum(index >= 4 for index in batch) for batch in batches]
        [1, 1]
    """

    def __init__(
        self,
        labels: Sequence[int] | torch.Tensor,
        batch_size: int,
        *,
        shuffle: bool = True,
        drop_last: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        check_positive_int("batch_size", batch_size)
        check_bool("shuffle", shuffle)
        check_bool("drop_last", drop_last)
        check_generator(generator)
        self.labels = np.asarray(labels)
        if self.labels.ndim != 1 or not len(self.labels) or self.labels.dtype.kind not in "iu":
            raise ValueError(
                "labels must be a flat list of integers with at least one in it, but got shape "
                f"{list(self.labels.shape)} of {self.labels.dtype}"
            )
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.generator = generator

    def _plan(self, generator: torch.Generator) -> list[IndexArray]:
        members = self._members(generator)
        sizes = np.array([len(indices) for indices in members])
        total, taken, batches = len(self.labels), np.zeros_like(sizes), []
        for end in range(self.batch_size, total + self.batch_size, self.batch_size):
            target = _largest_remainder(sizes * (min(end, total) / total), min(end, total), taken)
            parts = [
                indices[first:last]
                for indices, first, last in zip(members, taken, target, strict=True)
            ]
            batch, taken = np.concatenate(parts), target
            if self.shuffle:
                batch = batch[torch.randperm(len(batch), generator=generator).numpy()]
            batches.append(batch)
        return batches[: len(self)]

    def _members(self, generator: torch.Generator) -> list[IndexArray]:
        """The indices of each class, shuffled."""
        members = [np.flatnonzero(self.labels == label) for label in np.unique(self.labels)]
        if self.shuffle:
            members = [m[torch.randperm(len(m), generator=generator).numpy()] for m in members]
        return members

    def __len__(self) -> int:
        return self._count(len(self.labels))


def _largest_remainder(quota: IndexArray, total: int, taken: IndexArray) -> IndexArray:
    """Round `quota` to integers that sum to `total` and are nowhere below `taken`."""
    counts = np.maximum(np.floor(quota + 1e-9).astype(np.int64), taken)
    behind = np.argsort(counts - quota, kind="stable")
    counts[behind[: total - counts.sum()]] += 1
    return counts


class LengthBucketSampler(_BatchOrder):
    """Batches of samples of similar length, so that little of a padded batch is padding.

    The data is shuffled, cut into pools of `bucket_batches` batches, sorted by length inside each
    pool, cut into batches, and the batches are shuffled. A larger pool pads less and mixes less.

    Args:
        lengths: the length of each sample.
        batch_size: samples in a batch.
        bucket_batches: batches in a pool.
        shuffle: whether to shuffle the data and the batches; otherwise pools follow the data.
        drop_last: leave out a batch with fewer samples.
        generator: source of random numbers; PyTorch's global one by default.

    Raises:
        ValueError: if there are no lengths, or they are no flat list of numbers.

    Example:
        >>> lengths = [5, 1, 9, 2, 8, 6]
        >>> [[lengths[i] for i in b] for b in LengthBucketSampler(lengths, 2, shuffle=False)]
        [[1, 2], [5, 6], [8, 9]]
    """

    def __init__(
        self,
        lengths: Sequence[int] | torch.Tensor,
        batch_size: int,
        *,
        bucket_batches: int = 100,
        shuffle: bool = True,
        drop_last: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        check_positive_int("batch_size", batch_size)
        check_positive_int("bucket_batches", bucket_batches)
        check_bool("shuffle", shuffle)
        check_bool("drop_last", drop_last)
        check_generator(generator)
        self.lengths = np.asarray(lengths)
        if self.lengths.ndim != 1 or not len(self.lengths) or self.lengths.dtype.kind not in "iuf":
            raise ValueError(
                "lengths must be a flat list of numbers with at least one in it, but got shape "
                f"{list(self.lengths.shape)} of {self.lengths.dtype}"
            )
        self.batch_size = batch_size
        self.bucket_batches = bucket_batches
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.generator = generator

    def _plan(self, generator: torch.Generator) -> list[IndexArray]:
        total, pool_size = len(self.lengths), self.batch_size * self.bucket_batches
        order = np.arange(total)
        if self.shuffle:
            order = torch.randperm(total, generator=generator).numpy()
        batches = []
        for start in range(0, total, pool_size):
            pool = order[start : start + pool_size]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += [
                pool[first : first + self.batch_size]
                for first in range(0, len(pool), self.batch_size)
            ]
        if self.drop_last and len(batches[-1]) < self.batch_size:
            batches.pop()
        if self.shuffle:
            batches = [batches[i] for i in torch.randperm(len(batches), generator=generator)]
        return batches

    def __len__(self) -> int:
        return self._count(len(self.lengths))
