"""Weighted sampling in constant time: Vose's version of Walker's alias method."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def alias_table(weights: list[float]) -> tuple[list[float], list[int]]:
    n, total = len(weights), sum(weights)
    chance = [weight * n / total for weight in weights]
    alias = list(range(n))
    small = [i for i in range(n) if chance[i] < 1]
    large = [i for i in range(n) if chance[i] >= 1]
    while small and large:
        low, high = small.pop(), large[-1]
        alias[low] = high
        chance[high] -= 1 - chance[low]
        if chance[high] < 1:
            small.append(large.pop())
    for left in small + large:
        chance[left] = 1.0
    return chance, alias


def _sorted_robin_hood(weights: list[float]) -> Any:
    n, total = len(weights), sum(weights)
    rest = {i: weight * n / total for i, weight in enumerate(weights)}
    chance, alias = [1.0] * n, list(range(n))
    while len(rest) > 1:
        poor, rich = min(rest, key=rest.__getitem__), max(rest, key=rest.__getitem__)
        if poor == rich:
            break
        chance[poor], alias[poor] = min(rest.pop(poor), 1.0), rich
        rest[rich] -= 1 - chance[poor]
    return chance, alias


def _with_queues(weights: list[float]) -> Any:
    from collections import deque

    n, mean = len(weights), sum(weights) / len(weights)
    left, alias, chance = list(weights), [0] * n, [1.0] * n
    poor, rich = deque[int](), deque[int]()
    for i, weight in enumerate(weights):
        (poor if weight < mean else rich).append(i)
    while poor and rich:
        low, high = poor.popleft(), rich.popleft()
        chance[low], alias[low] = left[low] / mean, high
        left[high] -= mean - left[low]
        (poor if left[high] < mean else rich).append(high)
    return chance, alias


def _forgets_to_scale(weights: list[float]) -> Any:
    total = sum(weights)
    return [weight / total for weight in weights], list(range(len(weights)))


def _the_rich_give_nothing(weights: list[float]) -> Any:
    n, total = len(weights), sum(weights)
    chance = [weight * n / total for weight in weights]
    richest = chance.index(max(chance))
    return [min(c, 1.0) for c in chance], [richest] * n


def _the_rich_never_become_poor(weights: list[float]) -> Any:
    n, total = len(weights), sum(weights)
    chance, alias = [weight * n / total for weight in weights], list(range(n))
    large = [i for i in range(n) if chance[i] >= 1]
    for low in [i for i in range(n) if chance[i] < 1]:
        alias[low] = large[-1]
        chance[large[-1]] -= 1 - chance[low]
    return [min(max(c, 0.0), 1.0) for c in chance], alias


def _takes_all_weights_for_equal(weights: list[float]) -> Any:
    return [1.0] * len(weights), list(range(len(weights)))


def _points_the_wrong_way(weights: list[float]) -> Any:
    chance, alias = alias_table(weights)
    turned = list(range(len(weights)))
    for low, high in enumerate(alias):
        turned[high] = low
    return chance, turned


def _drive(answer: Any, weights: list[float]) -> Any:
    chance, alias = answer(weights)
    shares = [0.0] * len(weights)
    for column, (own, other) in enumerate(zip(chance, alias, strict=True)):
        shares[column] += float(own) / len(weights)
        shares[int(other)] += (1 - float(own)) / len(weights)
    return {"chance": [*map(float, chance)], "alias": [*map(int, alias)], "shares": shares}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield ([2.0],)
    yield ([1.0, 1.0],)
    yield ([1.0, 3.0],)
    yield ([0.0, 1.0],)
    yield ([1.0, 2.0, 3.0],)
    yield ([8.0, 1.0, 1.0, 2.0],)
    for _ in range(20):
        yield ([float(rng.randrange(1, 10)) for _ in range(rng.randrange(2, 9))],)


def _shares_match(expected: Any, got: Any) -> bool:
    return all(abs(a - b) < 1e-6 for a, b in zip(expected["shares"], got["shares"], strict=True))


EXERCISE = Exercise(
    level=3,
    reference=alias_table,
    alternatives=(_sorted_robin_hood, _with_queues),
    mistakes=(
        _forgets_to_scale,
        _the_rich_give_nothing,
        _the_rich_never_become_poor,
        _takes_all_weights_for_equal,
        _points_the_wrong_way,
    ),
    cases=_cases,
    drive=_drive,
    oracle=lambda weights: {"shares": [weight / sum(weights) for weight in weights]},
    same=_shares_match,
    properties={
        "columns": lambda case, got: len(got["chance"]) == len(got["alias"]) == len(case[0]),
        "chances": lambda case, got: all(-1e-9 <= c <= 1 + 1e-9 for c in got["chance"]),
    },
)
