"""A view that is no transpose."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from dlkit.lab.exercises.contract import Case, Exercise


def broken(images: list[Any]) -> list[Any]:
    x = torch.tensor(images)  # [B, H, W, C], as image files are read
    batch, height, width, channels = x.shape
    result: list[Any] = x.view(batch, channels, height, width).tolist()
    return result


def view_mixes_samples(images: list[Any]) -> list[Any]:
    result: list[Any] = torch.tensor(images).permute(0, 3, 1, 2).tolist()
    return result


def _by_numpy(images: list[Any]) -> Any:
    return np.array(images).transpose(0, 3, 1, 2)


def _by_loops(images: list[Any]) -> Any:
    return [
        [[[pixel[c] for pixel in row] for row in image] for c in range(len(image[0][0]))]
        for image in images
    ]


def _turned(images: list[Any]) -> Any:
    return torch.tensor(images).permute(0, 3, 2, 1).tolist()


def _reshaped(images: list[Any]) -> Any:
    x = torch.tensor(images)
    return x.reshape(x.shape[3], x.shape[0], *x.shape[1:3]).transpose(0, 1).tolist()


def _channels_between(images: list[Any]) -> Any:
    return torch.tensor(images).permute(0, 1, 3, 2).tolist()


def _cases(rng: random.Random) -> Iterator[Case]:
    yield ([[[[1, 2]]]],)
    yield ([[[[1, 2], [3, 4]]]],)
    yield ([[[[10 * r + 2 * c, 10 * r + 2 * c + 1] for c in range(3)] for r in range(2)]],)
    yield ([[[[rng.randrange(9) for _ in range(3)] for _ in range(2)] for _ in range(2)]] * 2,)


def _oracle(images: list[Any]) -> Any:
    return _by_numpy(images).tolist()


EXERCISE = Exercise(
    level=1,
    reference=view_mixes_samples,
    broken=broken,
    alternatives=(_by_numpy, _by_loops),
    mistakes=(broken, _turned, _reshaped, _channels_between),
    cases=_cases,
    oracle=_oracle,
    picture="target",
)
