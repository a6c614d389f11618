"""The two losses of a generative adversarial network, from logits."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from dlkit.lab.exercises.contract import Case, Exercise


def gan_losses(real: list[float], fake: list[float]) -> tuple[float, float]:
    def softplus(x: float) -> float:
        return max(x, 0.0) + math.log1p(math.exp(-abs(x)))

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    says_fake = mean([softplus(-x) for x in real])
    says_real = mean([softplus(x) for x in fake])
    return says_fake + says_real, mean([softplus(-x) for x in fake])


def _with_logsigmoid(real: list[float], fake: list[float]) -> Any:
    r, f = torch.tensor(real), torch.tensor(fake)
    return -F.logsigmoid(r).mean() - F.logsigmoid(-f).mean(), -F.logsigmoid(f).mean()


def _with_logaddexp(real: list[float], fake: list[float]) -> Any:
    import numpy as np

    r, f = np.array(real), np.array(fake)
    return np.logaddexp(0, -r).mean() + np.logaddexp(0, f).mean(), np.logaddexp(0, -f).mean()


def _generator_that_saturates(real: list[float], fake: list[float]) -> Any:
    f = torch.tensor(fake)
    return gan_losses(real, fake)[0], F.logsigmoid(-f).mean()


def _labels_swapped(real: list[float], fake: list[float]) -> Any:
    return gan_losses(fake, real)


def _forgets_the_real_ones(real: list[float], fake: list[float]) -> Any:
    return F.softplus(torch.tensor(fake)).mean(), gan_losses(real, fake)[1]


def _overflows(real: list[float], fake: list[float]) -> Any:
    r, f = torch.tensor(real).sigmoid(), torch.tensor(fake).sigmoid()
    return -(r.log().mean() + (1 - f).log().mean()), -f.log().mean()


def _takes_logits_for_probabilities(real: list[float], fake: list[float]) -> Any:
    r, f = torch.tensor(real).clamp(1e-7, 1), torch.tensor(fake).clamp(0, 1 - 1e-7)
    return -(r.log().mean() + (1 - f).log().mean()), -f.clamp(1e-7).log().mean()


def _generator_wants_real_ones_too(real: list[float], fake: list[float]) -> Any:
    loss, generator = gan_losses(real, fake)
    return loss, generator + gan_losses(fake, real)[1]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [0.0], [0.0]
    yield [2.0], [-1.0]
    yield [1.0, 2.0], [-1.0]
    yield [200.0], [200.0]
    yield [-200.0], [-200.0]
    for _ in range(12):
        yield tuple([rng.gauss(0, 3) for _ in range(rng.randrange(1, 5))] for _ in range(2))


def _oracle(real: list[float], fake: list[float]) -> Any:
    r, f = torch.tensor(real), torch.tensor(fake)
    bce = F.binary_cross_entropy_with_logits
    discriminator = bce(r, torch.ones_like(r)) + bce(f, torch.zeros_like(f))
    return discriminator, bce(f, torch.ones_like(f))


EXERCISE = Exercise(
    level=2,
    reference=gan_losses,
    alternatives=(_with_logsigmoid, _with_logaddexp),
    mistakes=(
        _generator_that_saturates,
        _labels_swapped,
        _forgets_the_real_ones,
        _overflows,
        _takes_logits_for_probabilities,
        _generator_wants_real_ones_too,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "finite": lambda case, got: all(math.isfinite(loss) for loss in got),
        "positive": lambda case, got: all(loss >= -1e-6 for loss in got),
    },
)
