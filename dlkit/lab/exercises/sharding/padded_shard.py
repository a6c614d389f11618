"""The indices of one rank, padded so that every rank has as many, as DistributedSampler does."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DistributedSampler

from dlkit.lab.exercises.contract import Case, Exercise


def padded_shard(n: int, rank: int, world_size: int) -> list[int]:
    total = -(-n // world_size) * world_size
    return [position % n for position in range(rank, total, world_size)]


def _pads_a_list(n: int, rank: int, world_size: int) -> Any:
    indices = list(range(n))
    while len(indices) % world_size:
        indices += indices[: -len(indices) % world_size]
    return indices[rank::world_size]


def _with_cycle(n: int, rank: int, world_size: int) -> Any:
    from itertools import cycle, islice

    total = -(-n // world_size) * world_size
    return tuple(islice(cycle(range(n)), rank, total, world_size))


def _does_not_pad(n: int, rank: int, world_size: int) -> Any:
    return list(range(rank, n, world_size))


def _cuts_into_blocks(n: int, rank: int, world_size: int) -> Any:
    each = -(-n // world_size)
    return [position % n for position in range(rank * each, (rank + 1) * each)]


def _repeats_the_last(n: int, rank: int, world_size: int) -> Any:
    total = -(-n // world_size) * world_size
    return [min(position, n - 1) for position in range(rank, total, world_size)]


def _drops_the_tail(n: int, rank: int, world_size: int) -> Any:
    return list(range(rank, n - n % world_size, world_size))


def _pads_only_once(n: int, rank: int, world_size: int) -> Any:
    indices = list(range(n))
    indices += indices[: -n % world_size]
    return indices[rank::world_size]


def _cases(rng: random.Random) -> Iterator[Case]:
    for n in range(1, 6):
        for world_size in (1, 2, 3, 4):
            yield from ((n, rank, world_size) for rank in range(world_size))
    for _ in range(15):
        world_size = rng.randrange(1, 9)
        yield rng.randrange(1, 60), rng.randrange(world_size), world_size


def _oracle(n: int, rank: int, world_size: int) -> list[int]:
    data: Any = range(n)
    return list(DistributedSampler(data, world_size, rank, shuffle=False))


EXERCISE = Exercise(
    level=1,
    reference=padded_shard,
    alternatives=(_pads_a_list, _with_cycle),
    mistakes=(
        _does_not_pad,
        _cuts_into_blocks,
        _repeats_the_last,
        _drops_the_tail,
        _pads_only_once,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "as_many": lambda case, got: len(got) == -(-case[0] // case[2]),
        "in_range": lambda case, got: all(0 <= i < case[0] for i in got),
    },
)
