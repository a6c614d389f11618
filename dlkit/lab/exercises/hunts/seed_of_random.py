"""The wrong generator is seeded."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, RandomSampler

from dlkit.lab.exercises.contract import Case, Exercise


def broken(n: int, seed: int) -> list[int]:
    random.seed(seed)
    loader = DataLoader(range(n), batch_size=n, shuffle=True)
    order: list[int] = next(iter(loader)).tolist()
    return order


def seed_of_random(n: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    loader = DataLoader(range(n), batch_size=n, shuffle=True, generator=generator)
    order: list[int] = next(iter(loader)).tolist()
    return order


def _global_seed(n: int, seed: int) -> Any:
    torch.manual_seed(seed)
    return next(iter(DataLoader(range(n), batch_size=n, shuffle=True))).tolist()


def _by_a_sampler(n: int, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return list(RandomSampler(range(n), generator=generator))


def _always_the_same(n: int, seed: int) -> Any:
    return torch.randperm(n, generator=torch.Generator().manual_seed(0)).tolist()


def _not_shuffled(n: int, seed: int) -> Any:
    return list(range(n))


def _with_replacement(n: int, seed: int) -> Any:
    return torch.randint(n, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


def _drive(answer: Any, n: int, seeds: list[int]) -> dict[str, Any]:
    orders = []
    for place, seed in enumerate(seeds):
        torch.manual_seed(1000 + place)  # whatever ran before
        orders.append(list(answer(n, seed)))
    return {"each index once": [sorted(order) for order in orders],
            "equal to the first": [order == orders[0] for order in orders],
            "mixed": orders[0] != list(range(n))}  # fmt: skip


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 20, [3, 3]
    yield 20, [3, 4, 3]


def _oracle(n: int, seeds: list[int]) -> dict[str, Any]:
    return {"each index once": [list(range(n))] * len(seeds),
            "equal to the first": [seed == seeds[0] for seed in seeds],
            "mixed": True}  # fmt: skip


EXERCISE = Exercise(
    level=1,
    reference=seed_of_random,
    broken=broken,
    alternatives=(_global_seed, _by_a_sampler),
    mistakes=(broken, _always_the_same, _not_shuffled, _with_replacement),
    cases=_cases,
    oracle=_oracle,
    drive=_drive,
)
