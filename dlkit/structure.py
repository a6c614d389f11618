"""Nested samples and batches: apply a function to every part, and keep the containers' types.

Collating, converting, pinning and moving to a device all walk through the same containers in the
same way; this is the one place that knows how to take one apart and make its like.
"""

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any


def map_structure(
    function: Callable[[Any], Any], data: Any, whole: Callable[[Any], bool] = lambda part: False
) -> Any:
    """Apply `function` to every part that is no mapping, sequence or dataclass.

    Args:
        function: from a part to what takes its place.
        data: any nesting of containers.
        whole: says of a container whether it is a part itself, and not gone into.

    Example:
        >>> map_structure(lambda x: 2 * x, {"a": [1, 2], "b": (3,)})
        {'a': [2, 4], 'b': (6,)}
    """
    if isinstance(data, str | bytes) or whole(data):
        return function(data)
    if isinstance(data, Mapping):
        return like_mapping(data, {k: map_structure(function, v, whole) for k, v in data.items()})
    if isinstance(data, tuple):
        parts = [map_structure(function, part, whole) for part in data]
        return type(data)(*parts) if hasattr(data, "_fields") else type(data)(parts)
    if isinstance(data, Sequence):
        return like_sequence(data, [map_structure(function, part, whole) for part in data])
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        names = [field.name for field in dataclasses.fields(data)]
        parts_of = {name: map_structure(function, getattr(data, name), whole) for name in names}
        return like_dataclass(data, parts_of)
    return function(data)


def count_bytes(data: Any) -> int:
    """Return how many bytes the tensors, arrays and byte strings in a nested batch take.

    Example:
        >>> import torch
        >>> count_bytes({"x": torch.zeros(4, 8), "names": ["a", "b"], "jpegs": [b"1234", b""]})
        132
    """
    if isinstance(data, bytes):
        return len(data)
    with contextlib.suppress(AttributeError, RuntimeError):  # of a sparse tensor it is not defined
        if isinstance(data.nbytes, int):
            return data.nbytes
    if isinstance(data, Mapping):
        return sum(map(count_bytes, data.values()))
    if isinstance(data, Sequence) and not isinstance(data, str):
        return sum(map(count_bytes, data))
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        return sum(count_bytes(getattr(data, field.name)) for field in dataclasses.fields(data))
    return 0


def like_mapping(model: Mapping[Any, Any], content: dict[Any, Any]) -> Any:
    """Return a mapping of the model's type, which may carry more than its keys, or a dict."""
    try:
        if isinstance(model, MutableMapping):
            result = copy.copy(model)
            result.update(content)
            return result
        return type(model)(content)  # type: ignore[call-arg]
    except TypeError:
        return content


def like_sequence(model: Sequence[Any], content: list[Any]) -> Any:
    """Return a sequence of the model's type where one can be made, or a list."""
    try:
        if isinstance(model, MutableSequence):
            result = copy.copy(model)
            for position, part in enumerate(content):
                result[position] = part
            return result
        return type(model)(content)  # type: ignore[call-arg]
    except TypeError:
        return content


def like_dataclass(model: Any, content: dict[str, Any]) -> Any:
    """Return a dataclass of the model's type; its __init__, which may check samples, is not run."""
    result = copy.copy(model)
    for name, value in content.items():
        object.__setattr__(result, name, value)
    return result
