"""What a dataset is, and the datasets that read a whole batch at once.

Three protocols, PyTorch's own, so that any dataset written for it works here:

    map style      len(dataset), dataset[index]        one sample
    vectorised     dataset.__getitems__([3, 1, 2])     three samples, in that order
    iterable       iter(dataset)                       samples, in the dataset's own order

The middle one decides the speed. Reading a batch sample by sample costs, for each sample, an
indexing call, a new tensor object and its share of the `stack` that joins them again. The datasets
below gather all rows of a batch in one call, and hand them on as `Columns`: a sequence of samples
that is not cut into samples unless somebody asks for one.

    indices [3, 1, 2] --one gather--> Columns(images [3, 1, 28, 28], labels [3]) --collate--> batch
"""

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, cast, overload, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils import data as torch_data
from torch.utils.data import Dataset, IterableDataset

from dlkit.datasets.rows import row_reader

__all__ = [
    "Columns",
    "ConcatDataset",
    "Dataset",
    "Indices",
    "IterableDataset",
    "MapDataset",
    "Subset",
    "TensorDataset",
    "TransformDataset",
    "VectorisedDataset",
    "random_split",
    "read_samples",
    "samples_reader",
    "vectorised",
]

Sample = TypeVar("Sample", covariant=True)
Indices = Sequence[int] | npt.NDArray[np.int64]


class MapDataset(Protocol[Sample]):
    """A dataset with a length and a sample for each index in `range(len(dataset))`."""

    def __getitem__(self, index: int, /) -> Sample: ...

    def __len__(self) -> int: ...


@runtime_checkable
class VectorisedDataset(Protocol[Sample]):
    """A dataset that reads the samples of many indices in one call."""

    def __getitems__(self, indices: list[int], /) -> Sequence[Sample]: ...


