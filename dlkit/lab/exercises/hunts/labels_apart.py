"""Labels that are shuffled apart from their features."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from dlkit.lab.exercises.contract import Case, Exercise


def broken(features: list[int], labels: list[int], seed: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    mixed = rng.permutation(features), rng.permutation(labels)
    return [(int(x), int(y)) for x, y in zip(*mixed, strict=True)]


def labels_apart(features: list[int], labels: list[int], seed: int) -> list[tuple[int, int]]:
    order = np.random.default_rng(seed).permutation(len(features))
    return [(features[i], labels[i]) for i in order]


def _shuffled_pairs(features: list[int], labels: list[int], seed: int) -> Any:
    pairs = list(zip(features, labels, strict=True))
    random.Random(seed).shuffle(pairs)
    return pairs


def _by_torch(features: list[int], labels: list[int], seed: int) -> Any:
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed)).tolist()
    return [(features[i], labels[i]) for i in order]


def _only_features(features: list[int], labels: list[int], seed: int) -> Any:
    mixed = np.random.default_rng(seed).permutation(features).tolist()
    return list(zip(mixed, labels, strict=True))


def _not_at_all(features: list[int], labels: list[int], seed: int) -> Any:
    return list(zip(features, labels, strict=True))


def _with_replacement(features: list[int], labels: list[int], seed: int) -> Any:
    order = np.random.default_rng(seed).integers(0, len(features), len(features))
    return [(features[i], labels[i]) for i in order]


def _drive(answer: Any, n: int, seed: int) -> dict[str, Any]:
    features = list(range(n))
    labels = [100 + x for x in features]
    pairs = [(int(x), int(y)) for x, y in answer(features, labels, seed)]
    return {
        "features": sorted(x for x, _ in pairs),
        "belong together": all(y == 100 + x for x, y in pairs),
        "mixed": [x for x, _ in pairs] != features,
        "labels moved": [y for _, y in pairs] != labels,
    }


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 20, 1
    yield 30, 2
    yield 50, 3


def _oracle(n: int, seed: int) -> dict[str, Any]:
    return {
        "features": list(range(n)),
        "belong together": True,
        "mixed": True,
        "labels moved": True,
    }


EXERCISE = Exercise(
    level=1,
    reference=labels_apart,
    broken=broken,
    alternatives=(_shuffled_pairs, _by_torch),
    mistakes=(broken, _only_features, _not_at_all, _with_replacement),
    cases=_cases,
    oracle=_oracle,
    drive=_drive,
)
