"""A preprocessing function given to the loader."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from dlkit.lab.exercises.contract import Case, Exercise


def broken(numbers: list[int], batch_size: int) -> list[list[int]]:
    def preprocess(number: int) -> int:
        return 2 * number + 1

    loader = DataLoader(numbers, batch_size=batch_size, transform=preprocess)
    return [batch.tolist() for batch in loader]


class _Preprocessed:
    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> int:
        return 2 * self.numbers[index] + 1


def transform_argument(numbers: list[int], batch_size: int) -> list[list[int]]:
    class Preprocessed(Dataset[int]):
        def __len__(self) -> int:
            return len(numbers)

        def __getitem__(self, index: int) -> int:
            return 2 * numbers[index] + 1

    return [batch.tolist() for batch in DataLoader(Preprocessed(), batch_size=batch_size)]


def _another_class(numbers: list[int], batch_size: int) -> Any:
    return [batch.tolist() for batch in DataLoader(_Preprocessed(numbers), batch_size=batch_size)]


def _in_collate(numbers: list[int], batch_size: int) -> Any:
    def collate(samples: list[int]) -> list[int]:
        return [2 * sample + 1 for sample in samples]

    return list(DataLoader(numbers, batch_size=batch_size, collate_fn=collate))


def _never_applied(numbers: list[int], batch_size: int) -> Any:
    return [batch.tolist() for batch in DataLoader(numbers, batch_size=batch_size)]


def _applied_twice(numbers: list[int], batch_size: int) -> Any:
    batches = DataLoader(_Preprocessed(numbers), batch_size=batch_size)
    return [(2 * batch + 1).tolist() for batch in batches]


def _the_index_instead(numbers: list[int], batch_size: int) -> Any:
    return [
        batch.tolist() for batch in DataLoader(_Preprocessed([*range(len(numbers))]), batch_size)
    ]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [3], 1
    yield [0, 1, 2], 2
    yield [rng.randrange(100) for _ in range(7)], 3


def _oracle(numbers: list[int], batch_size: int) -> list[list[int]]:
    done = [2 * number + 1 for number in numbers]
    return [done[i : i + batch_size] for i in range(0, len(done), batch_size)]


EXERCISE = Exercise(
    level=1,
    reference=transform_argument,
    broken=broken,
    alternatives=(_another_class, _in_collate),
    mistakes=(broken, _never_applied, _applied_twice, _the_index_instead),
    cases=_cases,
    oracle=_oracle,
)
