"""A sampler with rank 0 in every process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from torch.utils.data.distributed import DistributedSampler

from dlkit.lab.exercises.contract import Case, Exercise


def broken(n: int, rank: int, world_size: int) -> list[int]:
    sampler: DistributedSampler[int] = DistributedSampler(
        range(n),
        num_replicas=world_size,
        rank=0,
        shuffle=False,
    )
    return list(sampler)


def fixed_rank(n: int, rank: int, world_size: int) -> list[int]:
    sampler: DistributedSampler[int] = DistributedSampler(
        range(n),
        num_replicas=world_size,
        rank=rank,
        shuffle=False,
    )
    return list(sampler)


def _by_slice(n: int, rank: int, world_size: int) -> Any:
    padded = [index % n for index in range(-(-n // world_size) * world_size)]
    return padded[rank::world_size]


def _by_modulo(n: int, rank: int, world_size: int) -> Any:
    return [(rank + step * world_size) % n for step in range(-(-n // world_size))]


def _a_world_of_one(n: int, rank: int, world_size: int) -> Any:
    return list(range(n))


def _contiguous(n: int, rank: int, world_size: int) -> Any:
    each = -(-n // world_size)
    return [index % n for index in range(rank * each, (rank + 1) * each)]


def _without_padding(n: int, rank: int, world_size: int) -> Any:
    return list(range(rank, n, world_size))


def _cases(rng: random.Random) -> Iterator[Case]:
    for n in (1, 2, 3, 4, 5, 8):
        for world_size in (1, 2, 3):
            yield from ((n, rank, world_size) for rank in range(world_size))


def _oracle(n: int, rank: int, world_size: int) -> list[int]:
    return fixed_rank(n, rank, world_size)


EXERCISE = Exercise(
    level=1,
    reference=fixed_rank,
    broken=broken,
    alternatives=(_by_slice, _by_modulo),
    mistakes=(broken, _a_world_of_one, _contiguous, _without_padding),
    cases=_cases,
    oracle=_oracle,
)
