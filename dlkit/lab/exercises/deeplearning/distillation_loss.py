"""Learn from a teacher's probabilities and from the labels."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from dlkit.lab.exercises.contract import Case, Exercise

Rows = list[list[float]]


def distillation_loss(
    student: list[list[float]],
    teacher: list[list[float]],
    labels: list[int],
    temperature: float,
    alpha: float,
) -> float:
    s, t = torch.tensor(student), torch.tensor(teacher)
    soft_targets = F.softmax(t / temperature, dim=1)
    log_student = F.log_softmax(s / temperature, dim=1)
    soft = F.kl_div(log_student, soft_targets, reduction="batchmean") * temperature**2
    hard = F.cross_entropy(s, torch.tensor(labels))
    return float(alpha * soft + (1 - alpha) * hard)


def _by_hand(
    student: Rows, teacher: Rows, labels: list[int], temperature: float, alpha: float
) -> Any:
    from math import exp, log

    def log_shares(row: list[float], t: float) -> list[float]:
        total = log(sum(exp(value / t) for value in row))
        return [value / t - total for value in row]

    loss = 0.0
    for s, t, label in zip(student, teacher, labels, strict=True):
        pairs = zip(log_shares(t, temperature), log_shares(s, temperature), strict=True)
        loss += alpha * temperature**2 * sum(exp(p) * (p - q) for p, q in pairs)
        loss -= (1 - alpha) * log_shares(s, 1.0)[label]
    return loss / len(labels)


def _as_entropies(
    student: Rows, teacher: Rows, labels: list[int], temperature: float, alpha: float
) -> Any:
    s, t = torch.tensor(student), torch.tensor(teacher)
    p = (t / temperature).softmax(1)
    crossed = F.cross_entropy(s / temperature, p)
    entropy = -(p * p.log()).sum(1).mean()
    hard = F.nll_loss(s.log_softmax(1), torch.tensor(labels))
    return alpha * temperature**2 * (crossed - entropy) + (1 - alpha) * hard


def _parts(student: Rows, teacher: Rows, labels: list[int], temperature: float) -> tuple[Any, Any]:
    soft = distillation_loss(student, teacher, labels, temperature, 1.0)
    return soft, distillation_loss(student, teacher, labels, temperature, 0.0)


def _forgets_the_square(
    student: Rows, teacher: Rows, labels: list[int], temperature: float, alpha: float
) -> Any:
    soft, hard = _parts(student, teacher, labels, temperature)
    return alpha * soft / temperature**2 + (1 - alpha) * hard


def _turns_the_divergence(
    student: Rows, teacher: Rows, labels: list[int], temperature: float, alpha: float
) -> Any:
    soft, _ = _parts(teacher, student, labels, temperature)
    _, hard = _parts(student, teacher, labels, temperature)
    return alpha * soft + (1 - alpha) * hard


def _swaps_the_weights(
    student: Rows, teacher: Rows, labels: list[int], temperature: float, alpha: float
) -> Any:
    return distillation_loss(student, teacher, labels, temperature, 1 - alpha)


def _heats_the_teacher_only(
    student: Rows, teacher: Rows, labels: list[int], temperature: float, alpha: float
) -> Any:
    s, t = torch.tensor(student), torch.tensor(teacher)
    soft = F.kl_div(s.log_softmax(1), (t / temperature).softmax(1), reduction="batchmean")
    return alpha * soft * temperature**2 + (1 - alpha) * F.cross_entropy(s, torch.tensor(labels))


def _heats_the_labels_too(
    student: Rows, teacher: Rows, labels: list[int], temperature: float, alpha: float
) -> Any:
    soft, _ = _parts(student, teacher, labels, temperature)
    hard = F.cross_entropy(torch.tensor(student) / temperature, torch.tensor(labels))
    return alpha * soft + (1 - alpha) * hard


def _averages_over_the_classes(
    student: Rows, teacher: Rows, labels: list[int], temperature: float, alpha: float
) -> Any:
    soft, hard = _parts(student, teacher, labels, temperature)
    return alpha * soft / len(student[0]) + (1 - alpha) * hard


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [[0.0, 0.0]], [[0.0, 0.0]], [0], 1.0, 0.5
    yield [[1.0, 0.0]], [[0.0, 2.0]], [0], 1.0, 0.5
    yield [[1.0, 0.0]], [[0.0, 2.0]], [0], 3.0, 1.0
    yield [[1.0, 0.0]], [[0.0, 2.0]], [1], 3.0, 0.25
    for _ in range(15):
        size, classes = rng.randrange(1, 4), rng.randrange(2, 5)

        def rows(size: int = size, classes: int = classes) -> Rows:
            return [[rng.gauss(0, 2) for _ in range(classes)] for _ in range(size)]

        labels = [rng.randrange(classes) for _ in range(size)]
        yield rows(), rows(), labels, rng.choice([1.0, 2.0, 4.0]), rng.choice([0.3, 0.7])


def _oracle(
    student: Rows, teacher: Rows, labels: list[int], temperature: float, alpha: float
) -> Any:
    from torch.distributions import Categorical, kl_divergence

    s, t = torch.tensor(student).double(), torch.tensor(teacher).double()
    pair = Categorical(logits=t / temperature), Categorical(logits=s / temperature)
    soft = kl_divergence(*pair).mean() * temperature**2
    hard = -Categorical(logits=s).log_prob(torch.tensor(labels)).mean()
    return alpha * soft + (1 - alpha) * hard


EXERCISE = Exercise(
    level=2,
    reference=distillation_loss,
    alternatives=(_by_hand, _as_entropies),
    mistakes=(
        _forgets_the_square,
        _turns_the_divergence,
        _swaps_the_weights,
        _heats_the_teacher_only,
        _heats_the_labels_too,
        _averages_over_the_classes,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={"positive": lambda case, got: got >= -1e-6},
)
