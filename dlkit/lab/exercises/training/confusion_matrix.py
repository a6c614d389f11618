"""Which class was taken for which."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch

from dlkit.lab.exercises.contract import Case, Exercise


def confusion_matrix(labels: list[int], predicted: list[int], classes: int) -> list[list[int]]:
    matrix = [[0] * classes for _ in range(classes)]
    for label, guess in zip(labels, predicted, strict=True):
        matrix[label][guess] += 1
    return matrix


def _with_bincount(labels: list[int], predicted: list[int], classes: int) -> Any:
    pairs = torch.tensor(labels, dtype=torch.int64) * classes + torch.tensor(
        predicted, dtype=torch.int64
    )
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def _with_a_counter(labels: list[int], predicted: list[int], classes: int) -> Any:
    from collections import Counter

    counts = Counter(zip(labels, predicted, strict=True))
    return [[counts[i, j] for j in range(classes)] for i in range(classes)]


def _rows_are_predictions(labels: list[int], predicted: list[int], classes: int) -> Any:
    return confusion_matrix(predicted, labels, classes)


def _each_pair_only_once(labels: list[int], predicted: list[int], classes: int) -> Any:
    matrix = torch.zeros(classes, classes, dtype=torch.int64)
    matrix[torch.tensor(labels, dtype=torch.int64), torch.tensor(predicted, dtype=torch.int64)] += 1
    return matrix


def _only_classes_that_occur(labels: list[int], predicted: list[int], classes: int) -> Any:
    return confusion_matrix(labels, predicted, max([*labels, *predicted], default=-1) + 1)


def _all_rows_are_one(labels: list[int], predicted: list[int], classes: int) -> Any:
    matrix = [[0] * classes] * classes
    for label, guess in zip(labels, predicted, strict=True):
        matrix[label][guess] += 1
    return matrix


def _shares_instead_of_counts(labels: list[int], predicted: list[int], classes: int) -> Any:
    matrix = confusion_matrix(labels, predicted, classes)
    return [[count / max(sum(row), 1) for count in row] for row in matrix]


def _counts_mistakes_only(labels: list[int], predicted: list[int], classes: int) -> Any:
    matrix = confusion_matrix(labels, predicted, classes)
    return [[n * (i != j) for j, n in enumerate(row)] for i, row in enumerate(matrix)]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [], [], 2
    yield [0], [0], 1
    yield [0], [1], 2
    yield [0, 0], [0, 0], 2
    yield [0, 1, 1], [0, 1, 0], 3
    for _ in range(20):
        size, classes = rng.randrange(12), rng.randrange(1, 5)
        labels = [rng.randrange(classes) for _ in range(size)]
        yield labels, [rng.randrange(classes) for _ in labels], classes


def _oracle(labels: list[int], predicted: list[int], classes: int) -> Any:
    pairs = list(zip(labels, predicted, strict=True))
    return [[pairs.count((i, j)) for j in range(classes)] for i in range(classes)]


EXERCISE = Exercise(
    level=1,
    reference=confusion_matrix,
    alternatives=(_with_bincount, _with_a_counter),
    mistakes=(
        _rows_are_predictions,
        _each_pair_only_once,
        _only_classes_that_occur,
        _all_rows_are_one,
        _shares_instead_of_counts,
        _counts_mistakes_only,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "square": lambda case, got: len(got) == case[2] and all(len(row) == case[2] for row in got),
        "total": lambda case, got: sum(sum(row) for row in got) == len(case[0]),
    },
    picture="target",
)
