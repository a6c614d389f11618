"""An evaluation that counts duplicates."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from torch.utils.data.distributed import DistributedSampler

from dlkit.lab.exercises.contract import Case, Exercise


def broken(right: list[bool], world_size: int) -> float:
    counts = []
    for rank in range(world_size):
        sampler: DistributedSampler[bool] = DistributedSampler(
            right,
            num_replicas=world_size,
            rank=rank,
            shuffle=False,
        )
        indices = list(sampler)
        counts.append((sum(right[index] for index in indices), len(indices)))
    return sum(good for good, _ in counts) / sum(seen for _, seen in counts)


def padded_evaluation(right: list[bool], world_size: int) -> float:
    counts = []
    for rank in range(world_size):
        indices = range(rank, len(right), world_size)
        counts.append((sum(right[index] for index in indices), len(indices)))
    return sum(good for good, _ in counts) / sum(seen for _, seen in counts)


def _without_the_padding(right: list[bool], world_size: int) -> Any:
    seen: dict[int, bool] = {}
    for rank in range(world_size):
        sampler = DistributedSampler(right, world_size, rank, shuffle=False)
        seen |= {index: right[index] for index in sampler}
    return sum(seen.values()) / len(seen)


def _blocks(right: list[bool], world_size: int) -> Any:
    each = -(-len(right) // world_size)
    parts = [right[rank * each : (rank + 1) * each] for rank in range(world_size)]
    return sum(map(sum, parts)) / sum(map(len, parts))


def _drops_the_rest(right: list[bool], world_size: int) -> Any:
    kept = right[: max(len(right) // world_size, 1) * world_size]
    return sum(kept) / len(kept)


def _mean_of_ranks(right: list[bool], world_size: int) -> Any:
    parts = [right[rank::world_size] for rank in range(world_size)]
    return sum(sum(part) / len(part) for part in parts if part) / sum(map(bool, parts))


def _divides_by_the_padded(right: list[bool], world_size: int) -> Any:
    return sum(right) / (-(-len(right) // world_size) * world_size)


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [True, False, False], 2
    yield [True, True, False, False, False], 3
    for world_size in (1, 2, 3, 4):
        yield [rng.random() < 0.6 for _ in range(10)], world_size


def _oracle(right: list[bool], world_size: int) -> float:
    return sum(right) / len(right)


EXERCISE = Exercise(
    level=2,
    reference=padded_evaluation,
    broken=broken,
    alternatives=(_without_the_padding, _blocks),
    mistakes=(broken, _drops_the_rest, _mean_of_ranks, _divides_by_the_padded),
    cases=_cases,
    oracle=_oracle,
)
