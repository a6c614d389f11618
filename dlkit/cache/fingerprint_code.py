"""What code does, by what it says: the part of a fingerprint that is functions and classes.

    def f(x): return scale * helper(x)   ->   bytecode, constants, defaults, closure; scale; helper

The user's own code counts by its content, down to the globals that it uses. Code of Python and of
installed packages counts by its name and their version.
"""

import dis
import functools
import hashlib
import importlib.machinery
import struct
import sys
import sysconfig
import types
from typing import Any, ClassVar

_LIBRARIES = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_BUILT_IN = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
# What a class holds besides its behaviour.
_OF_CLASSES = {
    "__module__",
    "__qualname__",
    "__doc__",
    "__dict__",
    "__weakref__",
    "__annotations__",
    "__annotate_func__",
    "__annotations_cache__",
    "__firstlineno__",
    "__static_attributes__",
    "__abstractmethods__",
    "_abc_impl",
    "__parameters__",
    "__orig_bases__",
    "__dataclass_fields__",
    "__dataclass_params__",
    "__match_args__",
}


def digest(*parts: Any) -> bytes:
    """Hash parts so that no two different lists of parts give the same bytes."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else memoryview(part)
        size = len(data) if isinstance(data, bytes) else data.nbytes
        hashed.update(struct.pack("<Q", size))
        hashed.update(data)
    return hashed.digest()


class CodeParts:
    """What functions, classes and their like are made of: a word, then digests and bytes."""

    def of(self, value: Any) -> bytes:
        """Return the digest of a value."""
        raise NotImplementedError

    def below(self, step: str, value: Any) -> bytes:
        """Return the digest of a value, one step further down."""
        raise NotImplementedError

    def _code(self, code: types.CodeType) -> list[Any]:
        names = " ".join(code.co_names + code.co_freevars + code.co_cellvars)
        shape = f"{code.co_argcount} {code.co_kwonlyargcount} {code.co_flags} {code.co_varnames}"
        return ["code", code.co_code, names, shape, *map(self.of, code.co_consts)]

    def _function(self, function: types.FunctionType) -> list[Any]:
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        closure = [self.below(f" uses {n}", _content(cell)) for n, cell in sorted(cells.items())]
        defaults = self.of([function.__defaults__, function.__kwdefaults__])
        parts = [self.of(function.__code__), defaults, *closure]
        if _is_library(function):  # its version stands for all that it calls
            return ["library", _library_name(function), *parts]
        used = [
            self.below(f" uses {name}", function.__globals__[name])
            for name in sorted(_global_names(function.__code__))
            if name in function.__globals__
        ]
        return ["function", *parts, *used]

    def _method(self, method: types.MethodType) -> list[Any]:
        return ["method", self.of(method.__func__), self.below(".__self__", method.__self__)]

    def _partial(self, partial: "functools.partial[Any]") -> list[Any]:
        return ["partial", *map(self.of, (partial.func, partial.args, partial.keywords))]

    def _module(self, module: types.ModuleType) -> list[Any]:
        return ["module", module.__name__, _version(module.__name__)]

    def _class(self, kind: type) -> list[Any]:
        if _is_library(kind):
            return ["library", _library_name(kind)]
        members = [
            self.below(f".{name}", member)
            for name, member in sorted(vars(kind).items())
            if name not in _OF_CLASSES
        ]
        names = " ".join(sorted(set(vars(kind)) - _OF_CLASSES))
        return ["class", kind.__qualname__, names, *map(self.of, kind.__bases__), *members]

    def _descriptor(self, member: Any) -> list[Any]:
        inner = member.__func__ if hasattr(member, "__func__") else member.fget
        more = [member.fset, member.fdel] if isinstance(member, property) else []
        return [type(member).__name__, self.of(inner), *map(self.of, more)]

    def _built_in(self, function: Any) -> list[Any]:
        owner = getattr(function, "__self__", None)
        name = getattr(function, "__qualname__", repr(function))
        if owner is None or isinstance(owner, types.ModuleType | type):
            return ["built-in", f"{getattr(function, '__module__', '')}.{name}"]
        return ["built-in", name, self.below(".__self__", owner)]

    code_rules: ClassVar[tuple[tuple[Any, Any], ...]] = (
        (types.CodeType, _code),
        (types.FunctionType, _function),
        (types.MethodType, _method),
        (functools.partial, _partial),
        (types.ModuleType, _module),
        (type, _class),
        ((staticmethod, classmethod, property), _descriptor),
        (_BUILT_IN, _built_in),
    )


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet, as in a function that refers to itself
        return None


def _global_names(code: types.CodeType) -> set[str]:
    """The names that a function, and those written inside it, may look up as globals."""
    lookups = ("LOAD_GLOBAL", "LOAD_NAME")
    found = {i.argval for i in dis.get_instructions(code) if i.opname in lookups}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _global_names(constant)
    return found


def _is_library(value: Any) -> bool:
    """Whether a function or class comes with Python or an installed package, not from the user."""
    name = getattr(value, "__module__", None) or "builtins"
    if name == "__main__":  # whose file may be that of a launcher
        return False
    module = sys.modules.get(name)
    if name.split(".")[0] in ("dlkit", "builtins", "torch", "numpy"):
        return True
    file: str | None = getattr(module, "__file__", None)
    if file is None:  # built into Python, or typed into a notebook
        spec = getattr(module, "__spec__", None)
        return spec is not None and spec.loader is importlib.machinery.BuiltinImporter
    return str(file).startswith(_LIBRARIES)


def _library_name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__} {_version(value.__module__ or 'builtins')}"


def _version(module: str) -> str:
    version = getattr(sys.modules.get(module.split(".")[0]), "__version__", None)
    return str(version) if version is not None else sys.version.split()[0]
