"""What a classifier got wrong: which classes it takes for which, and its most certain mistakes.

logits [N, classes], labels [N]  ->  confusion_counts [classes, classes]
                                 ->  worst_mistakes: indices, most certain first
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mistake:
    """One sample that was taken for another class.

    Args:
        index: Its index among the samples.
        label: Its class.
        predicted: The class it was taken for.
        probability: How certain the model was of that, 0 to 1.
    """

    index: int
    label: int
    predicted: int
    probability: float


def confusion_counts(logits: Tensor, labels: Tensor) -> Tensor:
    """Count how often each class was taken for each class.

    Args:
        logits: `[N, classes]`.
        labels: `[N]` class indices.

    Returns:
        `[classes, classes]` counts; the row is the true class, the column the predicted one.

    Raises:
        ValueError: If the two do not belong together.

    Example:
        >>> logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [4.0, 0.0]])
        >>> confusion_counts(logits, torch.tensor([0, 1, 1]))
        tensor([[1, 0],
                [1, 1]])
    """
    classes = _checked(logits, labels)
    pairs = labels.long() * classes + logits.argmax(dim=1)
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def worst_mistakes(logits: Tensor, labels: Tensor, limit: int = 12) -> list[Mistake]:
    """Return the wrong predictions the model was most certain of.

    These tell most: a wrong label, an image no person could read, or a kind of image that was rare
    in training.

    Args:
        logits: `[N, classes]`.
        labels: `[N]` class indices.
        limit: How many at most.

    Raises:
        ValueError: If logits and labels do not belong together.

    Example:
        >>> logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [4.0, 0.0]])
        >>> [(m.index, m.label, m.predicted) for m in worst_mistakes(logits, torch.ones(3).long())]
        [(2, 1, 0), (0, 1, 0)]
    """
    _checked(logits, labels)
    certainty, predicted = logits.double().softmax(dim=1).max(dim=1)
    wrong = (predicted != labels).nonzero().flatten()
    order = wrong[certainty[wrong].argsort(descending=True, stable=True)][:limit]
    return [Mistake(int(i), int(labels[i]), int(predicted[i]), float(certainty[i])) for i in order]


def most_confused(counts: Tensor, names: Sequence[str] | None = None) -> str:
    """Say which two classes were confused most often.

    Example:
        >>> most_confused(torch.tensor([[5, 2], [0, 9]]))
        '0 taken for 1: 2 times'
    """
    wrong = counts.clone()
    wrong.fill_diagonal_(0)
    if not int(wrong.sum()):
        return "no class taken for another"
    row, column = divmod(int(wrong.argmax()), len(counts))
    true, taken = (row, column) if names is None else (names[row], names[column])
    times = int(wrong[row, column])
    return f"{true} taken for {taken}: {times} time{'s' if times > 1 else ''}"


def _checked(logits: Tensor, labels: Tensor) -> int:
    if logits.ndim != 2 or labels.ndim != 1 or len(logits) != len(labels):
        raise ValueError(
            "logits [N, classes] and labels [N] must belong to the same samples, got shapes "
            f"{list(logits.shape)} and {list(labels.shape)}"
        )
    classes = logits.shape[1]
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(
            f"labels must be class indices from 0 to {classes - 1}, got "
            f"{int(labels.min())} to {int(labels.max())}"
        )
    return classes
