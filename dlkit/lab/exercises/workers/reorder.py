"""Batches arrive in any order and leave in theirs."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def reorder(arrivals: Iterable[tuple[int, Any]]) -> Iterator[Any]:
    waiting: dict[int, Any] = {}
    following = 0
    for number, batch in arrivals:
        waiting[number] = batch
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def _with_a_heap(arrivals: Iterable[tuple[int, Any]]) -> Any:
    import heapq

    heap: list[tuple[int, Any]] = []
    following = 0
    for arrival in arrivals:
        heapq.heappush(heap, arrival)
        while heap and heap[0][0] == following:
            yield heapq.heappop(heap)[1]
            following += 1


def _with_a_list(arrivals: Iterable[tuple[int, Any]]) -> Any:
    nothing = object()
    places: list[Any] = []
    given = 0
    for number, batch in arrivals:
        places += [nothing] * (number + 1 - len(places))
        places[number] = batch
        while given < len(places) and places[given] is not nothing:
            yield places[given]
            given += 1


def _sorts_at_the_end(arrivals: Iterable[tuple[int, Any]]) -> Any:
    yield from (batch for _, batch in sorted(arrivals, key=lambda arrival: arrival[0]))


def _one_for_each_arrival(arrivals: Iterable[tuple[int, Any]]) -> Any:
    waiting: dict[int, Any] = {}
    following = 0
    for number, batch in arrivals:
        waiting[number] = batch
        if following in waiting:
            yield waiting.pop(following)
            following += 1
    yield from (waiting[number] for number in sorted(waiting))


def _never_looks_back(arrivals: Iterable[tuple[int, Any]]) -> Any:
    following = 0
    for number, batch in arrivals:
        if number == following:
            yield batch
            following += 1


def _passes_them_on(arrivals: Iterable[tuple[int, Any]]) -> Any:
    yield from (batch for _, batch in arrivals)


def _gives_the_smallest_that_waits(arrivals: Iterable[tuple[int, Any]]) -> Any:
    import heapq

    heap: list[tuple[int, Any]] = []
    for arrival in arrivals:
        heapq.heappush(heap, arrival)
        if len(heap) > 2:
            yield heapq.heappop(heap)[1]
    while heap:
        yield heapq.heappop(heap)[1]


def _drive(answer: Any, order: list[int]) -> Any:
    log: dict[str, list[str]] = {}
    latest = ""

    def arrivals() -> Iterator[tuple[int, str]]:
        nonlocal latest
        for number in order:
            latest = f"after {number} arrived"
            log[latest] = []
            yield number, f"batch {number}"
        latest = "after the end"
        log[latest] = []

    for batch in answer(arrivals()):
        log[latest].append(batch)
    return log


def _cases(rng: random.Random) -> Iterator[Case]:
    from itertools import permutations

    yield from ((list(order),) for n in range(5) for order in permutations(range(n)))
    for _ in range(10):
        yield (rng.sample(range(12), 12),)


def _oracle(order: list[int]) -> Any:
    log, given = {}, 0
    for position, number in enumerate(order):
        there = set(order[: position + 1])
        ready = next(i for i in range(len(order) + 1) if i not in there)
        log[f"after {number} arrived"] = [f"batch {i}" for i in range(given, ready)]
        given = ready
    return {**log, "after the end": []}


EXERCISE = Exercise(
    level=2,
    reference=reorder,
    alternatives=(_with_a_heap, _with_a_list),
    mistakes=(
        _sorts_at_the_end,
        _one_for_each_arrival,
        _never_looks_back,
        _passes_them_on,
        _gives_the_smallest_that_waits,
    ),
    cases=_cases,
    drive=_drive,
    oracle=_oracle,
    properties={
        "all": lambda case, got: sum(map(len, got.values())) == len(case[0]),
        "ordered": lambda case, got: (
            [b for batches in got.values() for b in batches]
            == [f"batch {i}" for i in sorted(case[0])]
        ),
    },
)
