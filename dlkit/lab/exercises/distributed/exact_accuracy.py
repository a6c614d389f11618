"""Accuracy over ranks that were padded: each sample counts once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise

Row = tuple[int, int, int]


def exact_accuracy(ranks: list[list[tuple[int, int, int]]]) -> float:
    right = {index: predicted == label for rows in ranks for index, predicted, label in rows}
    return sum(right.values()) / len(right)


def _with_a_set(ranks: list[list[Row]]) -> Any:
    seen: set[int] = set()
    right = 0
    for index, predicted, label in (row for rows in ranks for row in rows):
        if index not in seen:
            seen.add(index)
            right += predicted == label
    return right / len(seen)


def _sorted_by_index(ranks: list[list[Row]]) -> Any:
    rows = sorted({row for rows in ranks for row in rows})
    return sum(predicted == label for _, predicted, label in rows) / len(rows)


def _counts_the_padding(ranks: list[list[Row]]) -> Any:
    rows = [row for rows in ranks for row in rows]
    return sum(predicted == label for _, predicted, label in rows) / len(rows)


def _mean_of_the_ranks(ranks: list[list[Row]]) -> Any:
    shares = [sum(p == y for _, p, y in rows) / len(rows) for rows in ranks if rows]
    return sum(shares) / len(shares)


def _only_the_first_rank(ranks: list[list[Row]]) -> Any:
    return exact_accuracy(ranks[:1])


def _drops_every_last_row(ranks: list[list[Row]]) -> Any:
    longest = max(len(rows) for rows in ranks)
    total = sum(len(rows) for rows in ranks)
    kept = [row for rows in ranks for row in (rows[:-1] if total > longest > 1 else rows)]
    return sum(p == y for _, p, y in kept) / len(kept)


def _counts_the_labels_for_all(ranks: list[list[Row]]) -> Any:
    rows = {row[0]: row for rows in ranks for row in rows}
    return sum(p == y for rs in ranks for _, p, y in rs) / len(rows)


def _cases(rng: random.Random) -> Iterator[Case]:
    yield ([[(0, 1, 1)]],)
    yield ([[(0, 1, 1), (1, 0, 1)]],)
    yield ([[(0, 1, 1), (2, 1, 1)], [(1, 0, 1), (0, 1, 1)]],)
    yield ([[(0, 1, 0), (2, 1, 1)], [(1, 1, 1), (0, 1, 0)]],)
    for _ in range(20):
        n, world_size = rng.randrange(2, 12), rng.randrange(2, 5)
        rows = [(i, rng.randrange(2), rng.randrange(2)) for i in range(n)]
        total = -(-n // world_size) * world_size
        yield ([[rows[p % n] for p in range(r, total, world_size)] for r in range(world_size)],)
    yield ([[(0, 1, 1), (0, 1, 1), (1, 0, 1)], [(2, 0, 1)]],)


def _oracle(ranks: list[list[Row]]) -> float:
    rows = {index: (p, y) for rows in ranks for index, p, y in rows}
    right = [index for index, (p, y) in rows.items() if p == y]
    return len(right) / len(rows)


EXERCISE = Exercise(
    level=1,
    reference=exact_accuracy,
    alternatives=(_with_a_set, _sorted_by_index),
    mistakes=(
        _counts_the_padding,
        _mean_of_the_ranks,
        _only_the_first_rank,
        _drops_every_last_row,
        _counts_the_labels_for_all,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={"share": lambda case, got: 0 <= got <= 1},
)
