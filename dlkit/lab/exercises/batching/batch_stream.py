"""Batches from an iterator whose length nobody knows."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise
from dlkit.lab.exercises.values import same


def batch_stream(stream: Iterable[Any], batch_size: int) -> Iterator[list[Any]]:
    batch = []
    for item in stream:
        batch.append(item)
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def _with_islice(stream: Iterable[Any], batch_size: int) -> Any:
    items = iter(stream)
    while batch := list(islice(items, batch_size)):
        yield batch


def _first_then_rest(stream: Iterable[Any], batch_size: int) -> Any:
    items = iter(stream)
    return (tuple(chain([first], islice(items, batch_size - 1))) for first in items)


def _loses_the_rest(stream: Iterable[Any], batch_size: int) -> Any:
    return (list(batch) for batch in zip(*[iter(stream)] * batch_size, strict=False))


def _reads_everything_first(stream: Iterable[Any], batch_size: int) -> Any:
    items = list(stream)
    for start in range(0, len(items), batch_size):
        yield items[start : start + batch_size]


def _reuses_one_list(stream: Iterable[Any], batch_size: int) -> Any:
    batch: list[Any] = []
    for item in stream:
        batch.append(item)
        if len(batch) == batch_size:
            yield batch
            batch.clear()
    if batch:
        yield batch


def _ends_with_an_empty_batch(stream: Iterable[Any], batch_size: int) -> Any:
    batch: list[Any] = []
    for item in stream:
        batch.append(item)
        if len(batch) == batch_size:
            yield batch
            batch = []
    yield batch


def _lets_stop_iteration_out(stream: Iterable[Any], batch_size: int) -> Any:
    items = iter(stream)
    while True:
        yield [next(items) for _ in range(batch_size)]


def _drive(answer: Any, n: int, batch_size: int) -> Any:
    read = 0

    def stream() -> Iterator[int]:
        nonlocal read
        for item in range(n):
            read += 1
            yield item

    batches, read_before = [], []
    for batch in islice(answer(stream(), batch_size), n + 2):
        batches.append(batch)
        read_before.append(read)
    return {"batches": batches, "items read before each": read_before}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield from ((n, batch_size) for n in range(7) for batch_size in (1, 2, 3))
    for _ in range(10):
        yield rng.randrange(40), rng.randrange(1, 9)


def _oracle(n: int, batch_size: int) -> dict[str, list[Any]]:
    batches = [list(range(i, min(i + batch_size, n))) for i in range(0, n, batch_size)]
    return {"batches": batches, "items read before each": [batch[-1] + 1 for batch in batches]}


def _is_lazy(case: Case, got: Any) -> bool:
    # One more than needed may be read, to see whether the stream is at its end.
    ahead = zip(got["items read before each"], range(1, case[0] + 3), strict=False)
    return all(read <= count * case[1] + 1 for read, count in ahead)


EXERCISE = Exercise(
    level=1,
    reference=batch_stream,
    alternatives=(_with_islice, _first_then_rest),
    mistakes=(
        _loses_the_rest,
        _reads_everything_first,
        _reuses_one_list,
        _ends_with_an_empty_batch,
        _lets_stop_iteration_out,
    ),
    cases=_cases,
    drive=_drive,
    oracle=_oracle,
    same=lambda expected, got: same(expected["batches"], got["batches"]),
    properties={
        "no_empty_batch": lambda case, got: all(map(len, got["batches"])),
        "all": lambda case, got: sum(map(len, got["batches"])) == case[0],
        "lazy": _is_lazy,
    },
)
