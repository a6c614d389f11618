"""What a dataset is, and how a whole batch is read at once.

Three protocols, PyTorch's own, so that any dataset written for it works here:

    map style      len(dataset), dataset[index]        one sample
    vectorised     dataset.__getitems__([3, 1, 2])     three samples, in that order
    iterable       iter(dataset)                       samples, in the dataset's own order

The middle one decides the speed. Reading a batch sample by sample costs, for each sample, an
indexing call, a new tensor object and its share of the `stack` that joins them again. dlkit's
datasets gather all rows of a batch in one call, and hand them on as `Columns`: a sequence of
samples that is not cut into samples unless somebody asks for one.

    indices [3, 1, 2] --one gather--> Columns(images [3, 1, 28, 28], labels [3]) --collate--> batch
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, cast, overload, runtime_checkable

import numpy as np
import numpy.typing as npt
from torch import Tensor

Sample = TypeVar("Sample", covariant=True)
Indices = Sequence[int] | npt.NDArray[np.int64]
_INT64 = np.dtype(np.int64)


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
        >>> import torch
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


class Gathered(Sequence[Any]):
    """Samples of any form that were read together and need no more collating.

    Like `Columns` they are a sequence of samples, for any `collate_fn`; dlkit's `default_collate`
    asks for the batch instead. A subclass has `__len__`, `__getitem__` and `collated`.
    """

    def collated(self) -> Any:
        """Return the batch that `default_collate` would make of the samples."""
        raise NotImplementedError(f"{type(self).__name__} must define collated")


class GathersBatches:
    """Marks datasets whose `__getitems__` writes a batch straight to where the loader wants it.

    They ask `dlkit.memory` for a place, and keep nothing of what they return.
    """


class ArrayIndexed:
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
    if not getitems or _reads_otherwise(dataset):
        return lambda indices: [dataset[index] for index in as_list(indices)]
    if isinstance(dataset, ArrayIndexed):
        return cast(Callable[[Indices], Sequence[Any]], getitems)
    return lambda indices: cast(Sequence[Any], getitems(as_list(indices)))


def _reads_otherwise(dataset: Any) -> bool:
    """Whether somebody's subclass of a dataset of ours changes `__getitem__` alone."""
    if not isinstance(dataset, ArrayIndexed):
        return False
    for kind in type(dataset).__mro__:
        if "__getitems__" in vars(kind):
            return False
        if "__getitem__" in vars(kind):
            return True
    return False


def has_state(dataset: Any) -> bool:
    """Whether a dataset, an iterable one mostly, can say where it stands and be set back there."""
    return hasattr(dataset, "state_dict") and hasattr(dataset, "load_state_dict")


def as_index_array(indices: Indices) -> npt.NDArray[np.int64]:
    """Return indices as an array; anything but integers is refused, never rounded.

    Raises:
        IndexError, TypeError: if an index is a float, a bool or no number at all, or does not fit
            into 64 bits.
    """
    if type(indices) is np.ndarray and indices.dtype is _INT64:  # as samplers of ours give them
        return indices
    array = np.asarray(indices)
    if array.dtype.kind in "iu" or not array.size:
        return array.astype(np.int64, copy=False)
    for index in indices:
        if isinstance(index, bool) or not isinstance(index, int | np.integer):
            error = IndexError if isinstance(index, float) else TypeError
            raise error(f"indices must be integers, but got {index!r}")
    try:
        return np.array([int(index) for index in indices], dtype=np.int64)
    except OverflowError:
        raise IndexError(
            f"indices must fit into 64 bits, but got {max(indices, key=abs)}"
        ) from None


def as_list(indices: Indices) -> Sequence[int]:
    """Return indices as Python integers."""
    return indices.tolist() if isinstance(indices, np.ndarray) else indices
