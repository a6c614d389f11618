"""Batches of indices: what a batch sampler does."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import BatchSampler

from dlkit.lab.exercises.contract import Case, Exercise


def index_batches(n: int, batch_size: int, drop_last: bool) -> list[list[int]]:
    end = n - n % batch_size if drop_last else n
    return [list(range(i, min(i + batch_size, n))) for i in range(0, end, batch_size)]


def _with_islice(n: int, batch_size: int, drop_last: bool) -> Any:
    indices, batches = iter(range(n)), []
    while batch := tuple(islice(indices, batch_size)):
        if len(batch) == batch_size or not drop_last:
            batches.append(batch)
    return tuple(batches)


def _one_at_a_time(n: int, batch_size: int, drop_last: bool) -> Any:
    batches: list[list[int]] = [[]]
    for index in range(n):
        if len(batches[-1]) == batch_size:
            batches.append([])
        batches[-1].append(index)
    short = len(batches[-1]) < batch_size
    return batches[:-1] if not batches[-1] or (short and drop_last) else batches


def _loses_the_rest(n: int, batch_size: int, drop_last: bool) -> Any:
    batches, batch = [], []
    for index in range(n):
        batch.append(index)
        if len(batch) == batch_size:
            batches.append(batch)
            batch = []
    return batches


def _ignores_drop_last(n: int, batch_size: int, drop_last: bool) -> Any:
    return [list(range(i, min(i + batch_size, n))) for i in range(0, n, batch_size)]


def _drops_a_full_last_batch(n: int, batch_size: int, drop_last: bool) -> Any:
    batches = [list(range(i, min(i + batch_size, n))) for i in range(0, n, batch_size)]
    return batches[:-1] if drop_last else batches


def _runs_past_the_end(n: int, batch_size: int, drop_last: bool) -> Any:
    end = n - n % batch_size if drop_last else n
    return [list(range(i, i + batch_size)) for i in range(0, end, batch_size)]


def _fills_up_with_the_start(n: int, batch_size: int, drop_last: bool) -> Any:
    end = n - n % batch_size if drop_last else n
    return [[j % n for j in range(i, i + batch_size)] for i in range(0, end, batch_size)]


def _cases(rng: random.Random) -> Iterator[Case]:
    for n in range(6):
        for batch_size in (1, 2, 3, 4):
            yield from ((n, batch_size, drop_last) for drop_last in (False, True))
    for _ in range(20):
        yield rng.randrange(60), rng.randrange(1, 20), rng.random() < 0.5


def _oracle(n: int, batch_size: int, drop_last: bool) -> list[list[int]]:
    return list(BatchSampler(range(n), batch_size, drop_last))


EXERCISE = Exercise(
    level=1,
    reference=index_batches,
    alternatives=(_with_islice, _one_at_a_time),
    mistakes=(
        _loses_the_rest,
        _ignores_drop_last,
        _drops_a_full_last_batch,
        _runs_past_the_end,
        _fills_up_with_the_start,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "in_range": lambda case, got: all(0 <= i < case[0] for batch in got for i in batch),
        "once": lambda case, got: len({i for b in got for i in b}) == sum(map(len, got)),
        "not_too_many": lambda case, got: all(len(batch) <= case[1] for batch in got),
        "all": lambda case, got: case[2] or sum(map(len, got)) == case[0],
        "full": lambda case, got: not case[2] or all(len(batch) == case[1] for batch in got),
    },
    picture="strip",
)
