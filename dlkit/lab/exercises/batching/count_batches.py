"""How many batches an epoch has: division that rounds up."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from torch.utils.data import BatchSampler

from dlkit.lab.exercises.contract import Case, Exercise


def count_batches(n: int, batch_size: int, drop_last: bool) -> int:
    return n // batch_size if drop_last else (n + batch_size - 1) // batch_size


def _negated_floor(n: int, batch_size: int, drop_last: bool) -> Any:
    return n // batch_size if drop_last else -(-n // batch_size)


def _with_divmod(n: int, batch_size: int, drop_last: bool) -> Any:
    full, rest = divmod(n, batch_size)
    return full + (rest > 0 and not drop_last)


def _always_rounds_down(n: int, batch_size: int, drop_last: bool) -> Any:
    return n // batch_size


def _always_one_more(n: int, batch_size: int, drop_last: bool) -> Any:
    return n // batch_size + (not drop_last)


def _rounds_to_nearest(n: int, batch_size: int, drop_last: bool) -> Any:
    return n // batch_size if drop_last else round(n / batch_size)


def _ignores_drop_last(n: int, batch_size: int, drop_last: bool) -> Any:
    return -(-n // batch_size)


def _loses_digits_in_floats(n: int, batch_size: int, drop_last: bool) -> Any:
    import math

    return math.floor(n / batch_size) if drop_last else math.ceil(n / batch_size)


def _cases(rng: random.Random) -> Iterator[Case]:
    for n in range(7):
        for batch_size in (1, 2, 3, 4):
            yield from ((n, batch_size, drop_last) for drop_last in (False, True))
    for _ in range(20):
        yield rng.randrange(10**6), rng.randrange(1, 1000), rng.random() < 0.5
    yield 2**60 + 1, 2, False
    yield 2**60 - 1, 2, True


def _oracle(n: int, batch_size: int, drop_last: bool) -> int:
    return len(BatchSampler(range(n), batch_size, drop_last))


EXERCISE = Exercise(
    level=1,
    reference=count_batches,
    alternatives=(_negated_floor, _with_divmod),
    mistakes=(
        _always_rounds_down,
        _always_one_more,
        _rounds_to_nearest,
        _ignores_drop_last,
        _loses_digits_in_floats,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "enough": lambda case, got: case[2] or got * case[1] >= case[0],
        "none_empty": lambda case, got: case[2] or (got - 1) * case[1] < max(case[0], 1),
        "only_full": lambda case, got: not case[2] or got * case[1] <= case[0],
    },
)
