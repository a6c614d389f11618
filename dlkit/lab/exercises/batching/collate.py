"""Samples into a batch: what the default collate function does with pairs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import default_collate

from dlkit.lab.exercises.contract import Case, Exercise
from dlkit.lab.exercises.values import same

Pair = tuple[torch.Tensor, int]


def collate(samples: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    features, labels = zip(*samples, strict=True)
    return torch.stack(features), torch.tensor(labels)


def _preallocated(samples: list[Pair]) -> Any:
    first = samples[0][0]
    features = first.new_empty(len(samples), *first.shape)
    labels = torch.empty(len(samples), dtype=torch.int64)
    for place, (feature, label) in enumerate(samples):
        features[place], labels[place] = feature, label
    return [features, labels]


def _with_cat(samples: list[Pair]) -> Any:
    features = torch.cat([feature[None] for feature, _ in samples])
    return features, torch.as_tensor([label for _, label in samples], dtype=torch.int64)


def _joins_end_to_end(samples: list[Pair]) -> Any:
    return torch.cat([feature for feature, _ in samples]), torch.tensor([y for _, y in samples])


def _labels_become_floats(samples: list[Pair]) -> Any:
    labels = torch.tensor([float(label) for _, label in samples])
    return torch.stack([feature for feature, _ in samples]), labels


def _squeezes_a_batch_of_one(samples: list[Pair]) -> Any:
    features = torch.stack([feature for feature, _ in samples]).squeeze()
    return features, torch.tensor([label for _, label in samples])


def _keeps_lists(samples: list[Pair]) -> Any:
    return [feature.tolist() for feature, _ in samples], [label for _, label in samples]


def _keeps_pairs(samples: list[Pair]) -> Any:
    return [(feature, torch.tensor(label)) for feature, label in samples]


def _features_lose_their_type(samples: list[Pair]) -> Any:
    features = torch.tensor([feature.tolist() for feature, _ in samples], dtype=torch.float32)
    return features, torch.tensor([label for _, label in samples])


def _drive(answer: Any, features: list[Any], labels: list[int], dtype: str) -> Any:
    rows = [torch.tensor(row, dtype=getattr(torch, dtype)) for row in features]
    got = answer(list(zip(rows, labels, strict=True)))
    if len(got) != 2:
        return got
    return [_described(part) for part in got]


def _described(part: Any) -> Any:
    kind = str(part.dtype) if isinstance(part, torch.Tensor) else type(part).__name__
    return {"type": kind, "values": part}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [[0.5, 1.0]], [3], "float32"
    yield [[0.5, 1.0], [2.0, 3.0]], [1, 0], "float32"
    yield [[1, 2], [3, 4]], [1, 0], "uint8"
    for _ in range(10):
        size, shape = rng.randrange(1, 5), rng.randrange(1, 4)
        rows = [[[rng.random() for _ in range(shape)]] * 2 for _ in range(size)]
        yield rows, [rng.randrange(10) for _ in rows], rng.choice(["float32", "float64"])


def _oracle(features: list[Any], labels: list[int], dtype: str) -> Any:
    rows = [torch.tensor(row, dtype=getattr(torch, dtype)) for row in features]
    return [_described(part) for part in default_collate(list(zip(rows, labels, strict=True)))]


EXERCISE = Exercise(
    level=1,
    reference=collate,
    alternatives=(_preallocated, _with_cat),
    mistakes=(
        _joins_end_to_end,
        _labels_become_floats,
        _squeezes_a_batch_of_one,
        _keeps_lists,
        _keeps_pairs,
        _features_lose_their_type,
    ),
    cases=_cases,
    drive=_drive,
    oracle=_oracle,
    properties={
        "pair": lambda case, got: len(got) == 2 and all("values" in part for part in got),
        "batch_first": lambda case, got: all(len(p["values"]) == len(case[0]) for p in got),
        "types": lambda case, got: [p["type"] for p in got] == [f"torch.{case[2]}", "torch.int64"],
        "values": lambda case, got: same(got[0]["values"], case[0]),
    },
)
