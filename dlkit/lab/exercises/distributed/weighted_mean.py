"""The mean over all samples, from the means of ranks that hold different numbers of them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import torch

from dlkit.lab.exercises.contract import Case, Exercise


def weighted_mean(means: list[float], counts: list[int]) -> float:
    total = sum(counts)
    if total == 0:
        return math.nan
    weighted = (mean * count for mean, count in zip(means, counts, strict=True) if count)
    return sum(weighted) / total


def _step_by_step(means: list[float], counts: list[int]) -> Any:
    mean, seen = math.nan, 0
    for other, count in zip(means, counts, strict=True):
        if count:
            mean = other if seen == 0 else mean + (other - mean) * count / (seen + count)
            seen += count
    return mean


def _with_tensors(means: list[float], counts: list[int]) -> Any:
    weights = torch.tensor(counts, dtype=torch.float64)
    values = torch.tensor(means, dtype=torch.float64)
    return (values[weights > 0] * weights[weights > 0]).sum() / weights.sum()


def _mean_of_means(means: list[float], counts: list[int]) -> Any:
    return sum(means) / len(means)


def _empty_ranks_spoil_it(means: list[float], counts: list[int]) -> Any:
    total = sum(counts)
    products = [mean * count for mean, count in zip(means, counts, strict=True)]
    return sum(products) / total if total else math.nan


def _fails_without_samples(means: list[float], counts: list[int]) -> Any:
    products = [m * c for m, c in zip(means, counts, strict=True) if c]
    return sum(products) / sum(counts)


def _divides_by_the_ranks(means: list[float], counts: list[int]) -> Any:
    products = [m * c for m, c in zip(means, counts, strict=True) if c]
    return sum(products) / len(means)


def _mean_of_the_ranks_with_samples(means: list[float], counts: list[int]) -> Any:
    there = [mean for mean, count in zip(means, counts, strict=True) if count]
    return sum(there) / len(there) if there else math.nan


def _nothing_is_zero(means: list[float], counts: list[int]) -> Any:
    products = [m * c for m, c in zip(means, counts, strict=True) if c]
    return sum(products) / max(sum(counts), 1)


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [0.5], [4]
    yield [0.5, 1.0], [1, 3]
    yield [0.0, 1.0], [5, 1]
    yield [1.0, math.nan], [2, 0]
    yield [math.nan, math.nan], [0, 0]
    for _ in range(15):
        counts = [rng.randrange(5) for _ in range(rng.randrange(1, 5))]
        yield [rng.random() if count else math.nan for count in counts], counts


def _oracle(means: list[float], counts: list[int]) -> float:
    samples = [mean for mean, count in zip(means, counts, strict=True) for _ in range(count)]
    return math.fsum(samples) / len(samples) if samples else math.nan


EXERCISE = Exercise(
    level=1,
    reference=weighted_mean,
    alternatives=(_step_by_step, _with_tensors),
    mistakes=(
        _mean_of_means,
        _empty_ranks_spoil_it,
        _fails_without_samples,
        _divides_by_the_ranks,
        _mean_of_the_ranks_with_samples,
        _nothing_is_zero,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "number": lambda case, got: not math.isnan(got) or sum(case[1]) == 0,
        "between": lambda case, got: (
            math.isnan(got)
            or (
                min(m for m in case[0] if m == m) - 1e-6 <= got
                and got <= max(m for m in case[0] if m == m) + 1e-6
            )
        ),
    },
)
