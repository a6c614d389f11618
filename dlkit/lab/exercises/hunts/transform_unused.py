"""A transform that is composed and never used."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch

from dlkit.lab.exercises.contract import Case, Exercise


def broken(pixels: list[int]) -> list[float]:
    transform = _compose(lambda pixel: pixel / 255, lambda share: (share - 0.5) / 0.5)
    dataset = pixels
    del transform
    return [float(pixel) for pixel in dataset]


def _compose(*steps: Callable[[float], float]) -> Callable[[float], float]:
    def run(value: float) -> float:
        for step in steps:
            value = step(value)
        return value

    return run


def transform_unused(pixels: list[int]) -> list[float]:
    transform = _compose(lambda pixel: pixel / 255, lambda share: (share - 0.5) / 0.5)
    return [transform(pixel) for pixel in pixels]


def _by_torch(pixels: list[int]) -> Any:
    return torch.tensor(pixels, dtype=torch.float64).div(255).sub(0.5).div(0.5)


def _directly(pixels: list[int]) -> Any:
    return [2 * pixel / 255 - 1 for pixel in pixels]


def _half_of_it(pixels: list[int]) -> Any:
    return [pixel / 255 for pixel in pixels]


def _other_order(pixels: list[int]) -> Any:
    return [(pixel - 0.5) / 0.5 / 255 for pixel in pixels]


def _only_the_last_step(pixels: list[int]) -> Any:
    return [(pixel - 0.5) / 0.5 for pixel in pixels]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield ([255],)
    yield ([0, 51, 255],)
    yield ([rng.randrange(256) for _ in range(5)],)


def _oracle(pixels: list[int]) -> list[float]:
    return [2 * pixel / 255 - 1 for pixel in pixels]


def _same(expected: Any, got: Any) -> bool:
    values = [float(value) for value in got]
    return len(values) == len(expected) and all(
        abs(a - b) < 1e-6 for a, b in zip(expected, values, strict=True)
    )


EXERCISE = Exercise(
    level=1,
    reference=transform_unused,
    broken=broken,
    alternatives=(_by_torch, _directly),
    mistakes=(broken, _half_of_it, _other_order, _only_the_last_step),
    cases=_cases,
    oracle=_oracle,
    same=_same,
)
