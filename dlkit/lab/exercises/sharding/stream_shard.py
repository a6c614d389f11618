"""Which items of a stream belong to one worker of one rank."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def stream_shard(
    stream: Iterable[Any], rank: int, world_size: int, worker: int, num_workers: int
) -> Iterator[Any]:
    mine = rank * num_workers + worker
    return islice(stream, mine, None, world_size * num_workers)


def _worker_first(
    stream: Iterable[Any], rank: int, world_size: int, worker: int, num_workers: int
) -> Any:
    for position, item in enumerate(stream):
        if position % (world_size * num_workers) == worker * world_size + rank:
            yield item


def _in_two_steps(
    stream: Iterable[Any], rank: int, world_size: int, worker: int, num_workers: int
) -> Any:
    of_rank = islice(stream, rank, None, world_size)
    return [item for place, item in enumerate(of_rank) if place % num_workers == worker]


def _workers_all_read_the_same(
    stream: Iterable[Any], rank: int, world_size: int, worker: int, num_workers: int
) -> Any:
    return islice(stream, rank, None, world_size)


def _ranks_all_read_the_same(
    stream: Iterable[Any], rank: int, world_size: int, worker: int, num_workers: int
) -> Any:
    return islice(stream, worker, None, num_workers)


def _adds_rank_and_worker(
    stream: Iterable[Any], rank: int, world_size: int, worker: int, num_workers: int
) -> Any:
    return islice(stream, rank + worker, None, world_size * num_workers)


def _multiplies_by_the_wrong_size(
    stream: Iterable[Any], rank: int, world_size: int, worker: int, num_workers: int
) -> Any:
    return islice(stream, rank * world_size + worker, None, world_size * num_workers)


def _steps_over_ranks_only(
    stream: Iterable[Any], rank: int, world_size: int, worker: int, num_workers: int
) -> Any:
    return islice(stream, rank * num_workers + worker, None, world_size)


def _drive(answer: Any, n: int, world_size: int, num_workers: int) -> Any:
    return {
        f"rank {rank}, worker {worker}": list(
            answer(iter(range(n)), rank, world_size, worker, num_workers)
        )
        for rank in range(world_size)
        for worker in range(num_workers)
    }


def _cases(rng: random.Random) -> Iterator[Case]:
    for n in (0, 1, 2, 5, 9):
        yield from ((n, world_size, workers) for world_size in (1, 2, 3) for workers in (1, 2, 3))
    yield 40, 4, 3
    yield 41, 2, 5


def _counts(got: Any) -> list[int]:
    return [len(items) for items in got.values()]


EXERCISE = Exercise(
    level=2,
    reference=stream_shard,
    alternatives=(_worker_first, _in_two_steps),
    mistakes=(
        _workers_all_read_the_same,
        _ranks_all_read_the_same,
        _adds_rank_and_worker,
        _multiplies_by_the_wrong_size,
        _steps_over_ranks_only,
    ),
    cases=_cases,
    drive=_drive,
    properties={
        "once": lambda case, got: len({i for s in got.values() for i in s}) == sum(_counts(got)),
        "all": lambda case, got: sum(_counts(got)) == case[0],
        "balanced": lambda case, got: max(_counts(got)) - min(_counts(got)) <= 1,
    },
)
