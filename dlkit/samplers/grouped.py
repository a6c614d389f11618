"""Batches planned by what is in them: equal class shares, similar lengths."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from dlkit.checks import check_bool, check_generator, check_positive_int
from dlkit.samplers.base import IndexArray, ResumableOrder


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

    The places of each batch go to the classes that are furthest behind their share of everything
    drawn so far (largest remainder). After every batch, the number of samples of a class that have
    come is its share of all that have come, rounded up or down: even a rare class is spread over
    the epoch. Every sample comes once an epoch.

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
        taken, batches = np.zeros_like(sizes), []
        for target in _targets(sizes, self.batch_size):
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


def _targets(sizes: IndexArray, batch_size: int) -> list[IndexArray]:
    """Return, for each batch, how many samples of each class have come when it ends.

    Rounding up the classes that are furthest behind spreads them best, but fails where several
    frequent classes are due at once and rare ones, which could have waited, were rounded up before.
    Then the classes that are due first are rounded up, which always works (earliest deadline first,
    for tasks of equal length).
    """
    furthest_behind = _rounded_shares(sizes, batch_size, first_due=False)
    return furthest_behind or _rounded_shares(sizes, batch_size, first_due=True)


def _rounded_shares(sizes: IndexArray, batch_size: int, first_due: bool) -> list[IndexArray]:
    """Round the shares of the classes after each batch; an empty list if that cannot go on."""
    total, targets = int(sizes.sum()), [np.zeros_like(sizes)]
    for start in range(0, total, batch_size):
        end = min(start + batch_size, total)
        share = sizes * (end / total)
        counts = np.maximum(np.floor(share + 1e-9).astype(np.int64), targets[-1])
        missing = end - int(counts.sum())
        if missing < 0:
            return []
        if first_due:
            ahead = counts * total >= sizes * end
            due = -(-(counts + 1) * total // sizes)  # when one more of the class has to have come
            order = np.lexsort((-(-due // batch_size), ahead))
        else:
            order = np.argsort(counts - share, kind="stable")
        counts[order[:missing]] += 1
        targets.append(counts)
    return targets[1:]


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
