"""How well an order of indices is mixed, in numbers that a picture can be checked against.

An order is what a sampler yields in one epoch. Two views of it matter. *Where did each sample
go?* is its displacement. *What do samples that arrive together have in common?* decides what a
batch looks like, and is what `mixing` measures: the distance between neighbours in the order.

    >>> mixing(range(100))
    0.0
    >>> displacement([2, 1, 0]).tolist()
    [2, 0, -2]
    >>> run_lengths([0, 0, 0, 1, 1, 0]).tolist()
    [3, 2, 1]
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def _vector(values: Iterable[Any], name: str) -> NDArray[np.int64]:
    vector = np.asarray(values if isinstance(values, np.ndarray) else list(values))
    if vector.ndim != 1 or (vector.size and vector.dtype.kind not in "iub"):
        raise ValueError(
            f"{name} must be one row of integers, got shape {vector.shape} of {vector.dtype}"
        )
    return vector.astype(np.int64)


def displacement(order: Iterable[int]) -> NDArray[np.int64]:
    """Return how far each position of an epoch is from the sample that it shows.

    Args:
        order: indices in the order of the epoch, shape `[n]`.

    Returns:
        `order[t] - t` for each position t, shape `[n]`.

    Raises:
        ValueError: if `order` is not one row of integers.

    Example:
        >>> displacement([1, 2, 0]).tolist()
        [1, 1, -2]
    """
    indices = _vector(order, "order")
    return indices - np.arange(len(indices))


def mixing(order: Iterable[int]) -> float:
    """Return how far apart in the dataset samples are that follow each other in the epoch.

    The mean distance between neighbours of the order, scaled so that 0 is the dataset's own order
    (or its reverse) and 1 is what a full shuffle gives on average: neighbours of a uniform
    permutation of n are (n + 1) / 3 apart. Moving whole blocks far away scores low, as it should:
    the samples of a batch still come from one place. More than 1 means that an order alternates
    between far ends, which is not better.

    Args:
        order: indices in the order of the epoch, shape `[n]`.

    Returns:
        The mixing, 0 or more; 0 for fewer than three indices.

    Raises:
        ValueError: if `order` is not one row of integers.

    Example:
        >>> mixing(range(9, -1, -1))
        0.0
        >>> shuffled = np.random.default_rng(0).permutation(10_000)
        >>> round(mixing(shuffled), 1)
        1.0
    """
    indices = _vector(order, "order")
    if len(indices) < 3:
        return 0.0
    gap = float(np.abs(np.diff(indices)).mean())
    expected = (len(indices) + 1) / 3
    return max(0.0, (gap - 1) / (expected - 1))


def run_lengths(labels: Iterable[int]) -> NDArray[np.int64]:
    """Return the lengths of stretches in which one label repeats.

    Args:
        labels: the class of each sample in the order of the epoch, shape `[n]`.

    Returns:
        Lengths in order; they add up to n.

    Raises:
        ValueError: if `labels` is not one row of integers.

    Example:
        >>> run_lengths([4, 4, 7]).tolist()
        [2, 1]
    """
    classes = _vector(labels, "labels")
    if not len(classes):
        return classes
    starts = np.flatnonzero(np.diff(classes)) + 1
    return np.diff(np.concatenate(([0], starts, [len(classes)])))


def class_shares(
    labels: Sequence[int] | NDArray[Any], batches: Iterable[Sequence[int]], num_classes: int
) -> NDArray[np.float64]:
    """Return the share of each class in each batch.

    Args:
        labels: the class of each sample of the dataset, shape `[n]`.
        batches: lists of indices.
        num_classes: how many classes there are.

    Returns:
        Shares in 0..1, shape `[batches, num_classes]`; each row adds up to 1.

    Raises:
        ValueError: if a label is not in 0..num_classes - 1, or a batch is empty.

    Example:
        >>> class_shares([0, 0, 1, 1], [[0, 1], [1, 2]], 2).tolist()
        [[1.0, 0.0], [0.5, 0.5]]
    """
    classes = _vector(labels, "labels")
    if len(classes) and not (classes.min() >= 0 and classes.max() < num_classes):
        wrong = classes[(classes < 0) | (classes >= num_classes)][0]
        raise ValueError(f"labels must be in 0..{num_classes - 1}, but got {wrong}")
    rows = []
    for batch in batches:
        if not len(batch):
            raise ValueError("a batch is empty, so its classes have no shares")
        counts = np.bincount(classes[np.asarray(batch)], minlength=num_classes)
        rows.append(counts / counts.sum())
    return np.array(rows, dtype=np.float64).reshape(-1, num_classes)
