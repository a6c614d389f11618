"""Plain data: what travels back from the child, how it is compared, and how it is shown.

An answer could return an object that claims to equal everything. So the child turns results into
lists, numbers and arrays, the parent accepts nothing else, and equality is decided here.

>>> same([[0, 1], [2]], ([0, 1], (2,)))
True
>>> same(1.0, 1.1)
False
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

DEEPEST = 40
LONGEST_TEXT = 400


@dataclass(frozen=True)
class Opaque:
    """A result that is no plain data, by its type."""

    kind: str

    def __repr__(self) -> str:
        return f"<{self.kind}>"


def plain(value: Any, depth: int = 0) -> Any:
    """Turn a result into containers, numbers, strings and NumPy arrays."""
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, Opaque):
        return value
    if depth > DEEPEST:
        return Opaque(f"{type(value).__name__} nested more than {DEEPEST} deep")
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), depth + 1) if value.dtype.hasobject else np.asarray(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return {plain_key(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, AbstractSet):
        return {plain_key(item) for item in value}
    if isinstance(value, tuple):
        return tuple(plain(item, depth + 1) for item in value)
    if isinstance(value, Sequence) or type(value).__name__ == "deque":
        return [plain(item, depth + 1) for item in value]
    return Opaque("generator" if isinstance(value, Iterator) else type(value).__name__)


def plain_key(key: Any) -> Any:
    """Turn a key of a mapping into plain data that can be a key."""
    flat = plain(key)
    return flat if not isinstance(flat, list | dict | set | np.ndarray) else repr(flat)


class _PlainUnpickler(pickle.Unpickler):
    """Reads what ``plain`` makes, and refuses what would run code."""

    def find_class(self, module: str, name: str) -> Any:
        top = module.partition(".")[0]
        allowed = {"_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer", "set", "complex"}
        ours = (__name__, "Opaque"), ("dlkit.lab.exercises.outcome", "Outcome")
        if (top in ("numpy", "builtins") and name in allowed) or (module, name) in ours:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no plain data")


def read_plain(data: bytes) -> Any:
    """Unpickle plain data and nothing else.

    Raises:
        pickle.UnpicklingError: If the data names any other class.
    """
    return _PlainUnpickler(io.BytesIO(data)).load()


def same(expected: Any, got: Any, relative: float = 1e-4, absolute: float = 1e-5) -> bool:
    """Whether two results are equal by value: lists, tuples, arrays and tensors alike.

    Args:
        expected: Any result, plain or not.
        got: Another.
        relative: Tolerance for floating point numbers, as a share.
        absolute: Tolerance near zero.

    Returns:
        Whether they agree; a NaN agrees with a NaN.
    """
    return _same(plain(expected), plain(got), relative, absolute)


def _same(expected: Any, got: Any, relative: float, absolute: float) -> bool:
    if isinstance(expected, np.ndarray) and isinstance(got, np.ndarray):
        if expected.shape != got.shape:
            return False
        if expected.dtype.kind in "biufc" and got.dtype.kind in "biufc":
            return bool(np.allclose(got, expected, relative, absolute, equal_nan=True))
    expected, got = _listed(expected), _listed(got)
    if isinstance(expected, list):
        return (
            isinstance(got, list)
            and len(expected) == len(got)
            and all(_same(e, g, relative, absolute) for e, g in zip(expected, got, strict=True))
        )
    if isinstance(expected, dict):
        return (
            isinstance(got, dict)
            and expected.keys() == got.keys()
            and all(_same(expected[key], got[key], relative, absolute) for key in expected)
        )
    if isinstance(expected, int | float) and isinstance(got, int | float):
        if math.isnan(expected) or math.isnan(got):
            return math.isnan(expected) and math.isnan(got)
        if isinstance(expected, int) and isinstance(got, int):
            return expected == got
        return math.isclose(expected, got, rel_tol=relative, abs_tol=absolute)
    return type(expected) is type(got) and bool(expected == got)


def _listed(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def show(value: Any) -> str:
    """Return a short text for a value; arrays with four digits, long ones cut in the middle."""
    text = _text(plain(value))
    if len(text) > LONGEST_TEXT:
        text = f"{text[: LONGEST_TEXT - 80]} ... {text[-70:]}"
    return text


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        body = np.array2string(value, precision=4, threshold=60, separator=", ")
        return f"{body} (shape {value.shape})" if value.ndim > 1 or value.size > 12 else body
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(_text(item) for item in value) + ("," * (len(value) == 1)) + ")"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_text(item)}" for key, item in value.items()) + "}"
    return repr(value)
