"""Samples as bytes: rows of columns where all have one layout, pickles where they have not.

    (image [1, 28, 28] uint8, 7)   Layout: a tuple of a uint8 tensor [1, 28, 28] and an int
                                   columns: uint8 [n, 1, 28, 28], int64 [n]

A batch of samples of one layout is gathered with one call per column, and is the collated batch.
"""

import functools
import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlkit.datasets.base import Columns, Gathered
from dlkit.memory import prepared_tensor

Array = npt.NDArray[Any]
_NUMBERS: dict[type, str] = {bool: "bool", int: "int64", float: "float64"}
_CONTAINERS = (tuple, list)


@dataclass(frozen=True)
class Leaf:
    """One value of a sample that always takes the same number of bytes.

    Attributes:
        kind: "tensor", "array", "scalar" (of NumPy) or the name of a Python type.
        dtype: of the column that holds it.
        shape: of one value.
    """

    kind: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of one value."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def value(self, row: Tensor) -> Any:
        """Return one row of the column as the value that the sample had, in memory of its own."""
        if self.kind == "tensor":
            return row.clone()
        if self.kind == "array":
            return np.array(row.numpy())
        return row.numpy()[()] if self.kind == "scalar" else row.item()


@dataclass(frozen=True)
class Layout:
    """The structure that samples have in common.

    Attributes:
        tree: nested tuples, lists and dictionaries; an integer stands for the leaf of that number.
        leaves: what stands at the ends.
    """

    tree: Any
    leaves: tuple[Leaf, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of one sample in all columns."""
        return sum(leaf.nbytes for leaf in self.leaves)

    @property
    def is_tuple_of_tensors(self) -> bool:
        """Whether samples are what a `TensorDataset` has."""
        flat = self.tree == tuple(range(len(self.leaves)))
        return flat and all(leaf.kind == "tensor" for leaf in self.leaves)

    def fill(self, values: Sequence[Any], batched: bool = False) -> Any:
        """Put values in the place of the leaves; a batch has lists where samples have tuples."""
        return _fill(self.tree, values, batched)


def _fill(tree: Any, values: Sequence[Any], batched: bool) -> Any:
    if type(tree) is int:
        return values[tree]
    if type(tree) is dict:
        return {key: _fill(part, values, batched) for key, part in tree.items()}
    parts = [_fill(part, values, batched) for part in tree]
    return tuple(parts) if type(tree) is tuple and not batched else parts


def take_apart(sample: Any) -> tuple[Layout, list[Any]] | None:
    """Return a sample's layout and its leaves, or None if a value may vary in size.

    Example:
        >>> layout, leaves = take_apart((torch.zeros(2, dtype=torch.uint8), 7))
        >>> layout.nbytes, layout.tree, leaves
        (10, (0, 1), [array([0, 0], dtype=uint8), 7])
        >>> take_apart("a string") is None
        True
    """
    leaves: list[Leaf] = []
    values: list[Any] = []
    try:
        tree = _tree(sample, leaves, values)
    except _VariesError:
        return None
    layout = Layout(tree, tuple(leaves))
    return (layout, values) if layout.nbytes else None


class _VariesError(Exception):
    """The sample has no fixed size."""


def _tree(part: Any, leaves: list[Leaf], values: list[Any]) -> Any:
    kind = type(part)
    if kind in _CONTAINERS:
        return kind([_tree(inner, leaves, values) for inner in part])
    if kind is dict:
        return {key: _tree(inner, leaves, values) for key, inner in part.items()}
    if kind is Tensor and _has_array(part):
        value: Any = part.detach().numpy()
        leaf = Leaf("tensor", value.dtype.name, value.shape)
    elif kind is np.ndarray and part.dtype.name in _NAMES and part.dtype.isnative:
        value, leaf = part, Leaf("array", part.dtype.name, part.shape)
    elif isinstance(part, np.generic) and part.dtype.name in _NAMES:
        value, leaf = part, Leaf("scalar", part.dtype.name, ())
    elif kind in _NUMBERS and not (kind is int and not -(1 << 63) <= part < 1 << 63):
        value, leaf = part, Leaf(kind.__name__, _NUMBERS[kind], ())
    else:
        raise _VariesError
    leaves.append(leaf)
    values.append(value)
    return len(leaves) - 1


def _has_array(tensor: Tensor) -> bool:
    return (
        tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.requires_grad
        and tensor.dtype in _OF_NUMPY
        and not tensor.is_neg()
        and not tensor.is_conj()
    )


# What both NumPy and PyTorch have.
_NAMES = {
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
}
_OF_NUMPY = {getattr(torch, name) for name in _NAMES}


class Rows(Gathered):
    """Samples of one layout, gathered column by column.

    Args:
        layout: of each sample.
        columns: one tensor `[n, *shape]` for each leaf.

    Example:
        >>> layout, _ = take_apart({"x": np.zeros(2), "y": 0})
        >>> rows = Rows(layout, [torch.ones(3, 2).double(), torch.arange(3)])
        >>> rows[2]
        {'x': array([1., 1.]), 'y': 2}
        >>> rows.collated()["y"]
        tensor([0, 1, 2])
    """

    def __init__(self, layout: Layout, columns: Sequence[Tensor]) -> None:
        self.layout = layout
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    @overload
    def __getitem__(self, position: SupportsIndex, /) -> Any: ...

    @overload
    def __getitem__(self, position: slice, /) -> "Rows": ...

    def __getitem__(self, position: Any, /) -> Any:
        if isinstance(position, slice):
            return Rows(self.layout, [column[position] for column in self.columns])
        pairs = zip(self.layout.leaves, self.columns, strict=True)
        return self.layout.fill([leaf.value(column[position]) for leaf, column in pairs])

    def __iter__(self) -> Iterator[Any]:
        return (self[position] for position in range(len(self)))

    def collated(self) -> Any:
        """Return the columns as tensors, in the structure that `default_collate` gives them."""
        return self.layout.fill(self.columns, batched=True)


def as_samples(layout: Layout, columns: Sequence[Tensor]) -> Sequence[Any]:
    """Return gathered columns as the sequence of samples that the fastest collating knows."""
    return samples_of(layout)(columns)


def samples_of(layout: Layout) -> Callable[[Sequence[Tensor]], Sequence[Any]]:
    """Return the function that does what `as_samples` does, for one layout and many batches."""
    if layout.is_tuple_of_tensors:
        return lambda columns: Columns(*columns)
    if type(layout.tree) is int:
        # PyTorch's collating wants a list of tensors, and nothing else, where a sample is a tensor.
        return lambda columns: list(Rows(layout, columns))
    return functools.partial(Rows, layout)


def new_column(leaf: Leaf, count: int) -> Tensor:
    """Return a tensor for `count` values, where the loader wants the batch if it says so."""
    dtype: torch.dtype = getattr(torch, leaf.dtype)
    shape = (count, *leaf.shape)
    column = prepared_tensor(shape, dtype)
    return torch.empty(shape, dtype=dtype) if column is None else column


class _Pickler(pickle.Pickler):
    def reducer_override(self, part: Any) -> Any:
        # PyTorch's own way of pickling a tensor takes ten times as long.
        if type(part) is Tensor and _has_array(part):
            return torch.from_numpy, (np.array(part.numpy()),)
        return NotImplemented


def pickled(sample: Any) -> bytes:
    """Return any sample as bytes.

    Example:
        >>> pickle.loads(pickled(("a", torch.tensor([1, 2]))))
        ('a', tensor([1, 2]))
    """
    stream = io.BytesIO()
    _Pickler(stream, protocol=5).dump(sample)
    return stream.getvalue()
