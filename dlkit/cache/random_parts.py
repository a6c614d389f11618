"""Find the random transforms that a dataset passes its samples through.

torchvision's random transforms, and functions of the user's own, are told by their code: whether it
names something that draws random numbers. That can miss one (a library may draw its numbers
elsewhere), so a cache reads the first samples twice as well.
"""

import functools
import types
from collections.abc import Iterator
from typing import Any

import torch

# What draws: functions of torch, random and NumPy, methods of tensors, generators, distributions.
_DRAWING = {
    *("rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm"),
    *("normal", "normal_", "uniform", "uniform_", "bernoulli", "bernoulli_", "multinomial"),
    *("exponential_", "random", "random_", "choice", "choices", "shuffle", "gauss", "sample"),
    *("rsample", "integers", "standard_normal", "permutation", "getrandbits", "triangular"),
}
_DEEPEST = 8
_METHODS = ("__call__", "forward", "transform", "make_params", "get_params", "_get_params")


def random_parts(dataset: Any) -> list[str]:
    """Return the names of the random transforms that a dataset holds.

    Args:
        dataset: whose attributes are looked through, and theirs: transforms, functions, datasets.

    Example:
        >>> class Noisy:
        ...     def __call__(self, image):
        ...         return image + torch.rand(1)
        >>> from dlkit.datasets import TransformDataset
        >>> random_parts(TransformDataset([1, 2], Noisy()))
        ['Noisy']
    """
    return list(dict.fromkeys(_found(dataset, 0, set())))


def _found(value: Any, depth: int, seen: set[int]) -> Iterator[str]:
    if id(value) in seen or depth > _DEEPEST:
        return
    seen.add(id(value))
    if isinstance(value, types.FunctionType | types.MethodType):
        function: Any = getattr(value, "__func__", value)
        if draws(function):
            yield value.__qualname__
        yield from _found(getattr(value, "__self__", None), depth + 1, seen)
        return
    if isinstance(value, functools.partial):
        yield from _found(value.func, depth + 1, seen)
        return
    if isinstance(value, type | torch.Tensor) or not hasattr(value, "__dict__"):
        parts = value if isinstance(value, list | tuple) and len(value) <= 100 else ()
        for part in parts:
            yield from _found(part, depth + 1, seen)
        return
    # A dataset that is read sample by sample may transform inside of `__getitem__`.
    methods = (*_METHODS, "__getitem__") if hasattr(value, "__len__") else _METHODS
    if any(draws(method) for method in _written_methods(value, methods)):
        yield type(value).__name__
    parts = [*vars(value).values()]
    if isinstance(value, torch.nn.Module):
        parts += value.children()
    for part in parts:
        yield from _found(part, depth + 1, seen)


def _written_methods(value: Any, names: tuple[str, ...]) -> Iterator[types.FunctionType]:
    if type(value).__module__.startswith(("torch.", "dlkit.datasets")):
        return  # datasets and layers; a dropout draws, but is no transform
    for name in names:
        method = getattr(type(value), name, None)
        if isinstance(method, types.FunctionType):
            yield method


def draws(function: types.FunctionType, depth: int = 2) -> bool:
    """Whether a function names something that draws random numbers, or calls one that does.

    Example:
        >>> draws(lambda x: x + torch.rand(1)), draws(lambda x: x + 1)
        (True, False)
    """
    names = _names(function.__code__)
    if names & _DRAWING:
        return True
    if depth == 0:
        return False
    own = (function.__globals__.get(name) for name in names)
    cells = (cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell))
    return any(
        draws(part, depth - 1)
        for part in (*own, *cells)
        if isinstance(part, types.FunctionType) and part.__module__ == function.__module__
    )


def _names(code: types.CodeType) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return found


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
