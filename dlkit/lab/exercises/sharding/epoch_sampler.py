"""A sampler for one rank whose order changes with the epoch, the same on all ranks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch

from dlkit.lab.exercises.contract import Case, Exercise


class EpochSampler:
    """Deals a new order of the samples to the ranks in every epoch."""

    def __init__(self, n: int, rank: int, world_size: int, seed: int = 0) -> None:
        self.n, self.rank, self.world_size, self.seed = n, rank, world_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n // self.world_size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order: list[int] = torch.randperm(self.n, generator=generator).tolist()
        return iter(order[self.rank : len(self) * self.world_size : self.world_size])


class _WithRandom(EpochSampler):
    def __iter__(self) -> Iterator[int]:
        order = random.Random(f"{self.seed} {self.epoch}").sample(range(self.n), self.n)
        each = len(self)
        yield from order[self.rank * each : (self.rank + 1) * each]


class _MadeInSetEpoch(EpochSampler):
    def __init__(self, n: int, rank: int, world_size: int, seed: int = 0) -> None:
        super().__init__(n, rank, world_size, seed)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        generator = torch.Generator().manual_seed(1000 * self.seed + epoch)
        self.order = torch.randperm(self.n, generator=generator)[self.rank :: self.world_size]

    def __iter__(self) -> Iterator[int]:
        return iter(self.order[: len(self)].tolist())


class _IgnoresTheEpoch(EpochSampler):
    def set_epoch(self, epoch: int) -> None:
        pass


class _SeedsWithTheRank(EpochSampler):
    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch + self.rank)
        order: list[int] = torch.randperm(self.n, generator=generator).tolist()
        return iter(order[self.rank : len(self) * self.world_size : self.world_size])


class _ShufflesInsideTheShard(EpochSampler):
    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        shard = torch.arange(self.rank, len(self) * self.world_size, self.world_size)
        return iter(shard[torch.randperm(len(shard), generator=generator)].tolist())


class _MovesOnWithEveryUse(EpochSampler):
    def __iter__(self) -> Iterator[int]:
        self.epoch += 1
        return super().__iter__()


class _LengthOfTheWhole(EpochSampler):
    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order: list[int] = torch.randperm(self.n, generator=generator).tolist()
        end = self.n - self.n % self.world_size
        return iter(order[self.rank : end : self.world_size])


def _drive(answer: Any, n: int, world_size: int, epochs: list[int]) -> Any:
    samplers = [answer(n, rank, world_size, 5) for rank in range(world_size)]
    orders, again = {}, True
    for epoch in epochs:
        for sampler in samplers:
            sampler.set_epoch(epoch)
        orders[f"epoch {epoch}"] = [list(sampler) for sampler in samplers]
        again = again and orders[f"epoch {epoch}"] == [list(sampler) for sampler in samplers]
    return {"by rank": orders, "same when read again": again, "lengths": [*map(len, samplers)]}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 1, 1, [0]
    yield 2, 2, [0]
    yield 5, 2, [0]
    yield 16, 2, [0, 1]
    yield 30, 3, [0, 1, 7]
    yield 31, 4, [2, 3]


def _shards(got: Any) -> Any:
    return got["by rank"].values()


def _is_disjoint(case: Case, got: Any) -> bool:
    return all(
        len({i for shard in shards for i in shard}) == sum(map(len, shards))
        for shards in _shards(got)
    )


EXERCISE = Exercise(
    level=2,
    reference=EpochSampler,
    alternatives=(_WithRandom, _MadeInSetEpoch),
    mistakes=(
        _IgnoresTheEpoch,
        _SeedsWithTheRank,
        _ShufflesInsideTheShard,
        _MovesOnWithEveryUse,
        _LengthOfTheWhole,
    ),
    cases=_cases,
    drive=_drive,
    properties={
        "sizes": lambda case, got: all(
            len(shard) == case[0] // case[1] for shards in _shards(got) for shard in shards
        ),
        "lengths": lambda case, got: got["lengths"] == [case[0] // case[1]] * case[1],
        "disjoint": _is_disjoint,
        "in_range": lambda case, got: all(
            0 <= i < case[0] for shards in _shards(got) for shard in shards for i in shard
        ),
        "repeatable": lambda case, got: got["same when read again"],
        "fresh": lambda case, got: len({str(s) for s in _shards(got)}) == len(case[2]),
        "samples_move": lambda case, got: (
            len(case[2]) < 2 or case[1] < 2 or len({str(sorted(s[0])) for s in _shards(got)}) > 1
        ),
    },
)
