"""The same random numbers in every worker."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlkit.lab.exercises.contract import Case, Exercise


def broken(seed: int, worker: int, epoch: int, n: int) -> list[float]:
    rng = np.random.default_rng(seed)
    return [float(x) for x in rng.random(n)]


def identical_augmentation(seed: int, worker: int, epoch: int, n: int) -> list[float]:
    rng = np.random.default_rng((seed, epoch, worker))
    return [float(x) for x in rng.random(n)]


def _by_spawning(seed: int, worker: int, epoch: int, n: int) -> Any:
    sequence = np.random.SeedSequence(seed, spawn_key=(epoch, worker))
    return np.random.default_rng(sequence).random(n)


def _by_python(seed: int, worker: int, epoch: int, n: int) -> Any:
    rng = random.Random(f"{seed}/{epoch}/{worker}")
    return [rng.random() for _ in range(n)]


def _by_worker_alone(seed: int, worker: int, epoch: int, n: int) -> Any:
    return np.random.default_rng((seed, worker)).random(n)


def _by_epoch_alone(seed: int, worker: int, epoch: int, n: int) -> Any:
    return np.random.default_rng((seed, epoch)).random(n)


def _by_the_sum(seed: int, worker: int, epoch: int, n: int) -> Any:
    return np.random.default_rng(seed + worker + epoch).random(n)


def _by_chance(seed: int, worker: int, epoch: int, n: int) -> Any:
    return np.random.default_rng().random(n)


def _drive(answer: Any, seed: int, workers: int, epochs: int) -> dict[str, Any]:
    def draw(worker: int, epoch: int) -> tuple[float, ...]:
        return tuple(float(x) for x in answer(seed, worker, epoch, 3))

    places = [(worker, epoch) for epoch in range(epochs) for worker in range(workers)]
    drawn = [draw(*place) for place in places]
    return {"different streams": len(set(drawn)),
            "the same when repeated": drawn == [draw(*place) for place in places]}  # fmt: skip


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 0, 2, 1
    yield 0, 1, 2
    yield 0, 2, 2
    yield 7, 4, 3


def _oracle(seed: int, workers: int, epochs: int) -> dict[str, Any]:
    return {"different streams": workers * epochs, "the same when repeated": True}


EXERCISE = Exercise(
    level=2,
    reference=identical_augmentation,
    broken=broken,
    alternatives=(_by_spawning, _by_python),
    mistakes=(broken, _by_worker_alone, _by_epoch_alone, _by_the_sum, _by_chance),
    cases=_cases,
    oracle=_oracle,
    drive=_drive,
)
