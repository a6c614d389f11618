"""A lambda that cannot travel."""

from __future__ import annotations

import functools
import operator
import pickle
import random
from collections.abc import Callable, Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def broken(factor: int) -> Callable[[int], int]:
    return lambda value: factor * value


def lambda_under_spawn(factor: int) -> Callable[[int], int]:
    return functools.partial(operator.mul, factor)


def _bound_method(factor: int) -> Any:
    return factor.__mul__


def _partial_the_other_way(factor: int) -> Any:
    return functools.partial(int.__mul__, factor)


def _adds(factor: int) -> Any:
    return functools.partial(operator.add, factor)


def _inner_function(factor: int) -> Any:
    def scale(value: int) -> int:
        return value * factor

    return (scale,)[0]


def _always_twice(factor: int) -> Any:
    return functools.partial(operator.mul, 2)


def _drive(answer: Any, factor: int, values: list[int]) -> dict[str, Any]:
    transform = answer(factor)
    try:
        travelled = pickle.loads(pickle.dumps(transform))
    except (pickle.PicklingError, AttributeError):
        return {"can be pickled": False, "lambda": getattr(transform, "__name__", "") == "<lambda>"}
    return {"can be pickled": True, "values": [travelled(value) for value in values]}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 3, [1, 2]
    yield -5, [0, 7]


def _oracle(factor: int, values: list[int]) -> dict[str, Any]:
    return {"can be pickled": True, "values": [factor * value for value in values]}


EXERCISE = Exercise(
    level=2,
    reference=lambda_under_spawn,
    broken=broken,
    alternatives=(_bound_method, _partial_the_other_way),
    mistakes=(broken, _adds, _inner_function, _always_twice),
    cases=_cases,
    oracle=_oracle,
    drive=_drive,
)