class Columns(Sequence[tuple[Tensor, ...]]):
    """A batch of samples that was gathered field by field and is not cut into samples yet.

    It is a sequence of tuples, so any `collate_fn` can work on it, PyTorch's included; dlkit's
    `default_collate` sees that the work is done already and returns the columns themselves.

    Args:
        *columns: one tensor for each field of a sample, all of shape `[batch, ...]`.

    Example:
        >>> samples = Columns(torch.tensor([[1, 2], [3, 4]]), torch.tensor([0, 1]))
        >>> len(samples), samples[1]
        (2, (tensor([3, 4]), tensor(1)))
    """

    __slots__ = ("columns",)

    def __init__(self, *columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    @overload
    def __getitem__(self, position: int, /) -> tuple[Tensor, ...]: ...

    @overload
    def __getitem__(self, position: slice, /) -> "Columns": ...

    def __getitem__(self, position: int | slice, /) -> "tuple[Tensor, ...] | Columns":
        if isinstance(position, slice):
            return Columns(*(column[position] for column in self.columns))
        return tuple(column[position] for column in self.columns)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        # Tensor.unbind cuts a column in one call; indexing it row by row costs three times as much.
        return zip(*(column.unbind(0) for column in self.columns), strict=True)


class _ArrayIndexed:
    """Marks dlkit's own `__getitems__`, which take a NumPy array as well as a list of integers.

    A dataset written by somebody else gets a list of Python integers, as from PyTorch: an
    `np.int64` is no valid key for every dictionary, file name or JSON document.
    """


def read_samples(dataset: Any, indices: Indices) -> Sequence[Any]:
    """Read the samples of `indices`, in that order, with one call if the dataset allows it.

    Args:
        dataset: any map-style dataset, dlkit's, PyTorch's or the user's.
        indices: integers, as a list or as a NumPy array of shape `[n]`.

    Returns:
        A sequence of n samples.

    Example:
        >>> read_samples("abcdef", [5, 0, 2])
        ['f', 'a', 'c']
    """
    return samples_reader(dataset)(indices)


def samples_reader(dataset: Any) -> Callable[[Indices], Sequence[Any]]:
    """Return the function that does what `read_samples` does, for one dataset and many batches."""
    getitems = getattr(dataset, "__getitems__", None)
    if getitems is not None and isinstance(dataset, _ArrayIndexed):
        return cast(Callable[[Indices], Sequence[Any]], getitems)

    if getitems is not None:
        return lambda indices: cast(Sequence[Any], getitems(_as_list(indices)))
    return lambda indices: [dataset[index] for index in _as_list(indices)]


def _as_list(indices: Indices) -> Sequence[int]:
    return indices.tolist() if isinstance(indices, np.ndarray) else indices


class TensorDataset(_ArrayIndexed, torch_data.Dataset[tuple[Tensor, ...]]):
    """Tensors in memory; sample `i` is the tuple of their rows `i`.

    Like `torch.utils.data.TensorDataset`, but a batch is read with one gather per tensor.

    Args:
        *tensors: tensors of shape `[n, ...]` with the same n.

    Raises:
        TypeError: if an argument is no tensor.
        ValueError: if there is no tensor, one has no dimension, or their lengths differ.

    Example:
        >>> dataset = TensorDataset(torch.arange(4) * 10, torch.arange(4))
        >>> dataset[2]
        (tensor(20), tensor(2))
        >>> dataset.__getitems__([2, 0]).columns
        (tensor([20,  0]), tensor([2, 0]))
    """

    def __init__(self, *tensors: Tensor) -> None:
        if not tensors:
            raise ValueError("TensorDataset needs at least one tensor, but got none")
        for position, tensor in enumerate(tensors):
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"TensorDataset takes tensors, but argument {position} is a "
                    f"{type(tensor).__name__}; torch.as_tensor(...) makes one"
                )
            if tensor.dim() == 0:
                raise ValueError(f"tensor {position} has no dimension to index: its shape is []")
        if len({len(tensor) for tensor in tensors}) > 1:
            lengths = [len(tensor) for tensor in tensors]
            raise ValueError(f"all tensors must have the same length, but got lengths {lengths}")
        self.tensors = tensors
        self._readers = [row_reader(tensor) for tensor in tensors]

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __getitems__(self, indices: Indices) -> Columns:
        if not isinstance(indices, np.ndarray):
            indices = np.asarray(indices, dtype=np.int64)
        return Columns(*[read(indices) for read in self._readers])

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getstate__(self) -> dict[str, Any]:
        # A reader holds a NumPy view of its tensor, which pickle would write as a second copy.
        return {name: value for name, value in vars(self).items() if name != "_readers"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._readers = [row_reader(tensor) for tensor in self.tensors]


class Subset(_ArrayIndexed, torch_data.Dataset[Any]):
    """The samples of `dataset` at `indices`, in that order.

    Args:
        dataset: any map-style dataset.
        indices: positions in `dataset`.

    Example:
        >>> evens = Subset(TensorDataset(torch.arange(10)), range(0, 10, 2))
        >>> len(evens), evens[3], evens.__getitems__([3, 0]).columns
        (5, (tensor(6),), (tensor([6, 0]),))
    """

    def __init__(self, dataset: Any, indices: Indices) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: int | list[int]) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: Indices) -> Sequence[Any]:
        if isinstance(self.indices, np.ndarray):
            return read_samples(self.dataset, self.indices[np.asarray(indices, dtype=np.int64)])
        # Looked up one by one: a list may be shuffled in place between two batches.
        chosen = [self.indices[index] for index in _as_list(indices)]
        return read_samples(self.dataset, np.array(chosen, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(_ArrayIndexed, torch_data.Dataset[Any]):
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
        owner, local = self._locate(np.array([index]))
        return self.datasets[owner[0]][int(local[0])]

    def __getitems__(self, indices: Indices) -> Sequence[Any]:
        owner, local = self._locate(np.asarray(indices, dtype=np.int64))
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


class TransformDataset(_ArrayIndexed, torch_data.Dataset[Any]):
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
        'dlkit.datasets.base'
    """
    kind = type(dataset)
    if kind is torch_data.TensorDataset:
        return TensorDataset(*dataset.tensors)
    if kind is torch_data.Subset:
        return Subset(vectorised(dataset.dataset), dataset.indices)
    if kind is torch_data.ConcatDataset:
        return ConcatDataset([vectorised(part) for part in dataset.datasets])
    return dataset
