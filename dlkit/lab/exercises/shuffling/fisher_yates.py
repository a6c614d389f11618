"""A fair shuffle, tested by trying every sequence of random numbers that it can draw."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dlkit.lab.exercises.contract import Exercise
from dlkit.lab.exercises.draws import distribution


def fisher_yates(items: list[Any], draw: Callable[[int], int]) -> list[Any]:
    items = list(items)
    for last in range(len(items) - 1, 0, -1):
        chosen = draw(last + 1)
        items[last], items[chosen] = items[chosen], items[last]
    return items


def _inside_out(items: list[Any], draw: Any) -> Any:
    shuffled: list[Any] = []
    for count, item in enumerate(items):
        place = draw(count + 1)
        shuffled.append(item)
        shuffled[count], shuffled[place] = shuffled[place], item
    return shuffled


def _out_of_a_bag(items: list[Any], draw: Any) -> Any:
    bag = list(items)
    return [bag.pop(draw(len(bag))) for _ in range(len(bag))]


def _swaps_with_any(items: list[Any], draw: Any) -> Any:
    items = list(items)
    for place in range(len(items)):
        chosen = draw(len(items))
        items[place], items[chosen] = items[chosen], items[place]
    return items


def _never_stays(items: list[Any], draw: Any) -> Any:
    items = list(items)
    for last in range(len(items) - 1, 0, -1):
        chosen = draw(last)
        items[last], items[chosen] = items[chosen], items[last]
    return items


def _stops_too_early(items: list[Any], draw: Any) -> Any:
    items = list(items)
    for last in range(len(items) - 1, 1, -1):
        chosen = draw(last + 1)
        items[last], items[chosen] = items[chosen], items[last]
    return items


def _draws_with_replacement(items: list[Any], draw: Any) -> Any:
    return [items[draw(len(items))] for _ in items]


def _only_turns(items: list[Any], draw: Any) -> Any:
    start = draw(len(items)) if items else 0
    return list(items[start:]) + list(items[:start])


def _drive(answer: Any, n: int) -> Any:
    return distribution(lambda draw: answer(list(range(n)), draw))


def _oracle(n: int) -> dict[str, float]:
    from itertools import permutations

    share = 1 / math.factorial(n)
    return {" ".join(map(str, order)): share for order in permutations(range(n))}


EXERCISE = Exercise(
    level=1,
    reference=fisher_yates,
    alternatives=(_inside_out, _out_of_a_bag),
    mistakes=(
        _swaps_with_any,
        _never_stays,
        _stops_too_early,
        _draws_with_replacement,
        _only_turns,
    ),
    cases=lambda rng: ((n,) for n in range(5)),
    drive=_drive,
    oracle=_oracle,
    properties={
        "permutation": lambda case, got: all(
            sorted(order.split()) == [str(i) for i in range(case[0])] for order in got
        ),
        "reached": lambda case, got: len(got) == math.factorial(case[0]),
        "fair": lambda case, got: max(got.values()) - min(got.values()) < 1e-9,
    },
)
