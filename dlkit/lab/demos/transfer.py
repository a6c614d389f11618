"""Transfer learning: what a net has learned from 0 to 4 helps it with 5 to 9.

    digits 0..4, many labels -> body + head       the body's weights are kept
    digits 5..9, few labels  -> body (frozen) + new head

All digits stand anywhere in the image. That a stroke means the same wherever it stands is what few
labels cannot teach, and what the old digits have taught already. Against the old body stand the
same net trained from scratch on the few labels, and a frozen body with random weights: without that
one nobody could say whether the features help, or only having less to learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlkit.lab.demos.fitting import fit, repeatable, share_right, small_digits
from dlkit.lab.demos.result import Result
from dlkit.plots.demos import few_labels
from dlkit.plots.style import Picture

OLD, NEW = range(5), range(5, 10)
LABELS = (1, 3, 10)  # a class
SEEDS = 3
STEPS = 40
COPIES = 3  # of each old digit, each standing somewhere else
MARGIN, FARTHEST = 3, 4  # in pixels
WAYS = ("features of 0 to 4", "from scratch", "random features")


@dataclass(frozen=True, eq=False, repr=False)
class Reused(Result):
    """How well digits 5 to 9 are told apart from few labels.

    Attributes:
        labels: Labelled images a class.
        accuracy: Of each way, for each number of labels, one value for each seed; on all digits
            5 to 9 that were not labelled.
        old_accuracy: What the first net reached on digits 0 to 4 of the test set, anywhere too.
    """

    labels: tuple[int, ...]
    accuracy: dict[str, list[list[float]]]
    old_accuracy: float

    def mean(self, way: str, labels: int) -> float:
        """The mean over seeds."""
        values = self.accuracy[way][self.labels.index(labels)]
        return sum(values) / len(values)

    @property
    def summary(self) -> str:
        """The means at each number of labels."""
        parts = [
            f"{labels} a class: " + ", ".join(f"{w} {self.mean(w, labels):.0%}" for w in WAYS)
            for labels in self.labels
        ]
        return "share right with few labels, " + "; ".join(parts)

    def picture(self) -> Picture:
        """Draw accuracy over the number of labels, every seed a dot."""
        return few_labels(self.labels, self.accuracy)


def reuse_features(seed: int = 0) -> Reused:
    """Train on digits 0 to 4, then learn 5 to 9 from few labels in three ways.

    Source: Yosinski, Clune, Bengio and Lipson (2014), "How transferable are features in deep neural
    networks?"; Donahue and others (2014), "DeCAF".

    Args:
        seed: Of everything; the few labels are drawn anew for each of the three seeds beneath it.

    Returns:
        Accuracies by way, number of labels and seed.
    """
    with repeatable(seed):
        first = nn.Sequential(_body(), nn.Linear(64, len(OLD)))
        fit(first, *_anywhere(OLD, COPIES), epochs=3, batch_size=32, learning_rate=0.003)
        old_accuracy = share_right(first, *_anywhere(OLD, train=False))
        images, labels = _anywhere(NEW)
        accuracy: dict[str, list[list[float]]] = {way: [] for way in WAYS}
        for few in LABELS:
            runs = [_learn(first[0], images, labels, few) for _ in range(SEEDS)]
            for way in WAYS:
                accuracy[way].append([run[way] for run in runs])
    return Reused(LABELS, accuracy, old_accuracy)


def _anywhere(classes: range, copies: int = 1, train: bool = True) -> tuple[Tensor, Tensor]:
    """Digits that stand anywhere in images ``[n, 1, 20, 20]``, and their labels."""
    images, labels = small_digits(train, classes)
    frame = F.pad(images, (MARGIN, MARGIN, MARGIN, MARGIN)).repeat(copies, 1, 1, 1)
    moves = torch.randint(-FARTHEST, FARTHEST + 1, (len(frame), 2)).tolist()
    moved = [image.roll(move, dims=(1, 2)) for image, move in zip(frame, moves, strict=True)]
    return torch.stack(moved), labels.repeat(copies)


def _body() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24 * 5 * 5, 64),
        nn.ReLU(),
    )


def _learn(old_body: nn.Module, images: Tensor, labels: Tensor, few: int) -> dict[str, float]:
    """Learn from the same few labels in all three ways; returns accuracies on the other images."""
    order = torch.randperm(len(labels))
    given = torch.cat([order[labels[order] == c][:few] for c in range(len(NEW))])
    rest = torch.ones(len(labels), dtype=torch.bool)
    rest[given] = False
    found = {}
    for way, body in zip(WAYS, (old_body, None, _body()), strict=True):
        if body is None:
            net = nn.Sequential(_body(), nn.Linear(64, len(NEW)))
            inputs = images
        else:
            # Frozen features never change, so they are computed once and not in every step.
            net = nn.Sequential(nn.Linear(64, len(NEW)))
            inputs = _features(body, images)
        _steps(net, inputs[given], labels[given])
        found[way] = share_right(net, inputs[rest], labels[rest])
    return found


@torch.no_grad()
def _features(body: nn.Module, images: Tensor) -> Tensor:
    features: Tensor = body(images)
    return features


def _steps(net: nn.Module, inputs: Tensor, labels: Tensor) -> None:
    """All labelled images in every step: there are at most fifty."""
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(STEPS):
        optimizer.zero_grad()
        F.cross_entropy(net(inputs), labels).backward()
        optimizer.step()
