"""`default_collate`: stack whatever can be stacked, as PyTorch does, and say where it cannot.

The way down a sample is `collate_nested`, one step of it is `_step`, and what happens at the bottom
is a rule per type (`_BUILT_IN`, and the user's own through `register_collate`).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data._utils.collate import default_collate_fn_map as _torch_registry

from dlkit.datasets.base import Columns, Gathered
from dlkit.memory import here, prepared_array, prepared_tensor
from dlkit.structure import like_dataclass, like_mapping, like_sequence

CollateFunction = Callable[[Sequence[Any]], Any]
_SMALL = 65_536  # bytes of one array; larger ones are stacked by torch, on several threads
_registry: dict[type, CollateFunction] = {}


def register_collate(kind: type, function: CollateFunction) -> None:
    """Say how samples (or parts of samples) of a type of your own become a batch.

    Args:
        kind: the type; its subclasses are meant too, unless they are registered themselves.
        function: from a list of such objects to their batch.

    Raises:
        TypeError: if `kind` is no type or `function` cannot be called.

    Example:
        >>> class Word(str): pass
        >>> register_collate(Word, " ".join)
        >>> default_collate([(Word("to"), 1), (Word("be"), 2)])
        ['to be', tensor([1, 2])]
    """
    if not isinstance(kind, type):
        raise TypeError(f"kind must be a type, but got {kind!r}")
    if not callable(function):
        raise TypeError(f"function must be callable, but got {function!r}")
    _registry[kind] = function


def default_collate(samples: Sequence[Any]) -> Any:
    """Stack samples into a batch, as `torch.utils.data.default_collate` does.

    Tensors and NumPy arrays are stacked; floats become float64, integers int64 and booleans bool
    tensors; strings and bytes stay a list. Mappings, lists, named tuples and dataclasses keep their
    type and are collated field by field; a tuple becomes a list, which is PyTorch's way too.

    Args:
        samples: n samples of the same structure, n at least 1.

    Returns:
        One sample's structure with n rows in each tensor.

    Raises:
        RuntimeError: if shapes or lengths differ between samples.
        TypeError: if types differ between samples, or one has no rule.
        KeyError: if a sample lacks a key that the first one has.

    Example:
        >>> default_collate([{"x": [1.0, 2.0], "y": 0}, {"x": [3.0, 4.0], "y": 1}])["y"]
        tensor([0, 1])
        >>> default_collate([torch.zeros(2), torch.zeros(3)])
        Traceback (most recent call last):
        ...
        RuntimeError: cannot stack sample: shapes differ, [2] in sample 0 but [3] in sample 1
    """
    if type(samples) is Columns:
        return list(samples.columns)
    # A user's rule for numbers, say, is for the samples one by one.
    if isinstance(samples, Gathered) and not _registry:
        return samples.collated()
    try:
        return collate_nested(samples)
    except ClashError as clash:
        raise clash.as_error("stack") from None


def default_convert(sample: Any) -> Any:
    """Turn the NumPy arrays in one sample into tensors, as `torch.utils.data.default_convert`.

    This is what a loader does to a sample when `batch_size=None`, so nothing is batched.

    Example:
        >>> default_convert({"x": np.array([1, 2]), "name": "a"})
        {'x': tensor([1, 2]), 'name': 'a'}
    """
    if isinstance(sample, Tensor | str | bytes):
        return sample
    if isinstance(sample, np.ndarray | np.generic):
        return sample if sample.dtype.kind in "SUO" else torch.as_tensor(sample)
    if isinstance(sample, Mapping):
        return like_mapping(sample, {key: default_convert(sample[key]) for key in sample})
    if isinstance(sample, tuple) and hasattr(sample, "_fields"):
        return type(sample)(*(default_convert(field) for field in sample))
    if isinstance(sample, tuple):
        return [default_convert(field) for field in sample]
    if isinstance(sample, Sequence):
        return like_sequence(sample, [default_convert(field) for field in sample])
    return sample


class ClashError(Exception):
    """Samples that do not fit together, with the way down to the place where they do not."""

    def __init__(self, kind: type[Exception], message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.path = ""

    def below(self, step: str) -> "ClashError":
        """Say one step further out where this is: the path grows at its front."""
        self.path = step + self.path
        return self

    def as_error(self, verb: str) -> Exception:
        """Return the error that the user sees, of the type that PyTorch raises here."""
        error = self.kind(f"cannot {verb} sample{self.path}: {self.message}")
        error.__suppress_context__ = True
        return error


def collate_nested(
    samples: Sequence[Any], leaf: Callable[[Sequence[Any]], Any] | None = None
) -> Any:
    """Collate by the type of the first sample; `leaf` may take over and returns None if not."""
    if len(samples) == 0:
        raise ClashError(RuntimeError, "the batch is empty")
    first = samples[0]
    kind = type(first)
    if leaf is not None and (result := leaf(samples)) is not None:
        return result
    rule = _BUILT_IN.get(kind) or _rule_for(kind)
    if rule is not None:
        return rule(samples)
    if isinstance(first, Mapping):
        return like_mapping(first, {k: _field(samples, k, leaf) for k in first})
    if dataclasses.is_dataclass(first):
        check_same_type(samples, kind)
        names = [field.name for field in dataclasses.fields(first)]
        columns = {name: [getattr(sample, name) for sample in samples] for name in names}
        return like_dataclass(
            first, {name: _step(columns[name], f".{name}", leaf) for name in names}
        )
    if isinstance(first, Sequence):
        fields = [_step(column, f"[{i}]", leaf) for i, column in enumerate(_transposed(samples))]
        if isinstance(first, tuple):
            return kind(*fields) if hasattr(first, "_fields") else fields
        return like_sequence(first, fields)
    raise ClashError(
        TypeError,
        "a batch must contain tensors, numpy arrays, numbers, dicts or lists; found "
        f"{kind.__module__}.{kind.__qualname__} (register_collate says how to batch a type of "
        "your own)",
    )


def _step(column: Sequence[Any], step: str, leaf: Callable[[Sequence[Any]], Any] | None) -> Any:
    """Collate one field of all samples; an error learns on its way up where it came from."""
    try:
        return collate_nested(column, leaf)
    except ClashError as clash:
        raise clash.below(step) from None


def _transposed(samples: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The fields of sequences of equal length, each over all samples."""
    try:
        return list(zip(*samples, strict=True))
    except (TypeError, ValueError):
        check_same_type(samples, Sequence)
        lengths = [len(sample) for sample in samples]
        if (other := first_different(lengths)) is None:
            raise
        raise ClashError(
            RuntimeError,
            f"each element in the batch should be of equal size, but its length is "
            f"{lengths[0]} in sample 0 and {lengths[other]} in sample {other}",
        ) from None


