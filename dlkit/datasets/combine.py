"""Datasets made from datasets: a part, several in a row, samples passed through a function.

Each reads a batch with as few calls as the datasets below it allow.
"""

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils import data as torch_data
from torch.utils.data import IterableDataset

from dlkit.datasets.base import (
    ArrayIndexed,
    Columns,
    Indices,
    as_index_array,
    as_list,
    read_samples,
)
from dlkit.datasets.tensors import TensorDataset


class Subset(ArrayIndexed, torch_data.Subset[Any]):
    """The samples of `dataset` at `indices`, in that order.

    Args:
        dataset: any map-style dataset.
        indices: positions in `dataset`.

    Example:
        >>> evens = Subset(TensorDataset(torch.arange(10)), range(0, 10, 2))
        >>> len(evens), evens[3], evens.__getitems__([3, 0]).columns
        (5, (tensor(6),), (tensor([6, 0]),))
    """

    dataset: Any
    indices: Any

    def __init__(self, dataset: Any, indices: Indices) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: int | list[int]) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: Indices) -> Sequence[Any]:  # type: ignore[override]
        if isinstance(self.indices, np.ndarray):
            return read_samples(self.dataset, self.indices[as_index_array(indices)])
        # Looked up one by one: a list may be shuffled in place between two batches.
        if not hasattr(self.dataset, "__getitems__"):
            return [self.dataset[self.indices[index]] for index in as_list(indices)]
        return read_samples(self.dataset, [self.indices[index] for index in as_list(indices)])

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(ArrayIndexed, torch_data.ConcatDataset[Any]):
    """Several map-style datasets, one after another.

    Args:
        datasets: at least one dataset with a length.

    Raises:
        ValueError: if there is none.
        TypeError: if one is iterable-style and so cannot be indexed.

    Example:
        >>> both = ConcatDataset([TensorDataset(torch.arange(3)), TensorDataset(torch.arange(5))])
        >>> len(both), both[4], both.__getitems__([4, 0, 7]).columns
        (8, (tensor(1),), (tensor([1, 0, 4]),))
    """

    datasets: list[Any]

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset needs at least one dataset, but got none")
        for position, dataset in enumerate(self.datasets):
            if isinstance(dataset, IterableDataset):
                raise TypeError(
                    f"dataset {position} is an IterableDataset ({type(dataset).__name__}), which "
                    "has no indices; use torch.utils.data.ChainDataset for those"
                )
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))

    def __getitem__(self, index: int) -> Any:
        owner, local = self._locate(as_index_array([index]))
        return self.datasets[owner[0]][int(local[0])]

    def __getitems__(self, indices: Indices) -> Sequence[Any]:
        owner, local = self._locate(as_index_array(indices))
        parts = []
        for number in np.unique(owner):
            places = np.flatnonzero(owner == number)
            parts.append((places, read_samples(self.datasets[number], local[places])))
        return _interleave(parts, len(owner))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def _locate(
        self, indices: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
        """Say for each index which dataset holds it, and under which index there."""
        out_of_range = (indices < -len(self)) | (indices >= len(self))
        if out_of_range.any():
            index = int(indices[out_of_range][0])
            raise IndexError(f"index {index} is out of range for {len(self)} samples")
        indices = np.where(indices < 0, indices + len(self), indices)
        owner = np.searchsorted(self.cumulative_sizes, indices, side="right")
        starts = np.array([0, *self.cumulative_sizes[:-1]])
        return owner, indices - starts[owner]


def _interleave(
    parts: list[tuple[npt.NDArray[np.intp], Sequence[Any]]], length: int
) -> Sequence[Any]:
    """Put samples that were read in parts back into the order in which they were asked for."""
    if len(parts) == 1:
        return parts[0][1]
    blocks = [samples for _, samples in parts if isinstance(samples, Columns)]
    if parts and len(blocks) == len(parts):
        layouts = {tuple((c.shape[1:], c.dtype, c.device) for c in b.columns) for b in blocks}
        if len(layouts) == 1:
            # Row k of the parts laid end to end belongs at places[k]: invert that permutation.
            order = torch.from_numpy(np.argsort(np.concatenate([places for places, _ in parts])))
            columns = zip(*(block.columns for block in blocks), strict=True)
            return Columns(*(torch.cat(c).index_select(0, order.to(c[0].device)) for c in columns))
    samples: list[Any] = [None] * length
    for places, part in parts:
        for place, sample in zip(places, part, strict=True):
            samples[place] = sample
    return samples


class TransformDataset(ArrayIndexed, torch_data.Dataset[Any]):
    """A dataset whose samples pass through a function when they are read.

    A tuple `(input, target, ...)` has `transform` applied to its first field and `target_transform`
    to its second, as in torchvision's datasets; any other sample goes through `transform` whole.

    Args:
        dataset: any map-style dataset; it is read batch-wise where it allows that.
        transform: called with the input of one sample.
        target_transform: called with the target of one sample.

    Raises:
        TypeError: if a transform cannot be called.

    Example:
        >>> pairs = TensorDataset(torch.arange(4), torch.arange(4))
        >>> doubled = TransformDataset(pairs, lambda x: 2 * x)
        >>> doubled[3]
        (tensor(6), tensor(3))
    """

    def __init__(
        self,
        dataset: Any,
        transform: Callable[[Any], Any] | None = None,
        *,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        for name, function in (("transform", transform), ("target_transform", target_transform)):
            if function is not None and not callable(function):
                raise TypeError(f"{name} must be callable or None, but got {function!r}")
        self.dataset = dataset
        self.transform = transform
        self.target_transform = target_transform

    def __getitem__(self, index: int) -> Any:
        return self._apply(self.dataset[index])

    def __getitems__(self, indices: Indices) -> list[Any]:
        return [self._apply(sample) for sample in read_samples(self.dataset, indices)]

    def __len__(self) -> int:
        return len(self.dataset)

    def _apply(self, sample: Any) -> Any:
        if not isinstance(sample, tuple) or hasattr(sample, "_fields"):
            return self.transform(sample) if self.transform else sample
        fields = list(sample)
        if self.transform:
            fields[0] = self.transform(fields[0])
        if self.target_transform and len(fields) > 1:
            fields[1] = self.target_transform(fields[1])
        return tuple(fields)


def random_split(
    dataset: Any,
    lengths: Sequence[int | float],
    generator: torch.Generator | None = None,
) -> list[Subset]:
    """Cut a dataset at random into parts that do not overlap; same parts as PyTorch's function.

    Args:
        dataset: any map-style dataset.
        lengths: samples in each part, or fractions that sum to 1 (what rounding leaves over goes to
            the first parts, one sample each).
        generator: source of the permutation; PyTorch's global one by default.

    Returns:
        One `Subset` for each length.

    Raises:
        ValueError: if a length is negative or the lengths do not sum to the dataset's.

    Example:
        >>> train, test = random_split(range(10), [0.8, 0.2], torch.Generator().manual_seed(0))
        >>> len(train), len(test), sorted([*train, *test]) == list(range(10))
        (8, 2, True)
    """
    total = len(dataset)
    if any(length < 0 for length in lengths):
        raise ValueError(f"lengths must not be negative, but got {list(lengths)}")
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        sizes = [math.floor(total * fraction) for fraction in lengths]
        for part in range(total - sum(sizes)):
            sizes[part % len(sizes)] += 1
        if 0 in sizes:
            warnings.warn(f"a part of the split is empty: sizes are {sizes}", stacklevel=2)
    else:
        sizes = [int(length) for length in lengths]
    if sum(sizes) != total or (sizes != list(lengths) and not math.isclose(sum(lengths), 1)):
        raise ValueError(
            f"lengths must sum to the {total} samples of the dataset, or be fractions that sum "
            f"to 1, but got {list(lengths)} with the sum {sum(lengths)}"
        )
    order = torch.randperm(total, generator=generator).tolist()
    ends = list(itertools.accumulate(sizes))
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


def vectorised(dataset: Any) -> Any:
    """Return an equal dataset that reads batches at once, for PyTorch's classes that could.

    Only PyTorch's own classes are exchanged, not their subclasses, which may read differently.

    Example:
        >>> fast = vectorised(torch.utils.data.TensorDataset(torch.arange(3)))
        >>> type(fast).__module__
        'dlkit.datasets.tensors'
    """
    kind = type(dataset)
    if kind is torch_data.TensorDataset:
        return TensorDataset(*dataset.tensors)
    if kind is torch_data.Subset:
        return Subset(vectorised(dataset.dataset), dataset.indices)
    if kind is torch_data.ConcatDataset:
        return ConcatDataset([vectorised(part) for part in dataset.datasets])
    return dataset
