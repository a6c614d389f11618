"""`default_collate`: stack whatever can be stacked, as PyTorch does, and say where it cannot.

The way down a sample is `collate_nested`, one step of it is `_step`, and what happens at the bottom
is a rule per type (`stacking.BUILT_IN`, and the user's own through `register_collate`).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data._utils.collate import default_collate_fn_map as _torch_registry

from dlkit.collate.clash import ClashError, check_same_type, first_different
from dlkit.collate.stacking import BUILT_IN, CollateFunction
from dlkit.datasets.base import Columns, Gathered
from dlkit.structure import like_dataclass, like_mapping, like_sequence

_registry: dict[type, CollateFunction] = {}


def register_collate(kind: type, function: CollateFunction) -> None:
    """Say how samples (or parts of samples) of a type become a batch.

    Args:
        kind: a type of your own, or one that would be batched otherwise, such as `str`; its
            subclasses are meant too, unless they are registered themselves.
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


def rows_are_the_batch() -> bool:
    """Whether tuples of rows of tensors become those rows: no rule of the user's is for them."""
    return tuple not in _registry and Tensor not in _registry


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
    if type(samples) is Columns and rows_are_the_batch():
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
    rule = _registry.get(kind) or BUILT_IN.get(kind) or _rule_for(kind)
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
    """The rule for a type that has none itself: PyTorch's registry's, then a base class's."""
    if kind in _torch_registry:
        theirs = _torch_registry[kind]
        return lambda samples: theirs(samples, collate_fn_map=_torch_registry)
    for base in kind.__mro__[1:-1]:
        if base in _registry:
            return _registry[base]
        if base in BUILT_IN:
            return BUILT_IN[base]
    return None
