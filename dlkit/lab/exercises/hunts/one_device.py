"""Several devices of which one does the work."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlkit.lab.exercises.contract import Case, Exercise


def broken(batch: list[int], devices: list[str]) -> list[tuple[str, list[int]]]:
    placed = []
    for _ in devices:
        placed.append((devices[0], batch))  # noqa: PERF401
    return placed


def one_device(batch: list[int], devices: list[str]) -> list[tuple[str, list[int]]]:
    each, more = divmod(len(batch), len(devices))
    placed, start = [], 0
    for number, device in enumerate(devices):
        end = start + each + (number < more)
        placed.append((device, batch[start:end]))
        start = end
    return placed


def _by_numpy(batch: list[int], devices: list[str]) -> Any:
    parts = np.array_split(np.array(batch, dtype=int), len(devices))
    return list(zip(devices, parts, strict=True))


def _by_boundaries(batch: list[int], devices: list[str]) -> Any:
    each, more = divmod(len(batch), len(devices))
    at = [i * each + min(i, more) for i in range(len(devices) + 1)]
    return [(d, batch[a:b]) for d, a, b in zip(devices, at, at[1:], strict=False)]


def _everywhere_everything(batch: list[int], devices: list[str]) -> Any:
    return [(device, batch) for device in devices]


def _loses_the_rest(batch: list[int], devices: list[str]) -> Any:
    each = len(batch) // len(devices)
    return [(d, batch[i * each : (i + 1) * each]) for i, d in enumerate(devices)]


def _dealt_in_turn(batch: list[int], devices: list[str]) -> Any:
    return [(device, batch[place :: len(devices)]) for place, device in enumerate(devices)]


def _cases(rng: random.Random) -> Iterator[Case]:
    for n in range(1, 7):
        for count in (1, 2, 3):
            yield list(range(n)), [f"cuda:{number}" for number in range(count)]


def _oracle(batch: list[int], devices: list[str]) -> Any:
    parts = np.array_split(np.array(batch, dtype=int), len(devices))
    return [(device, part.tolist()) for device, part in zip(devices, parts, strict=True)]


EXERCISE = Exercise(
    level=1,
    reference=one_device,
    broken=broken,
    alternatives=(_by_numpy, _by_boundaries),
    mistakes=(broken, _everywhere_everything, _loses_the_rest, _dealt_in_turn),
    cases=_cases,
    oracle=_oracle,
)
