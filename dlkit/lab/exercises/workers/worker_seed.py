"""A seed of its own for every worker of every rank."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlkit.lab.exercises.contract import Case, Exercise


def worker_seed(base_seed: int, rank: int, worker: int) -> int:
    text = f"{base_seed} {rank} {worker}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "little")


def _with_a_seed_sequence(base_seed: int, rank: int, worker: int) -> Any:
    sequence = np.random.SeedSequence(base_seed, spawn_key=(rank, worker))
    return sequence.generate_state(1)[0]


def _with_random(base_seed: int, rank: int, worker: int) -> Any:
    return random.Random(f"{base_seed}, {rank}, {worker}").getrandbits(32)


def _the_same_for_all(base_seed: int, rank: int, worker: int) -> Any:
    return base_seed % 2**32


def _forgets_the_rank(base_seed: int, rank: int, worker: int) -> Any:
    return (base_seed + worker) % 2**32


def _adds_them(base_seed: int, rank: int, worker: int) -> Any:
    return (base_seed + rank + worker) % 2**32


def _too_large_for_numpy(base_seed: int, rank: int, worker: int) -> Any:
    return base_seed + 1000 * rank + worker


def _another_each_time(base_seed: int, rank: int, worker: int) -> Any:
    return random.getrandbits(32)


def _words_run_into_each_other(base_seed: int, rank: int, worker: int) -> Any:
    return int(np.random.SeedSequence([base_seed, rank, worker]).generate_state(1)[0])


def _forgets_the_base(base_seed: int, rank: int, worker: int) -> Any:
    return 1000 * rank + worker


def _drive(answer: Any, base_seeds: list[int], world_size: int, num_workers: int) -> Any:
    def all_seeds() -> dict[str, int]:
        return {
            f"base {base}, rank {rank}, worker {worker}": answer(base, rank, worker)
            for base in base_seeds
            for rank in range(world_size)
            for worker in range(num_workers)
        }

    seeds = all_seeds()
    return {"seeds": seeds, "same again": seeds == all_seeds()}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [0], 1, 1
    yield [0], 1, 2
    yield [0], 2, 1
    yield [0], 2, 2
    yield [2**62 + 12345], 1, 1
    yield [1, 2**40], 1, 1
    yield [0, 90], 4, 8
    yield [0, 2**33], 4, 8


EXERCISE = Exercise(
    level=1,
    reference=worker_seed,
    alternatives=(_with_a_seed_sequence, _with_random),
    mistakes=(
        _the_same_for_all,
        _forgets_the_rank,
        _adds_them,
        _too_large_for_numpy,
        _another_each_time,
        _forgets_the_base,
        _words_run_into_each_other,
    ),
    cases=_cases,
    drive=_drive,
    properties={
        "fits": lambda case, got: all(
            isinstance(seed, int) and 0 <= seed < 2**32 for seed in got["seeds"].values()
        ),
        "repeatable": lambda case, got: got["same again"],
        "distinct": lambda case, got: len(set(got["seeds"].values())) == len(got["seeds"]),
    },
)
