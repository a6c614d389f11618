"""An order for every epoch that each process can work out by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from dlkit.lab.exercises.contract import Case, Exercise


def epoch_permutation(n: int, seed: int, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed + epoch)
    return torch.randperm(n, generator=generator).tolist()


def _with_random(n: int, seed: int, epoch: int) -> Any:
    order = list(range(n))
    random.Random(f"{seed} {epoch}").shuffle(order)
    return order


def _with_numpy(n: int, seed: int, epoch: int) -> Any:
    return np.random.default_rng([seed, epoch]).permutation(n)


def _forgets_the_epoch(n: int, seed: int, epoch: int) -> Any:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def _forgets_the_seed(n: int, seed: int, epoch: int) -> Any:
    return torch.randperm(n, generator=torch.Generator().manual_seed(epoch))


def _seeds_everybody(n: int, seed: int, epoch: int) -> Any:
    torch.manual_seed(seed + epoch)
    return torch.randperm(n)


def _draws_from_the_global_one(n: int, seed: int, epoch: int) -> Any:
    order = list(range(n))
    random.shuffle(order)
    return order


def _multiplies(n: int, seed: int, epoch: int) -> Any:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed * epoch))


def _draws_with_replacement(n: int, seed: int, epoch: int) -> Any:
    generator = torch.Generator().manual_seed(seed + epoch)
    return torch.randint(n, (n,), generator=generator)


def _drive(answer: Any, n: int, seeds: list[int], epochs: list[int]) -> Any:
    before = torch.get_rng_state().tolist(), random.getstate()
    orders = {f"seed {s}, epoch {e}": answer(n, s, e) for s in seeds for e in epochs}
    again = {f"seed {s}, epoch {e}": answer(n, s, e) for s in seeds for e in epochs}
    untouched = before == (torch.get_rng_state().tolist(), random.getstate())
    return {
        "orders": {key: list(map(int, order)) for key, order in orders.items()},
        "same again": [list(o) for o in orders.values()] == [list(o) for o in again.values()],
        "others left alone": untouched,
    }


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 1, [0], [0]
    yield 3, [0], [0]
    yield 12, [7], [0, 1]
    yield 12, [7, 40], [0, 3]
    yield 50, [rng.randrange(100), 1000], [0, 1, 2, 30]


def _all_differ(case: Case, got: Any) -> bool:
    orders = [tuple(order) for order in got["orders"].values()]
    return case[0] < 10 or len(set(orders)) == len(orders)


EXERCISE = Exercise(
    level=1,
    reference=epoch_permutation,
    alternatives=(_with_random, _with_numpy),
    mistakes=(
        _forgets_the_epoch,
        _forgets_the_seed,
        _seeds_everybody,
        _draws_from_the_global_one,
        _multiplies,
        _draws_with_replacement,
    ),
    cases=_cases,
    drive=_drive,
    properties={
        "permutation": lambda case, got: all(
            sorted(order) == list(range(case[0])) for order in got["orders"].values()
        ),
        "repeatable": lambda case, got: got["same again"],
        "private": lambda case, got: got["others left alone"],
        "fresh": _all_differ,
    },
)
