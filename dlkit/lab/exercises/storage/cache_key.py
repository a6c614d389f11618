"""The key under which a transformed sample is cached: equal for equals, and only for them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def cache_key(transform: str, parameters: dict[str, Any], version: int) -> str:
    text = json.dumps([transform, parameters, version], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((key, _sorted(item)) for key, item in value.items())
    return [_sorted(item) for item in value] if isinstance(value, list | tuple) else value


def _with_repr(transform: str, parameters: dict[str, Any], version: int) -> Any:
    return repr((transform, _sorted(parameters), version))


def _with_a_tree_of_hashes(transform: str, parameters: dict[str, Any], version: int) -> Any:
    def digest(value: Any) -> str:
        if isinstance(value, dict):
            value = "d" + "".join(sorted(digest(k) + digest(v) for k, v in value.items()))
        elif isinstance(value, list | tuple):
            value = "l" + "".join(map(digest, value))
        return hashlib.md5(f"{type(value).__name__}:{value}".encode()).hexdigest()

    return digest([transform, parameters, version])


def _depends_on_the_order(transform: str, parameters: dict[str, Any], version: int) -> Any:
    return hashlib.sha256(f"{transform!r} {parameters!r} {version}".encode()).hexdigest()


def _forgets_the_version(transform: str, parameters: dict[str, Any], version: int) -> Any:
    return cache_key(transform, parameters, 0)


def _forgets_the_parameters(transform: str, parameters: dict[str, Any], version: int) -> Any:
    return cache_key(transform, {}, version)


def _joins_without_separators(transform: str, parameters: dict[str, Any], version: int) -> Any:
    return (
        transform
        + "".join(f"{k}{_sorted(v)}" for k, v in sorted(parameters.items()))
        + str(version)
    )


def _sorts_the_outside_only(transform: str, parameters: dict[str, Any], version: int) -> Any:
    return repr((transform, sorted(parameters.items()), version))


def _confuses_types(transform: str, parameters: dict[str, Any], version: int) -> Any:
    def text(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ",".join(f"{k}:{text(v)}" for k, v in sorted(value.items())) + "}"
        return str(value)

    return f"{transform}|{text(parameters)}|{version}"


def _drive(answer: Any, first: Any, second: Any) -> Any:
    keys = [answer(*first), answer(*second)]
    if not all(isinstance(key, str) for key in keys):
        return {"types": [type(key).__name__ for key in keys]}
    return {"equal keys": keys[0] == keys[1], "same again": keys[0] == answer(*first)}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield ("crop", {}, 1), ("crop", {}, 1)
    yield ("crop", {}, 1), ("flip", {}, 1)
    yield ("crop", {}, 1), ("crop", {}, 2)
    yield ("crop", {"size": 8}, 1), ("crop", {"size": 9}, 1)
    yield ("crop", {"a": 1, "b": 2}, 1), ("crop", {"b": 2, "a": 1}, 1)
    yield ("crop", {"a": {"x": 1, "y": 2}}, 1), ("crop", {"a": {"y": 2, "x": 1}}, 1)
    yield ("crop", {"a": 1}, 11), ("crop", {"a": 11}, 1)
    yield ("crop", {"a": "1"}, 1), ("crop", {"a": 1}, 1)
    yield ("crop", {"a": None}, 1), ("crop", {"a": "None"}, 1)
    yield ("crop", {"a": [1, 2]}, 1), ("crop", {"a": [2, 1]}, 1)
    for _ in range(10):
        pair = [
            (
                rng.choice(["crop", "flip"]),
                {key: rng.randrange(3) for key in rng.sample("abc", 3)},
                rng.randrange(1, 3),
            )
            for _ in range(2)
        ]
        yield tuple(pair)


def _oracle(first: Any, second: Any) -> Any:
    # Python's own equality of nested values, with the types beside them: 1 == True == 1.0.
    return {"equal keys": first == second and repr(_sorted(first)) == repr(_sorted(second))}


EXERCISE = Exercise(
    level=2,
    reference=cache_key,
    alternatives=(_with_repr, _with_a_tree_of_hashes),
    mistakes=(
        _depends_on_the_order,
        _forgets_the_version,
        _forgets_the_parameters,
        _joins_without_separators,
        _sorts_the_outside_only,
        _confuses_types,
    ),
    cases=_cases,
    drive=_drive,
    oracle=_oracle,
    same=lambda expected, got: bool(expected["equal keys"] == got["equal keys"]),
    properties={
        "text": lambda case, got: "equal keys" in got,
        "repeatable": lambda case, got: got["same again"],
    },
)
