"""What ``dlkit train`` does: one training run, from images to a folder of results.

    data -> normalisation from the training images -> SimpleCNN -> Trainer -> run folder

``settings.json`` is there from the start and ``checkpoint.pt`` from the first steps on, so that a
run cut short can go on; ``metrics.json`` and three pictures follow at the end.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from dlkit import DataLoader, datasets
from dlkit.cli.train import Settings
from dlkit.models import Normalize, SimpleCNN
from dlkit.trainer import Trainer
from dlkit.trainer.augment import RandomAffine
from dlkit.trainer.results import confusion_counts, worst_mistakes

CHECKPOINT_EVERY = 200  # steps; a checkpoint of this model is 3.4 MB


def train(folder: Path, settings: Settings, *, resume: bool) -> int:
    """Train as the settings say, write the results into the folder, and return the exit status.

    Args:
        folder: Where results go; made when missing.
        settings: What to train, and how.
        resume: Whether to take up the folder's checkpoint, if the run got as far as having one.

    Raises:
        ValueError: If the folder holds a finished or unfinished run already, and is not resumed.
    """
    started = time.perf_counter()
    checkpoint = folder / "checkpoint.pt"
    if not resume and (folder / "settings.json").exists():
        raise ValueError(
            f"{folder} holds a run already: choose another --out, or go on with --resume {folder}"
        )
    training, test = load_data(settings.data)
    on_gpu = settings.device != "cpu" and torch.cuda.is_available()
    train_loader: Any = DataLoader(
        training,
        settings.batch_size,
        shuffle=True,
        num_workers=settings.workers,
        pin_memory=on_gpu,
        persistent_workers=settings.workers > 0,
    )
    test_loader: Any = DataLoader(test, 500, pin_memory=on_gpu)
    trainer = build(settings, training, len(train_loader), checkpoint)
    if resume and checkpoint.exists():
        trainer.resume(checkpoint)
        follow_schedule(trainer)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "settings.json", asdict(settings))
    print(describe(settings, training, test, trainer), flush=True)
    try:
        if trainer.epoch < settings.epochs:
            trainer.fit(train_loader, settings.epochs, test_loader)
    except KeyboardInterrupt:
        print(f"\ninterrupted; to go on: dlkit train --resume {folder}", file=sys.stderr)
        return 130
    report(folder, settings, trainer, test, test_loader, started)
    return 0


def load_data(name: str) -> tuple[Any, Any]:
    """Return the training and the test set of a name: `TensorDataset`s of images and labels."""
    if name == "digits":
        return datasets.digits(train=True), datasets.digits(train=False)
    return datasets.mnist(train=True), datasets.mnist(train=False)


def build(settings: Settings, training: Any, steps: int, checkpoint: Path) -> Trainer:
    """Return a trainer with a fresh model whose normalisation fits the training images.

    Args:
        settings: What to train, and how.
        training: `TensorDataset` of images `[N, C, H, W]` and labels `[N]`.
        steps: Steps in an epoch.
        checkpoint: File for the run's checkpoints.
    """
    images, labels = training.tensors
    total = steps * settings.epochs

    def schedule(optimizer: torch.optim.Optimizer) -> LRScheduler:
        # Half a cosine over the whole run (Loshchilov and Hutter, 2017). As a function of the
        # step, because it must stretch when a run goes on with more epochs than it began with.
        return LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * min(step / total, 1))) / 2)

    torch.manual_seed(settings.seed)
    classes, shape = int(labels.max()) + 1, tuple(images.shape[1:])
    model = SimpleCNN(num_classes=classes, input_shape=shape, dropout=settings.dropout)
    return Trainer(
        nn.Sequential(Normalize.from_images(images), model),
        optimizer=lambda p: torch.optim.SGD(p, lr=settings.lr, momentum=settings.momentum),
        scheduler=schedule if settings.schedule == "cosine" else None,
        schedule_every="step",
        device=settings.device,
        autocast=settings.autocast,
        augment=RandomAffine() if settings.augment else None,
        checkpoint=checkpoint,
        checkpoint_every=CHECKPOINT_EVERY,
        seed=settings.seed,
    )


def follow_schedule(trainer: Trainer) -> None:
    """Set the learning rate to what the schedule says now, which is more for more epochs."""
    schedule: Any = trainer.scheduler
    if schedule is not None:
        for group, base, factor in zip(
            trainer.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
        ):
            group["lr"] = base * factor(schedule.last_epoch)


def describe(settings: Settings, training: Any, test: Any, trainer: Trainer) -> str:
    """Say in two lines what is trained on what."""
    normalize: Any = trainer.model[0]  # type: ignore[index]
    parameters = sum(p.numel() for p in trainer.model.parameters())
    mean, std = (", ".join(f"{v:.4f}" for v in t.tolist()) for t in (normalize.mean, normalize.std))
    return (
        f"{settings.data}: {len(training):,} training and {len(test):,} test images; "
        f"mean {mean}, standard deviation {std} of the training images\n"
        f"SimpleCNN: {parameters:,} parameters on {trainer.device}"
    )


def report(
    folder: Path,
    settings: Settings,
    trainer: Trainer,
    test: Any,
    test_loader: Any,
    started: float,
) -> None:
    """Measure the trained model on the test set; write the pictures and the numbers."""
    from dlkit.plots.classification import confusion_matrix, mistakes_grid
    from dlkit.plots.style import png
    from dlkit.plots.training import learning_curves

    images, labels = test.tensors
    logits = trainer.predict(test_loader)
    counts = confusion_counts(logits, labels)
    right = int(counts.diagonal().sum())
    pictures = {
        "curves.png": learning_curves(trainer.history, held_out="test"),
        "confusion_matrix.png": confusion_matrix(counts.numpy()),
        "worst_mistakes.png": mistakes_grid(images.numpy(), worst_mistakes(logits, labels)),
    }
    for name, picture in pictures.items():
        (folder / name).write_bytes(png(picture))
    seconds = sum(trainer.history.column("seconds"))
    waiting = sum(row["wait_share"] * row["seconds"] for row in trainer.history)
    metrics = {
        "test_accuracy": right / len(labels),
        "test_loss": float(cross_entropy(logits, labels)),
        "train_seconds": seconds,
        "wait_share": waiting / seconds,
        "seconds_of_this_call": time.perf_counter() - started,
        "device": str(trainer.device),
        "settings": asdict(settings),
        "versions": versions(),
        # The trainer calls it validation; here it is the test set that is looked at.
        "history": [
            {name.replace("val_", "test_"): value for name, value in row.items()}
            for row in trainer.history
        ],
    }
    write_json(folder / "metrics.json", metrics)
    print(
        f"test accuracy {right / len(labels):.2%} ({right:,} of {len(labels):,}); trained for "
        f"{seconds:.1f} s, {waiting / seconds:.1%} of it waiting for data\n"
        f"{folder}: metrics.json, {', '.join(pictures)}, checkpoint.pt"
    )


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    packages = ("dlkit", "torch", "numpy", "torchmetrics")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file that is whole whenever it is there."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(part, path)
