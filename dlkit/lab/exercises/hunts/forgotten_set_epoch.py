"""A distributed sampler that is never told the epoch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data.distributed import DistributedSampler

from dlkit.lab.exercises.contract import Case, Exercise


def broken(n: int, rank: int, world_size: int, epochs: int) -> list[list[int]]:
    sampler: DistributedSampler[int] = DistributedSampler(
        range(n),
        num_replicas=world_size,
        rank=rank,
        seed=0,
    )
    return [list(sampler) for _ in range(epochs)]


def forgotten_set_epoch(n: int, rank: int, world_size: int, epochs: int) -> list[list[int]]:
    sampler: DistributedSampler[int] = DistributedSampler(
        range(n),
        num_replicas=world_size,
        rank=rank,
        seed=0,
    )
    orders = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    return orders


def _order(n: int, rank: int, world_size: int, seed: int) -> list[int]:
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    total = -(-n // world_size) * world_size
    return [order[place % n] for place in range(total)][rank::world_size]


def _by_hand(n: int, rank: int, world_size: int, epochs: int) -> Any:
    return [_order(n, rank, world_size, epoch) for epoch in range(epochs)]


def _a_sampler_each(n: int, rank: int, world_size: int, epochs: int) -> Any:
    samplers = [
        DistributedSampler(range(n), world_size, rank, seed=epoch) for epoch in range(epochs)
    ]
    return [list(sampler) for sampler in samplers]


def _seeded_by_rank(n: int, rank: int, world_size: int, epochs: int) -> Any:
    return [_order(n, rank, world_size, 100 * rank + epoch) for epoch in range(epochs)]


def _set_once(n: int, rank: int, world_size: int, epochs: int) -> Any:
    return [_order(n, rank, world_size, epochs - 1) for _ in range(epochs)]


def _counts_from_one(n: int, rank: int, world_size: int, epochs: int) -> Any:
    return [_order(n, rank, world_size, epoch) for epoch in range(1, epochs + 1)]


def _cases(rng: random.Random) -> Iterator[Case]:
    for n in (4, 5, 9):
        for world_size in (1, 2):
            yield from ((n, rank, world_size, 3) for rank in range(world_size))


EXERCISE = Exercise(
    level=1,
    reference=forgotten_set_epoch,
    broken=broken,
    alternatives=(_by_hand, _a_sampler_each),
    mistakes=(broken, _seeded_by_rank, _set_once, _counts_from_one),
    cases=_cases,
    oracle=_by_hand,
)
