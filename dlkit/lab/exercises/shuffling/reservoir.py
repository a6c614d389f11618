"""A sample of k items from a stream of unknown length, each subset equally likely."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from dlkit.lab.exercises.contract import Exercise
from dlkit.lab.exercises.draws import distribution


def reservoir(stream: Iterable[Any], k: int, draw: Callable[[int], int]) -> list[Any]:
    kept: list[Any] = []
    for seen, item in enumerate(stream, start=1):
        if len(kept) < k:
            kept.append(item)
        elif (place := draw(seen)) < k:
            kept[place] = item
    return kept


def _in_two_draws(stream: Iterable[Any], k: int, draw: Any) -> Any:
    kept: list[Any] = []
    for position, item in enumerate(stream):
        if position < k:
            kept.append(item)
        elif draw(position + 1) < k:
            kept[draw(k)] = item
    return kept


def _with_random_keys(stream: Iterable[Any], k: int, draw: Any) -> Any:
    order: list[Any] = []
    for item in stream:
        order.insert(draw(len(order) + 1), item)
    return order[:k]


def _keeps_the_first(stream: Iterable[Any], k: int, draw: Any) -> Any:
    return [item for position, item in enumerate(stream) if position < k]


def _always_replaces(stream: Iterable[Any], k: int, draw: Any) -> Any:
    kept: list[Any] = []
    for item in stream:
        if len(kept) < k:
            kept.append(item)
        else:
            kept[draw(k)] = item
    return kept


def _counts_from_zero(stream: Iterable[Any], k: int, draw: Any) -> Any:
    kept: list[Any] = []
    for seen, item in enumerate(stream):
        if len(kept) < k:
            kept.append(item)
        elif (place := draw(seen)) < k:
            kept[place] = item
    return kept


def _tosses_a_coin(stream: Iterable[Any], k: int, draw: Any) -> Any:
    kept: list[Any] = []
    for item in stream:
        if len(kept) < k:
            kept.append(item)
        elif draw(2):
            kept[draw(k)] = item
    return kept


def _draws_with_replacement(stream: Iterable[Any], k: int, draw: Any) -> Any:
    items = list(stream)
    return [items[draw(len(items))] for _ in range(min(k, len(items)))]


def _drive(answer: Any, n: int, k: int) -> Any:
    return distribution(lambda draw: sorted(answer(iter(range(n)), k, draw)))


def _oracle(n: int, k: int) -> Any:
    from itertools import combinations

    chosen = list(combinations(range(n), min(k, n)))
    return {" ".join(map(str, kept)): 1 / len(chosen) for kept in chosen}


EXERCISE = Exercise(
    level=2,
    reference=reservoir,
    alternatives=(_in_two_draws, _with_random_keys),
    mistakes=(
        _keeps_the_first,
        _always_replaces,
        _counts_from_zero,
        _tosses_a_coin,
        _draws_with_replacement,
    ),
    cases=lambda rng: ((n, k) for n in range(5) for k in (1, 2, 3)),
    drive=_drive,
    oracle=_oracle,
    properties={
        "size": lambda case, got: all(len(s.split()) == min(case) for s in got),
        "once": lambda case, got: all(len(set(s.split())) == len(s.split()) for s in got),
        "reached": lambda case, got: len(got) == math.comb(case[0], min(case)),
        "fair": lambda case, got: max(got.values()) - min(got.values()) < 1e-9,
    },
)
