"""64 * 7 * 7 after convolutions without padding."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

from dlkit.lab.exercises.contract import Case, Exercise


def broken(batch: int, side: int) -> list[int]:
    features = _features(torch.zeros(batch, 1, side, side))
    return list(features.view(-1, 4 * 7 * 7).shape)


def _features(images: torch.Tensor) -> torch.Tensor:
    for channels in (1, 4):
        images = functional.max_pool2d(
            functional.conv2d(images, torch.zeros(4, channels, 3, 3)), kernel_size=2
        )
    return images


def flat_size(batch: int, side: int) -> list[int]:
    features = _features(torch.zeros(batch, 1, side, side))
    return list(features.flatten(1).shape)


def _by_formula(batch: int, side: int) -> Any:
    for _ in range(2):
        side = (side - 2) // 2
    return [batch, 4 * side * side]


def _view_by_batch(batch: int, side: int) -> Any:
    features = _features(torch.zeros(batch, 1, side, side))
    return features.view(len(features), -1).shape


def _five_always(batch: int, side: int) -> Any:
    return list(_features(torch.zeros(batch, 1, side, side)).view(-1, 4 * 5 * 5).shape)


def _pads(batch: int, side: int) -> Any:
    return [batch, 4 * (side // 4) ** 2]


def _joins_the_batch(batch: int, side: int) -> Any:
    return list(_features(torch.zeros(batch, 1, side, side)).flatten().shape)


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 1, 28
    yield 49, 28
    yield 2, 28
    yield 3, 32
    yield 5, 20


def _oracle(batch: int, side: int) -> Any:
    return _by_formula(batch, side)


EXERCISE = Exercise(
    level=1,
    reference=flat_size,
    broken=broken,
    alternatives=(_by_formula, _view_by_batch),
    mistakes=(broken, _five_always, _pads, _joins_the_batch),
    cases=_cases,
    oracle=_oracle,
)
