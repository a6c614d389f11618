"""Scaled with the batch, warmed up, and let down along a cosine."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def learning_rate(step: int, base: float, batch_size: int, warmup: int, total: int) -> float:
    peak = base * batch_size / 256
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / (total - warmup)
    return peak * (1 + math.cos(math.pi * progress)) / 2


def _with_half_angle(step: int, base: float, batch_size: int, warmup: int, total: int) -> Any:
    peak = batch_size / 256 * base
    if warmup and step + 1 <= warmup:
        return (step + 1) * (peak / warmup)
    return peak * math.cos(math.pi / 2 * (step - warmup) / (total - warmup)) ** 2


def _as_a_product(step: int, base: float, batch_size: int, warmup: int, total: int) -> Any:
    rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
    turn = max(0, step - warmup) / (total - warmup) * math.pi
    return base * (batch_size / 256) * rising * (0.5 + 0.5 * math.cos(turn))


def _ignores_the_batch_size(
    step: int, base: float, batch_size: int, warmup: int, total: int
) -> Any:
    return learning_rate(step, base, 256, warmup, total)


def _starts_at_zero(step: int, base: float, batch_size: int, warmup: int, total: int) -> Any:
    if step < warmup:
        return base * batch_size / 256 * step / warmup
    return learning_rate(step, base, batch_size, warmup, total)


def _falls_from_the_start(step: int, base: float, batch_size: int, warmup: int, total: int) -> Any:
    if step < warmup:
        return learning_rate(step, base, batch_size, warmup, total)
    return learning_rate(step, base, batch_size, 0, total)


def _counts_in_degrees(step: int, base: float, batch_size: int, warmup: int, total: int) -> Any:
    if step < warmup:
        return learning_rate(step, base, batch_size, warmup, total)
    progress = (step - warmup) / (total - warmup)
    return base * batch_size / 256 * (1 + math.cos(180 * progress)) / 2


def _falls_in_a_line(step: int, base: float, batch_size: int, warmup: int, total: int) -> Any:
    if step < warmup:
        return learning_rate(step, base, batch_size, warmup, total)
    return base * batch_size / 256 * (total - step) / (total - warmup)


def _scales_with_the_root(step: int, base: float, batch_size: int, warmup: int, total: int) -> Any:
    return learning_rate(step, base, 256, warmup, total) * math.sqrt(batch_size / 256)


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 0, 0.1, 256, 0, 10
    yield 0, 0.1, 512, 0, 10
    yield 0, 0.1, 256, 4, 10
    yield 3, 0.1, 256, 4, 10
    yield from ((step, 0.1, 256, 4, 12) for step in (4, 6, 8, 11))
    for _ in range(15):
        warmup, total = rng.randrange(5), rng.randrange(6, 40)
        yield rng.randrange(total), 0.1, rng.choice([32, 128, 1024]), warmup, total


def _oracle(step: int, base: float, batch_size: int, warmup: int, total: int) -> float:
    import torch

    peak = base * batch_size / 256
    if step < warmup:
        return sum([peak / warmup] * (step + 1))
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=peak)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total - warmup)
    for _ in range(step - warmup):
        optimizer.step()
        schedule.step()
    return float(optimizer.param_groups[0]["lr"])


EXERCISE = Exercise(
    level=1,
    reference=learning_rate,
    alternatives=(_with_half_angle, _as_a_product),
    mistakes=(
        _ignores_the_batch_size,
        _starts_at_zero,
        _falls_from_the_start,
        _counts_in_degrees,
        _falls_in_a_line,
        _scales_with_the_root,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "positive": lambda case, got: got > 0,
        "below_peak": lambda case, got: got <= case[1] * case[2] / 256 + 1e-9,
    },
)