def _field(samples: Sequence[Any], key: Any, leaf: Callable[[Sequence[Any]], Any] | None) -> Any:
    """Collate one key of all samples."""
    try:
        column = [sample[key] for sample in samples]
    except (KeyError, TypeError, IndexError):
        check_same_type(samples, Mapping)
        position = next((i for i, sample in enumerate(samples) if key not in sample), None)
        if position is None:
            raise
        raise ClashError(
            KeyError, f"sample {position} has no key {key!r}, but sample 0 has"
        ) from None
    return _step(column, f"[{key!r}]", leaf)


def _rule_for(kind: type) -> CollateFunction | None:
    """The rule for a type: the user's, then PyTorch's registry, then a base class's."""
    if kind in _registry:
        return _registry[kind]
    if kind in _torch_registry:
        theirs = _torch_registry[kind]
        return lambda samples: theirs(samples, collate_fn_map=_torch_registry)
    for base in kind.__mro__[1:-1]:
        if base in _registry:
            return _registry[base]
        if base in _BUILT_IN:
            return _BUILT_IN[base]
    return None


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


_BUILT_IN: dict[type, CollateFunction] = {
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


def check_same_type(samples: Sequence[Any], kind: type | tuple[type, ...]) -> None:
    """Raise a `TypeError` clash unless all samples are of `kind`."""
    for position, sample in enumerate(samples):
        if not isinstance(sample, kind):
            raise ClashError(
                TypeError,
                f"types differ, {type(samples[0]).__name__} in sample 0 but "
                f"{type(sample).__name__} in sample {position}",
            )


def first_different(values: Sequence[Any]) -> int | None:
    """Return the position of the first value that is not equal to the one at 0."""
    return next((i for i, value in enumerate(values) if value != values[0]), None)
