"""What lies at the bottom of a sample, stacked: tensors, arrays and numbers, a rule per type."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlkit.collate.clash import ClashError, check_same_type, first_different
from dlkit.memory import here, prepared_array, prepared_tensor

CollateFunction = Callable[[Sequence[Any]], Any]
_SMALL = 65_536  # bytes of one array; larger ones are stacked by torch, on several threads


def _stack_tensors(samples: Sequence[Tensor]) -> Tensor:
    try:
        if here.memory is not None and (out := _prepared_for(samples)) is not None:
            return torch.stack(tuple(samples), out=out)
        return torch.stack(tuple(samples))
    except (RuntimeError, TypeError) as error:
        check_same_type(samples, Tensor)
        shapes = [list(sample.shape) for sample in samples]
        if (other := first_different(shapes)) is not None:
            raise ClashError(
                RuntimeError,
                f"shapes differ, {shapes[0]} in sample 0 but {shapes[other]} in sample {other}",
            ) from None
        raise ClashError(type(error), str(error)) from None


def _prepared_for(samples: Sequence[Tensor]) -> Tensor | None:
    """Return prepared memory to stack tensors in, if stacking them there gives the same batch."""
    first = samples[0]
    shape, dtype = first.shape, first.dtype
    for sample in samples:
        if (
            type(sample) is not Tensor
            or sample.shape != shape
            or sample.dtype != dtype
            or sample.requires_grad
            or sample.device.type != "cpu"
            or sample.layout != torch.strided
        ):
            return None
    return prepared_tensor((len(samples), *shape), dtype)


def _stack_arrays(samples: Sequence[Any]) -> Tensor:
    first = samples[0]
    if first.dtype.kind in "SUO":
        raise ClashError(TypeError, f"numpy arrays of {first.dtype} cannot become a tensor")
    if first.nbytes <= _SMALL and first.dtype.isnative and _alike(samples):
        # Making a tensor of each small array would take longer than copying all of them.
        shape = (len(samples), *first.shape)
        stacked = prepared_array(shape, first.dtype)
        if stacked is None:
            stacked = np.empty(shape, dtype=first.dtype)
        for row, sample in enumerate(samples):
            stacked[row] = sample
        return torch.from_numpy(stacked)
    check_same_type(samples, (np.ndarray, np.generic, Tensor))
    if isinstance(first, np.generic):
        return torch.as_tensor(samples if isinstance(samples, list) else list(samples))
    return _stack_tensors([torch.as_tensor(sample) for sample in samples])


def _alike(samples: Sequence[Any]) -> bool:
    """Whether all samples are plain arrays of one shape and type."""
    shape, dtype = samples[0].shape, samples[0].dtype
    return all(type(s) is np.ndarray and s.shape == shape and s.dtype == dtype for s in samples)


def _numbers(samples: Sequence[Any], dtype: torch.dtype | None = None) -> Tensor:
    try:
        return torch.tensor(samples, dtype=dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        check_same_type(samples, (int, float, complex, np.generic))
        raise ClashError(type(error), str(error)) from None


BUILT_IN: dict[type, CollateFunction] = {
    Tensor: _stack_tensors,
    np.ndarray: _stack_arrays,
    np.bool_: _stack_arrays,
    np.number: _stack_arrays,
    bool: _numbers,
    int: _numbers,
    float: lambda samples: _numbers(samples, torch.float64),
    str: lambda samples: samples,
    bytes: lambda samples: samples,
}
