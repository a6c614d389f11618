"""The indices of one rank, each sample exactly once: what evaluation needs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def exact_shard(n: int, rank: int, world_size: int) -> list[int]:
    return list(range(rank, n, world_size))


def _in_blocks(n: int, rank: int, world_size: int) -> Any:
    return list(range(rank * n // world_size, (rank + 1) * n // world_size))


def _the_first_get_one_more(n: int, rank: int, world_size: int) -> Any:
    each, rest = divmod(n, world_size)
    start = rank * each + min(rank, rest)
    return tuple(range(start, start + each + (rank < rest)))


def _pads_with_the_start(n: int, rank: int, world_size: int) -> Any:
    total = -(-n // world_size) * world_size
    return [position % n for position in range(rank, total, world_size)]


def _drops_the_rest(n: int, rank: int, world_size: int) -> Any:
    each = n // world_size
    return list(range(rank * each, (rank + 1) * each))


def _the_last_takes_the_rest(n: int, rank: int, world_size: int) -> Any:
    each = n // world_size
    return list(range(rank * each, n if rank == world_size - 1 else (rank + 1) * each))


def _rounds_blocks_up(n: int, rank: int, world_size: int) -> Any:
    each = -(-n // world_size)
    return list(range(rank * each, min((rank + 1) * each, n)))


def _ranks_start_at_one(n: int, rank: int, world_size: int) -> Any:
    return [i for i in range(n) if i % world_size == rank - 1]


def _drive(answer: Any, n: int, world_size: int) -> Any:
    return [answer(n, rank, world_size) for rank in range(world_size)]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield from ((n, world_size) for n in range(7) for world_size in (1, 2, 3, 4))
    for _ in range(10):
        yield rng.randrange(60), rng.randrange(1, 9)


EXERCISE = Exercise(
    level=1,
    reference=exact_shard,
    alternatives=(_in_blocks, _the_first_get_one_more),
    mistakes=(
        _pads_with_the_start,
        _drops_the_rest,
        _the_last_takes_the_rest,
        _rounds_blocks_up,
        _ranks_start_at_one,
    ),
    cases=_cases,
    drive=_drive,
    properties={
        "disjoint": lambda case, got: len({i for s in got for i in s}) == sum(map(len, got)),
        "complete": lambda case, got: sorted(i for s in got for i in s) == list(range(case[0])),
        "balanced": lambda case, got: max(map(len, got)) - min(map(len, got)) <= 1,
    },
    picture="",
)
