"""Samples that are dictionaries and tuples of numbers and strings, into batches of that form."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import default_collate

from dlkit.lab.exercises.contract import Case, Exercise


def nested_collate(samples: list[Any]) -> Any:
    first = samples[0]
    if isinstance(first, dict):
        return {key: nested_collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, tuple | list):
        return [nested_collate(list(part)) for part in zip(*samples, strict=True)]
    if isinstance(first, str):
        return samples
    return torch.tensor(samples)


def _by_type(samples: list[Any]) -> Any:
    match samples[0]:
        case str():
            return list(samples)
        case dict() as first:
            return {key: _by_type([sample[key] for sample in samples]) for key in first}
        case list() | tuple() as first:
            return tuple(_by_type([s[i] for s in samples]) for i in range(len(first)))
        case _:
            return samples


def _with_accumulated_lists(samples: list[Any]) -> Any:
    first = samples[0]
    if isinstance(first, dict):
        values = zip(*(sample.values() for sample in samples), strict=True)
        return {key: _with_accumulated_lists([*v]) for key, v in zip(first, values, strict=True)}
    if isinstance(first, str | int | float):
        return samples
    return [_with_accumulated_lists([*v]) for v in zip(*samples, strict=True)]


def _only_one_level(samples: list[Any]) -> Any:
    first = samples[0]
    if isinstance(first, dict):
        return {key: [sample[key] for sample in samples] for key in first}
    if isinstance(first, tuple | list):
        return [list(part) for part in zip(*samples, strict=True)]
    return samples


def _splits_strings(samples: list[Any]) -> Any:
    first = samples[0]
    if isinstance(first, dict):
        return {key: _splits_strings([sample[key] for sample in samples]) for key in first}
    if hasattr(first, "__getitem__"):
        return [_splits_strings(list(part)) for part in zip(*samples, strict=True)]
    return torch.tensor(samples)


def _turns_nothing_round(samples: list[Any]) -> Any:
    return samples


def _iterates_over_keys(samples: list[Any]) -> Any:
    if isinstance(samples[0], str | int | float):
        return samples
    return [_iterates_over_keys(list(part)) for part in zip(*samples, strict=True)]


def _repeats_the_first(samples: list[Any]) -> Any:
    first = samples[0]
    if isinstance(first, dict):
        return {key: _repeats_the_first([value] * len(samples)) for key, value in first.items()}
    if isinstance(first, tuple | list):
        return [_repeats_the_first([value] * len(samples)) for value in first]
    return samples


def _cases(rng: random.Random) -> Iterator[Case]:
    yield ([1, 2],)
    yield ([(1, 2.0)],)
    yield ([{"x": 1}],)
    yield ([("a", 1), ("bc", 2)],)
    yield ([{"x": 1, "y": 2}, {"x": 3, "y": 4}],)
    yield ([{"x": (1, 2)}, {"x": (3, 4)}],)
    for _ in range(10):
        size = rng.randrange(1, 4)
        yield (
            [
                {
                    "image": [rng.random(), rng.random()],
                    "meta": {"name": f"n{rng.randrange(99)}", "box": (rng.randrange(9), 1)},
                }
                for _ in range(size)
            ],
        )


EXERCISE = Exercise(
    level=2,
    reference=nested_collate,
    alternatives=(_by_type, _with_accumulated_lists),
    mistakes=(
        _only_one_level,
        _splits_strings,
        _turns_nothing_round,
        _iterates_over_keys,
        _repeats_the_first,
    ),
    cases=_cases,
    oracle=default_collate,
    properties={
        "keys": lambda case, got: (
            not isinstance(case[0][0], dict) or got.keys() == case[0][0].keys()
        ),
        "fields": lambda case, got: (
            not isinstance(case[0][0], tuple) or len(got) == len(case[0][0])
        ),
    },
)
