"""What ``dlkit train`` does: one training run, from images to a folder of results.

    data -> normalisation from the training images -> SimpleCNN -> Trainer -> run folder

``settings.json`` is there from the start and ``checkpoint.pt`` from the first steps on, so that a
run cut short can go on; ``metrics.json`` and three pictures follow at the end. On several ranks
each trains on its share of the images, and rank 0 alone prints and writes.
"""

from __future__ import annotations

import json
import math
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

from dlkit import DataLoader, datasets, ddp
from dlkit.cli.train import Settings
from dlkit.files import replacing
from dlkit.models import Normalize, SimpleCNN
from dlkit.samplers import DistributedSampler
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
    """
    started = time.perf_counter()
    checkpoint = folder / "checkpoint.pt"
    place = ddp.current()
    training, test = load_on_every_host(settings.data)
    on_gpu = settings.device != "cpu" and torch.cuda.is_available()
    several = place.is_distributed
    train_loader: Any = DataLoader(
        training,
        settings.batch_size,
        shuffle=None if several else True,
        sampler=DistributedSampler(training, seed=settings.seed, pad=False) if several else None,
        num_workers=settings.workers,
        pin_memory=on_gpu,
        persistent_workers=settings.workers > 0,
    )
    once = DistributedSampler(test, shuffle=False, pad=False) if several else None
    test_loader: Any = DataLoader(test, 500, sampler=once, pin_memory=on_gpu)
    # Rank 0 has as many batches as any rank, and that is how many steps all take.
    steps = -(-ddp.from_first(len(train_loader)) // settings.accumulate)
    trainer = build(settings, training, steps, checkpoint)
    if ddp.from_first(resume and checkpoint.exists()):
        trainer.resume(checkpoint)
        follow_schedule(trainer, steps, len(training))
    if place.is_first:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "settings.json", asdict(settings))
    ddp.print_once(describe(settings, training, test, trainer))
    try:
        if trainer.epoch < settings.epochs:
            trainer.fit(train_loader, settings.epochs, test_loader)
    except KeyboardInterrupt:
        ddp.print_once(f"\ninterrupted; to go on: dlkit train --resume {folder}", file=sys.stderr)
        return 130
    report(folder, settings, trainer, test, test_loader, started)
    return 0


def load_on_every_host(name: str) -> tuple[Any, Any]:
    """Load the data on all ranks; one of each host comes first, so that it downloads alone."""
    loaded = load_data(name) if ddp.current().local_rank == 0 else None
    ddp.barrier(3600.0)
    return load_data(name) if loaded is None else loaded


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
    lr = settings.lr * lr_factor(settings)

    def schedule(optimizer: torch.optim.Optimizer) -> LRScheduler:
        # Half a cosine over the whole run (Loshchilov and Hutter, 2017). As a function of the
        # step, because it must stretch when a run goes on with more epochs than it began with.
        return LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * min(step / total, 1))) / 2)

    torch.manual_seed(settings.seed)
    classes, shape = int(labels.max()) + 1, tuple(images.shape[1:])
    model = SimpleCNN(num_classes=classes, input_shape=shape, dropout=settings.dropout)
    return Trainer(
        nn.Sequential(Normalize.from_images(images), model),
        optimizer=lambda p: torch.optim.SGD(p, lr=lr, momentum=settings.momentum),
        scheduler=schedule if settings.schedule == "cosine" else None,
        schedule_every="step",
        device=settings.device,
        autocast=settings.autocast,
        accumulate=settings.accumulate,
        augment=RandomAffine() if settings.augment else None,
        checkpoint=checkpoint,
        checkpoint_every=settings.checkpoint_every or CHECKPOINT_EVERY,
        seed=settings.seed,
    )


def lr_factor(settings: Settings) -> int:
    """Return what the learning rate is multiplied by: the growth of the batch, or 1.

    A batch k times as large takes a k-th of the steps, each along a mean that is less noisy (the
    linear scaling rule of Goyal et al., "Accurate, Large Minibatch SGD", 2017).
    """
    growth = ddp.current().world_size * settings.accumulate
    return growth if settings.scale_lr == "linear" else 1


def follow_schedule(trainer: Trainer, steps: int, samples: int) -> None:
    """Set the learning rate to what the schedule says now, which is more for more epochs.

    Args:
        trainer: After `resume`.
        steps: In an epoch, with as many ranks as there are now.
        samples: In an epoch.
    """
    schedule: Any = trainer.scheduler
    if schedule is not None:
        if trainer.resumed_ranks not in (0, ddp.current().world_size):
            # With other ranks an epoch has another number of steps: stand where the samples do.
            schedule.last_epoch = round(trainer.samples_trained / samples * steps)
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
        f"SimpleCNN: {parameters:,} parameters on {trainer.device}{describe_ranks(settings)}"
    )


def describe_ranks(settings: Settings) -> str:
    """Say what a step is made of, and what learning rate it takes; nothing for one plain batch.

    Example:
        >>> print(describe_ranks(Settings("digits", epochs=1, lr=0.02, accumulate=4)))
        <BLANKLINE>
        1 rank x 64 samples x 4 batches accumulated = 256 samples a step
        learning rate 0.02, not scaled (--scale-lr linear: 0.08)
    """
    place = ddp.current()
    growth = place.world_size * settings.accumulate
    if growth == 1:
        return ""
    hosts = len(set(place.hosts))
    where = f" on {hosts} hosts" if hosts > 1 else ""
    ranks = f"{place.world_size} rank{'s' * (place.world_size > 1)}{where}"
    accumulated = f" x {settings.accumulate} batches accumulated" if settings.accumulate > 1 else ""
    lr = settings.lr * growth
    scaled = f"{lr:g} = {growth} x {settings.lr:g}, scaled with the batch"
    plain = f"{settings.lr:g}, not scaled (--scale-lr linear: {lr:g})"
    return (
        f"\n{ranks} x {settings.batch_size} samples{accumulated} = "
        f"{growth * settings.batch_size} samples a step\n"
        f"learning rate {scaled if settings.scale_lr == 'linear' else plain}"
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
    if not ddp.current().is_first:
        return
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
        "ranks": ddp.current().world_size,
        "samples_trained": trainer.samples_trained,
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
    with replacing(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())
