"""Tensors in memory as a dataset."""

from typing import Any

import numpy as np
from torch import Tensor
from torch.utils import data as torch_data

from dlkit.datasets.base import ArrayIndexed, Columns, Indices, as_index_array
from dlkit.datasets.rows import row_reader


class TensorDataset(ArrayIndexed, torch_data.TensorDataset):
    """Tensors in memory; sample `i` is the tuple of their rows `i`.

    Like `torch.utils.data.TensorDataset`, but a batch is read with one gather per tensor.

    Args:
        *tensors: tensors of shape `[n, ...]` with the same n.

    Raises:
        TypeError: if an argument is no tensor.
        ValueError: if there is no tensor, one has no dimension, or their lengths differ.

    Example:
        >>> import torch
        >>> dataset = TensorDataset(torch.arange(4) * 10, torch.arange(4))
        >>> dataset[2]
        (tensor(20), tensor(2))
        >>> dataset.__getitems__([2, 0]).columns
        (tensor([20,  0]), tensor([2, 0]))
    """

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tensors

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors; others may be put in their place."""
        return self._tensors

    @tensors.setter
    def tensors(self, tensors: tuple[Tensor, ...]) -> None:
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
        self._tensors = tuple(tensors)
        self._readers = [row_reader(tensor) for tensor in tensors]

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple([tensor[index] for tensor in self._tensors])

    def __getitems__(self, indices: Indices) -> Columns:
        return Columns(*self.read_columns(indices))

    def read_columns(self, indices: Indices) -> list[Tensor]:
        """Return the rows at `indices` of each tensor, which is what collating them would give."""
        if not isinstance(indices, np.ndarray):
            indices = as_index_array(indices)
        return [read(indices) for read in self._readers]

    def __len__(self) -> int:
        return len(self._tensors[0])

    def __getstate__(self) -> dict[str, Any]:
        # A reader holds a NumPy view of its tensor, which pickle would write as a second copy.
        return {name: value for name, value in vars(self).items() if name != "_readers"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.tensors = self._tensors
