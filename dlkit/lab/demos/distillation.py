"""Distillation: a small net learns from a large one's doubts what labels do not say.

    label:   3  ->  0 0 0 1 0 0 0 0 0 0
    teacher: 3  ->  a distribution: mostly 3, a little 5, 8 and 9

Two questions, each over several seeds. With few images, does a student do better with the teacher's
probabilities than with labels? And when no 3 is among its images, does it know a 3 all the same?
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlkit.lab.demos.fitting import fit, repeatable, share_right, small_digits
from dlkit.lab.demos.result import Result
from dlkit.plots.demos import soft_and_hard
from dlkit.plots.style import Picture

TEMPERATURE = 4.0
FEW = 50  # images that a student is given
MISSING = 3
SEEDS = 3
STEPS = 300
TARGETS = ("labels", "teacher")


@dataclass(frozen=True, eq=False, repr=False)
class Distilled(Result):
    """What students learned from labels and from a teacher.

    Attributes:
        teacher_accuracy: On the test set, as are the others.
        accuracy: Of students of each kind that saw few images, one value for each seed.
        unseen: Share of the threes that students of each kind name who never saw one.
        example: ``[14, 14]``, a digit that the teacher is right about, and nearly sure of.
        example_label: What it is.
        probabilities: ``[10]``, what the teacher says, and the same at the temperature.
    """

    teacher_accuracy: float
    accuracy: dict[str, list[float]]
    unseen: dict[str, list[float]]
    example: Tensor
    example_label: int
    probabilities: tuple[list[float], list[float]]

    @property
    def summary(self) -> str:
        """Means over seeds."""
        few, unseen = (
            ", ".join(f"{name} {sum(v) / len(v):.0%}" for name, v in found.items())
            for found in (self.accuracy, self.unseen)
        )
        return (
            f"share right of a student of {FEW} images, by what it learned from: {few} (the "
            f"teacher {self.teacher_accuracy:.0%}); share of threes named without having seen one: "
            f"{unseen}"
        )

    def picture(self) -> Picture:
        """Draw a soft target, and both comparisons with every seed a line."""
        return soft_and_hard(
            self.example.numpy(),
            self.example_label,
            self.probabilities,
            TEMPERATURE,
            self.accuracy,
            self.unseen,
        )


def teach_a_student(seed: int = 0) -> Distilled:
    """Train a teacher on digits, then small students on its probabilities and on labels.

    Source: Hinton, Vinyals and Dean (2015), "Distilling the knowledge in a neural network"; the
    missing digit is the experiment of its section 3.

    Args:
        seed: Of everything; each of the three students of a kind starts and draws anew.

    Returns:
        Accuracies by seed.
    """
    with repeatable(seed):
        images, labels = small_digits()
        test = small_digits(train=False)
        teacher = _teacher()
        fit(teacher, images, labels, epochs=4, batch_size=32, learning_rate=0.005)
        with torch.no_grad():
            logits = teacher(images)
        others = (labels != MISSING).nonzero()[:, 0]
        threes = [part[test[1] == MISSING] for part in test]
        accuracy: dict[str, list[float]] = {name: [] for name in TARGETS}
        unseen: dict[str, list[float]] = {name: [] for name in TARGETS}
        for _ in range(SEEDS):
            few = torch.randperm(len(labels))[:FEW]
            for found, given, asked in ((accuracy, few, test), (unseen, others, threes)):
                start = _student()
                for name in TARGETS:
                    student = _copy(start)
                    _learn(student, images[given], labels[given], logits[given], name)
                    found[name].append(share_right(student, *asked))
        return Distilled(
            share_right(teacher, *test), accuracy, unseen, *_example(images, labels, logits)
        )


def distillation_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the cross-entropy to the teacher at the temperature, times its square.

    Args:
        logits: ``[n, classes]`` of the student.
        teacher_logits: ``[n, classes]``.

    >>> distillation_loss(torch.zeros(1, 10), torch.zeros(1, 10)) / TEMPERATURE**2
    tensor(2.3026)
    """
    soft = torch.softmax(teacher_logits / TEMPERATURE, dim=1)
    return F.cross_entropy(logits / TEMPERATURE, soft) * TEMPERATURE**2


def _learn(student: nn.Module, images: Tensor, labels: Tensor, logits: Tensor, target: str) -> None:
    batch_size = min(100, len(images))
    epochs = STEPS * batch_size // len(images)
    by_labels = target == "labels"
    fit(
        student,
        images,
        labels if by_labels else logits,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=0.01,
        loss=F.cross_entropy if by_labels else distillation_loss,
    )


def _teacher() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 3 * 3, 10),
    )


def _student() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(14 * 14, 16), nn.ReLU(), nn.Linear(16, 10))


def _copy(start: nn.Sequential) -> nn.Sequential:
    made = _student()
    made.load_state_dict(start.state_dict())
    return made


def _example(
    images: Tensor, labels: Tensor, logits: Tensor
) -> tuple[Tensor, int, tuple[list[float], list[float]]]:
    """Choose, of all digits that the teacher names rightly, the one it is about 95 % sure of."""
    sure = torch.softmax(logits, dim=1)
    right = logits.argmax(dim=1) == labels
    away = (sure.max(dim=1).values - 0.95).abs()
    place = int(torch.where(right, away, 1.0).argmin())
    soft = torch.softmax(logits[place] / TEMPERATURE, dim=0)
    return images[place, 0], int(labels[place]), (sure[place].tolist(), soft.tolist())
