"""A name for what a value does: equal for equal code and parameters, another when they change.

    fingerprint(transform) = hash of its code, defaults, closure, attributes, and globals it uses

A cache keeps what a dataset and its transform have computed. Its key has to change whenever the
result could: when a constant in a lambda is edited, when a parameter is another, when a helper
function that the transform calls is rewritten. Library code is named by its version, the user's own
code by what it says; names of files and line numbers do not count.
"""

import copyreg
import marshal
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dlkit.cache.fingerprint_code import CodeParts, digest

_PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray, type(Ellipsis), range)
_MARSHALLED = {type(None), bool, int, float, str, bytes}


class FingerprintError(TypeError):
    """A value whose behaviour cannot be read from its parts, such as an open file."""


def fingerprint(*values: Any) -> str:
    """Return 32 hexadecimal digits that are equal for values that do the same.

    Numbers, strings, containers, arrays, tensors and `Path`s (with size and time of change, if it
    is a file) count by content; functions by code, defaults, closure and the globals they use;
    objects by class and attributes. Functions and classes of installed libraries count by name and
    version. File names that are strings count as strings: that the file behind one has changed is
    not seen.

    Args:
        *values: anything a dataset or a transform is made of.

    Raises:
        FingerprintError: if a part cannot be named, with the way down to it.

    Example:
        >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 1)
        True
        >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 2)
        False
    """
    return digest("values", *map(_Fingerprint().of, values)).hex()


class _Fingerprint(CodeParts):
    """One walk through a value. Its digests depend on content alone, never on addresses."""

    def __init__(self) -> None:
        self._open: dict[int, int] = {}  # values that the walk is inside of, and their depth
        self._done: dict[int, tuple[Any, bytes]] = {}
        self._path: list[str] = []

    def of(self, value: Any) -> bytes:
        """Return the digest of a value."""
        if isinstance(value, _PLAIN) and type(value) in _PLAIN:
            return digest(type(value).__name__, _plain_bytes(value))
        identity = id(value)
        if identity in self._done:
            return self._done[identity][1]
        if identity in self._open:  # a cycle: name it by how far up it leads
            return digest("cycle", str(len(self._open) - self._open[identity]).encode())
        self._open[identity] = len(self._open)
        try:
            name = digest(*self._parts(value))
        finally:
            del self._open[identity]
        self._done[identity] = (value, name)  # the value too, so that its address stays its own
        return name

    def below(self, step: str, value: Any) -> bytes:
        self._path.append(step)
        try:
            return self.of(value)
        finally:
            self._path.pop()

    def _parts(self, value: Any) -> list[Any]:
        """What a value is made of: a word for its kind, then digests and bytes."""
        exact = self._containers.get(type(value))
        if exact is not None:
            return list(exact(self, value))
        for kinds, parts in self._rules:
            if isinstance(value, kinds):
                return list(parts(self, value))
        return self._object(value)

    def _array(self, array: np.ndarray[Any, Any]) -> list[Any]:
        if isinstance(array, np.memmap) and array.filename is not None:
            place = f"{array.offset} {array.shape} {array.strides} {array.dtype}"
            return ["memmap", self._file(Path(array.filename)), place]
        if array.dtype.hasobject:
            return ["objects", str(array.shape), *map(self.of, array.ravel().tolist())]
        about = f"{array.dtype.str if array.dtype.names is None else array.dtype.descr}"
        return ["array", about, str(array.shape), np.ascontiguousarray(array).reshape(-1).data]

    def _tensor(self, tensor: Tensor) -> list[Any]:
        about = f"{type(tensor).__name__} {tensor.dtype} {list(tensor.shape)}"
        dense = tensor.detach().to_dense() if tensor.layout != torch.strided else tensor.detach()
        data = dense.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
        return ["tensor", about, data.numpy().data]

    def _file(self, path: Path) -> bytes:
        if path.is_file():
            about = path.stat()
            return digest("file", str(path), f"{about.st_size} {about.st_mtime_ns}")
        return digest("path", str(path))

    def _mapping(self, mapping: dict[Any, Any]) -> list[Any]:
        items = [(self.of(key), self.below(f"[{key!r:.40}]", mapping[key])) for key in mapping]
        return ["mapping", *(part for item in sorted(items) for part in item)]

    def _sequence(self, values: Sequence[Any]) -> list[Any]:
        if _is_flat(values):
            # A list of a million file names and labels at once. Version 2 knows no references, so
            # the bytes do not depend on which of the values are one object.
            return [type(values).__name__, marshal.dumps(list(values), 2)]
        parts = [self.below(f"[{position}]", value) for position, value in enumerate(values)]
        return [type(values).__name__, *parts]

    def _set(self, values: Any) -> list[Any]:
        return [type(values).__name__, *sorted(map(self.of, values))]

    def _object(self, value: Any) -> list[Any]:
        """Any other object is its class and whatever pickling it would write down."""
        kind = type(value)
        try:
            reduce = copyreg.dispatch_table.get(kind)
            reduced = reduce(value) if reduce else value.__reduce_ex__(4)
        except Exception as error:
            where = "".join(self._path).strip() or "the value"
            raise FingerprintError(
                f"cannot tell what {where} does: a {kind.__module__}.{kind.__qualname__} has no "
                f"state that could be compared ({error}); give the cache a key= of your own that "
                "changes when the samples do"
            ) from error
        if isinstance(reduced, str):
            return ["global", self.of(kind), reduced]
        given: list[Any] = [*reduced]
        make, arguments, state, items, pairs = [*given, None, None, None][:5]
        parts = [] if state is None else [self._state(state)]
        contents = [self.below("", list(part)) for part in (items, pairs) if part is not None]
        return ["object", self.of(kind), self.of(make), self.of(arguments), *parts, *contents]

    def _state(self, state: Any) -> bytes:
        if type(state) is not dict:
            return self.below("", state)
        items = ((name, self.below(f".{name}", part)) for name, part in sorted(state.items()))
        return digest("state", *(part for item in items for part in item))

    _rules: ClassVar[tuple[tuple[Any, Any], ...]] = (
        (np.ndarray, _array),
        (Tensor, _tensor),
        (Path, lambda self, path: ["path", self._file(path)]),
        *CodeParts.code_rules,
        ((torch.dtype, torch.device, np.dtype, slice), lambda _, value: ["named", repr(value)]),
    )
    # A subclass of these may have attributes of its own, and is an object like any other.
    _containers: ClassVar[dict[type, Any]] = {
        dict: _mapping,
        types.MappingProxyType: _mapping,
        list: _sequence,
        tuple: _sequence,
        set: _set,
        frozenset: _set,
    }


def _plain_bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    return repr(value).encode("utf-8", "surrogatepass")


def _is_flat(values: Sequence[Any]) -> bool:
    """Whether a list holds nothing but plain values, or nothing but tuples of them."""
    kinds = set(map(type, values))
    if kinds == {tuple}:
        kinds = {type(part) for value in values for part in value}
    return kinds <= _MARSHALLED
