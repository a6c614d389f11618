"""How large an image is after convolutions and pools."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch

from dlkit.lab.exercises.contract import Case, Exercise

Layers = list[tuple[int, int, int, int]]


def cnn_output_size(size: int, layers: list[tuple[int, int, int, int]]) -> int:
    for kernel, stride, padding, dilation in layers:
        size = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    return size


def _by_effective_kernel(size: int, layers: Layers) -> Any:
    for kernel, stride, padding, dilation in layers:
        reach = 1 + dilation * (kernel - 1)
        size = -(-(size + 2 * padding - reach + 1) // stride)
    return size


def _by_counting(size: int, layers: Layers) -> Any:
    for kernel, stride, padding, dilation in layers:
        starts = range(-padding, size + padding - dilation * (kernel - 1), stride)
        size = len(starts)
    return size


def _pads_one_side(size: int, layers: Layers) -> Any:
    for kernel, stride, padding, dilation in layers:
        size = (size + padding - dilation * (kernel - 1) - 1) // stride + 1
    return size


def _forgets_the_first_place(size: int, layers: Layers) -> Any:
    for kernel, stride, padding, dilation in layers:
        size = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride
    return size


def _rounds_up(size: int, layers: Layers) -> Any:
    for kernel, stride, padding, dilation in layers:
        size = -(-(size + 2 * padding - dilation * (kernel - 1) - 1) // stride) + 1
    return size


def _ignores_dilation(size: int, layers: Layers) -> Any:
    for kernel, stride, padding, _ in layers:
        size = (size + 2 * padding - kernel) // stride + 1
    return size


def _keeps_the_size(size: int, layers: Layers) -> Any:
    for _, stride, _, _ in layers:
        size //= stride
    return size


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 5, []
    yield 5, [(1, 1, 0, 1)]
    yield 5, [(3, 1, 0, 1)]
    yield 5, [(3, 1, 1, 1)]
    yield 6, [(3, 2, 0, 1)]
    yield 7, [(3, 1, 0, 2)]
    yield 28, [(3, 1, 0, 1), (2, 2, 0, 1), (3, 1, 0, 1), (2, 2, 0, 1)]
    for _ in range(25):
        layers = [
            (rng.randrange(1, 4), rng.randrange(1, 3), rng.randrange(2), rng.randrange(1, 3))
            for _ in range(rng.randrange(1, 4))
        ]
        yield rng.randrange(40, 80), layers


def _oracle(size: int, layers: Layers) -> int:
    image = torch.empty(1, 1, size, size, device="meta")
    for kernel, stride, padding, dilation in layers:
        layer = torch.nn.Conv2d(1, 1, kernel, stride, padding, dilation, device="meta")
        image = layer(image)
    return int(image.shape[-1])


EXERCISE = Exercise(
    level=1,
    reference=cnn_output_size,
    alternatives=(_by_effective_kernel, _by_counting),
    mistakes=(
        _pads_one_side,
        _forgets_the_first_place,
        _rounds_up,
        _ignores_dilation,
        _keeps_the_size,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={"positive": lambda case, got: got >= 1},
)
