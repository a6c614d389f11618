"""Finding the transforms of a dataset, and exchanging them for ones whose time is noted.

A `Compose` (torchvision's, or anything with a list `transforms` that can be called) may sit in the
dataset, in the dataset under a `Subset`, or in a `StandardTransform` as torchvision's datasets keep
it. Nothing is changed in place: each object on the way is copied, shallow, so what is large is
shared.
"""

from typing import Any

from dlkit.trace.samples import TimedTransform

_DEPTH = 5  # objects on the way from a dataset to its transforms
_WHERE = ("dataset", "datasets", "transform", "transforms", "target_transform", "joint_transform")


def with_timed_transforms(dataset: Any) -> tuple[Any, tuple[str, ...]]:
    """Return a dataset that reads the same with timed transforms, and their names.

    Where none are found, the dataset itself comes back.

    Example:
        >>> class Halve:
        ...     def __call__(self, x): return x / 2
        >>> class Data:
        ...     transform = None
        ...     def __getitem__(self, index): return self.transform(index)
        >>> data = Data()
        >>> data.transform = Halve()
        >>> timed, names = with_timed_transforms(data)
        >>> timed[3], names, timed is data
        (1.5, ('Halve',), False)
    """
    names: list[str] = []
    return _exchanged(dataset, names, {}, _DEPTH), tuple(names)


def _exchanged(thing: Any, names: list[str], done: dict[int, Any], depth: int) -> Any:
    """Return a copy of an object in which all transforms below it are timed, or the object."""
    if depth == 0 or not hasattr(thing, "__dict__"):
        return thing
    found: dict[str, Any] = {}
    for name in _WHERE:
        value = vars(thing).get(name)
        if isinstance(value, list | tuple) and name in ("transforms", "datasets"):
            changed = [_part(part, names, done, depth, name) for part in value]
            if any(new is not old for new, old in zip(changed, value, strict=True)):
                found[name] = type(value)(changed)
        elif value is not None:
            new = _part(value, names, done, depth, name)
            if new is not value:
                found[name] = new
    return _copy_with(thing, found) if found else thing


def _part(value: Any, names: list[str], done: dict[int, Any], depth: int, name: str) -> Any:
    """Return what stands in a place where a dataset, a collection or one transform may stand.

    What stands in two places, as the transforms of torchvision's datasets do, is timed once.
    """
    if id(value) not in done:
        inner = _exchanged(value, names, done, depth - 1)
        if inner is value and name not in ("dataset", "datasets") and callable(value):
            names.append(_name(value))
            inner = TimedTransform(value, len(names) - 1)
        done[id(value)] = inner
    return done[id(value)]


def _copy_with(thing: Any, changes: dict[str, Any]) -> Any:
    # Not copy.copy: that runs the object's own hooks, which may close files.
    kind: Any = type(thing)
    other = kind.__new__(kind)
    other.__dict__.update(vars(thing))
    other.__dict__.update(changes)
    return other


def _name(transform: Any) -> str:
    name: str = getattr(transform, "__name__", type(transform).__name__)
    return name if name != "<lambda>" else "lambda"
