"""Batches in which every class has the share that it has in the data."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def stratified_batches(labels: list[int], batch_size: int) -> list[list[int]]:
    members: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        members.setdefault(label, []).append(index)
    count = len(labels) // batch_size
    batches: list[list[int]] = [[] for _ in range(count)]
    for indices in members.values():
        share = len(indices) // count
        for number, batch in enumerate(batches):
            batch += indices[number * share : (number + 1) * share]
    return batches


def _by_position(labels: list[int], batch_size: int) -> Any:
    total, seen = Counter(labels), Counter[int]()
    places: list[tuple[float, int, int]] = []
    for index, label in enumerate(labels):
        places.append(((seen[label] + 0.5) / total[label], label, index))
        seen[label] += 1
    order = [index for _, _, index in sorted(places)]
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def _dealt_like_cards(labels: list[int], batch_size: int) -> Any:
    order = sorted(range(len(labels)), key=labels.__getitem__)
    count = len(labels) // batch_size
    return [order[number::count] for number in range(count)]


def _one_class_after_another(labels: list[int], batch_size: int) -> Any:
    order = sorted(range(len(labels)), key=labels.__getitem__)
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def _as_they_come(labels: list[int], batch_size: int) -> Any:
    return [list(range(i, i + batch_size)) for i in range(0, len(labels), batch_size)]


def _the_same_number_of_each(labels: list[int], batch_size: int) -> Any:
    members: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        members.setdefault(label, []).append(index)
    each = max(1, batch_size // len(members))
    return [
        [
            indices[(number * each + k) % len(indices)]
            for indices in members.values()
            for k in range(each)
        ]
        for number in range(len(labels) // batch_size)
    ]


def _loses_the_last_batch(labels: list[int], batch_size: int) -> Any:
    return stratified_batches(labels, batch_size)[:-1]


def _the_same_batch_again(labels: list[int], batch_size: int) -> Any:
    batches = stratified_batches(labels, batch_size)
    return [batches[0] for _ in batches]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [0], 1
    yield [0, 1], 2
    yield [0, 0, 1, 1], 2
    yield [0, 0, 0, 0, 1, 1], 3
    yield [1, 0, 0, 0, 1, 0, 0, 0], 4
    for _ in range(12):
        shares, count = (
            [rng.randrange(1, 4) for _ in range(rng.randrange(1, 4))],
            rng.randrange(1, 5),
        )
        labels = [label for label, share in enumerate(shares) for _ in range(share * count)]
        rng.shuffle(labels)
        yield labels, sum(shares)


def _is_proportional(case: Case, got: Any) -> bool:
    labels, batch_size = case
    total: Counter[int] = Counter(labels)
    count = len(labels) // batch_size
    wanted = {label: number // count for label, number in total.items()}
    return all(Counter(labels[i] for i in batch) == wanted for batch in got)


EXERCISE = Exercise(
    level=2,
    reference=stratified_batches,
    alternatives=(_by_position, _dealt_like_cards),
    mistakes=(
        _one_class_after_another,
        _as_they_come,
        _the_same_number_of_each,
        _loses_the_last_batch,
        _the_same_batch_again,
    ),
    cases=_cases,
    properties={
        "sizes": lambda case, got: [len(b) for b in got] == [case[1]] * (len(case[0]) // case[1]),
        "once": lambda case, got: sorted(i for b in got for i in b) == list(range(len(case[0]))),
        "shares": _is_proportional,
    },
)
