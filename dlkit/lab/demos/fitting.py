"""What the demonstrations share: repeatable runs, small digits, and one plain training loop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlkit.datasets import TensorDataset, digits
from dlkit.loader import DataLoader

Loss = Callable[[Tensor, Tensor], Tensor]


@contextlib.contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Run a block from a seed on one thread, and leave the caller's generator as it was.

    One thread, because sums that are split among threads differ in the last digits with their
    number, and because matrices this small are slower on several.

    >>> with repeatable(0):
    ...     first = torch.rand(1)
    >>> with repeatable(0):
    ...     first == torch.rand(1)
    tensor([True])
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def small_digits(train: bool = True, classes: range = range(10)) -> tuple[Tensor, Tensor]:
    """Return digits at half their size, which is enough to recognise them by.

    Args:
        train: Whether of the training set; else of the test set.
        classes: Which digits.

    Returns:
        Images ``[n, 1, 14, 14]`` in 0..1, and labels ``[n]`` that count from 0 within `classes`.

    >>> images, labels = small_digits(train=False, classes=range(5, 10))
    >>> images.shape[1:], sorted(set(labels.tolist()))
    (torch.Size([1, 14, 14]), [0, 1, 2, 3, 4])
    """
    images, labels = digits(train).tensors
    wanted = (labels >= classes.start) & (labels < classes.stop)
    return F.avg_pool2d(images[wanted], 2), labels[wanted] - classes.start


def fit(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    loss: Loss = F.cross_entropy,
) -> None:
    """Train a model in place with Adam on shuffled batches.

    Args:
        model: What is trained; parameters that need no gradient stay as they are.
        inputs: ``[n, ...]``.
        targets: ``[n, ...]``, whatever `loss` takes.
        epochs: Passes over the data.
        batch_size: Samples a step.
        learning_rate: Of Adam.
        loss: Of outputs and targets, a mean over the batch.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    for batch, wanted in _batches(inputs, targets, epochs, batch_size):
        optimizer.zero_grad()
        loss(model(batch), wanted).backward()
        optimizer.step()


def _batches(
    inputs: Tensor, targets: Tensor, epochs: int, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=batch_size, shuffle=True)
    for _ in range(epochs):
        yield from loader


@torch.no_grad()
def share_right(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return the share of samples whose largest output is at their label."""
    right: Tensor = model(inputs).argmax(dim=1) == labels
    return right.double().mean().item()


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers a model has to learn.

    >>> count_parameters(nn.Linear(2, 3))
    9
    """
    return sum(parameter.numel() for parameter in model.parameters())
