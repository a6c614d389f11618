"""``dlkit train``: a CNN on real handwritten digits, and a folder that says what it learned.

This module turns the command line into settings; ``train_run`` does what they say.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

EXAMPLES = """\
examples:
  dlkit train
  dlkit train --epochs 3 --batch-size 32 --lr 0.01 --out runs/short
  dlkit train --resume runs/short --epochs 5
  dlkit train --data digits --augment --workers 2 --seed 1
  dlkit train --data mnist --schedule constant --dropout 0 --autocast bf16

The run folder gets metrics.json, curves.png, confusion_matrix.png, worst_mistakes.png and
checkpoint.pt. A run that was interrupted goes on where it stood, with its own settings, by
--resume. Under torchrun each rank trains on its share; rank 0 prints and writes:

  torchrun --standalone --nproc-per-node=2 -m dlkit train --out runs/two --scale-lr linear
  torchrun --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint=HOST:29400 \\
      --rdzv-id=one --max-restarts=3 -m dlkit train --data mnist --out SHARED_FOLDER

There the same command with the same settings goes on from the folder's checkpoint, which is what
a restart after a failure needs, also with more or fewer ranks.

The curves show the test set after each epoch, to be looked at; nothing is chosen by it, and the
accuracy that is reported is that of the last epoch.
"""

# A thousand images need more passes than ten thousand, and bear a larger rate.
DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 20, "lr": 0.02},
    "mnist": {"epochs": 10, "lr": 0.01},
}
MAY_CHANGE = ("epochs", "workers", "device", "checkpoint_every")


@dataclass(frozen=True)
class Settings:
    """All that a run depends on, besides the images themselves; saved beside its results."""

    data: str
    epochs: int
    lr: float
    batch_size: int = 64
    momentum: float = 0.9
    schedule: str = "cosine"
    dropout: float = 0.5
    workers: int = 0
    device: str = "auto"
    seed: int = 0
    augment: bool = False
    autocast: str | None = None
    accumulate: int = 1
    scale_lr: str = "none"
    checkpoint_every: int | None = None


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command's arguments to the command line."""
    parser = subparsers.add_parser(
        "train",
        help="train a CNN on handwritten digits and report what it learned",
        description="Train a small CNN on handwritten digits with SGD, and report what it learned.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # so that what was given is told from what was not
    )
    options: list[tuple[str, dict[str, Any], str]] = [
        ("--data", {"choices": tuple(DEFAULTS)}, "digits, which are always there (default), or "
         "mnist from $DLKIT_DATA, the cache or the network"),
        ("--epochs", {"type": positive}, "default: 20 for digits, 10 for mnist"),
        ("--batch-size", {"type": positive}, "of each rank, where there are several (default: 64)"),
        ("--accumulate", {"type": positive}, "batches that make one step (default: 1)"),
        ("--lr", {"type": above_zero}, "learning rate (default: 0.02 for digits, 0.01 for mnist)"),
        ("--scale-lr", {"choices": ("none", "linear")}, "linear multiplies the learning rate by "
         "ranks and accumulated batches (default: none)"),
        ("--momentum", {"type": share}, "default: 0.9"),
        ("--schedule", {"choices": ("cosine", "constant")}, "let the learning rate fall to 0 along "
         "half a cosine (default), or keep it"),
        ("--dropout", {"type": share}, "share of the hidden units silenced (default: 0.5)"),
        ("--workers", {"type": not_negative}, "processes that load data (default: 0)"),
        ("--device", {}, "cpu, cuda, mps, or auto for the best there is (default)"),
        ("--seed", {"type": not_negative}, "default: 0"),
        ("--augment", {"action": "store_true"}, "shift, turn and scale training images a little"),
        ("--autocast", {"choices": ("bf16", "fp16")}, "compute in 16 bits (default: 32)"),
        ("--checkpoint-every", {"type": positive, "metavar": "STEPS"}, "default: 200, and after "
         "each epoch"),
        ("--resume", {"type": Path, "metavar": "FOLDER"}, "go on with the run in this folder"),
        ("--out", {"type": Path, "metavar": "FOLDER"}, "default: runs/<data>-<time>"),
    ]  # fmt: skip
    for name, settings, text in options:
        parser.add_argument(name, help=text, **settings)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, report, and return the exit status."""
    from dlkit.cli.train_run import train

    rank = os.environ.get("RANK")
    who = "dlkit train" if rank is None else f"dlkit train, rank {rank}"
    try:
        with _ranks(getattr(args, "device", "auto")):
            planned = _planned_by_the_first(vars(args))
            return 1 if planned is None else train(*planned[:2], resume=planned[2])
    except (ValueError, OSError, RuntimeError, ArithmeticError, ModuleNotFoundError) as error:
        print(f"{who}: {error}", file=sys.stderr, flush=True)
        return 1


def _ranks(device: str) -> AbstractContextManager[Any]:
    """The process group that torchrun has prepared; nothing without torchrun."""
    if "RANK" not in os.environ:
        return nullcontext()
    from dlkit.ddp import process_group

    return process_group(device, timeout=float(os.environ.get("DLKIT_RANK_TIMEOUT", 600)))


def _planned_by_the_first(given: dict[str, Any]) -> tuple[Path, Settings, bool] | None:
    """Return rank 0's plan on every rank; None on the others if it has failed there."""
    from dlkit.ddp import current, from_first

    planned: tuple[Path, Settings, bool] | None = None
    try:
        if current().is_first:
            planned = plan(given)
    finally:  # the others must not wait for a rank that raises
        planned = from_first(planned)
    return planned


def plan(given: dict[str, Any]) -> tuple[Path, Settings, bool]:
    """Return the run's folder, its settings, and whether it goes on with an earlier one.

    Args:
        given: The options that stood on the command line.

    Raises:
        ValueError: If the options exclude each other, or a run's settings cannot be read.
        FileNotFoundError: If there is no run to go on with.

    Example:
        >>> folder, settings, resume = plan({"data": "mnist", "lr": 0.1, "out": Path("here")})
        >>> settings.lr, settings.epochs, resume
        (0.1, 10, False)
    """
    options = {name: given[name] for name in Settings.__dataclass_fields__ if name in given}
    if "resume" not in given:
        data = options.setdefault("data", "digits")
        folder: Path = given.get("out", Path("runs") / f"{data}-{_stamp()}")
        settings = Settings(**{**DEFAULTS[data], **options})
        return folder, settings, _goes_on(folder, settings)
    if "out" in given:
        raise ValueError("--out cannot go with --resume: a run goes on in its own folder")
    fixed = [name for name in options if name not in MAY_CHANGE]
    if fixed:
        raise ValueError(
            f"{_flags(fixed)} cannot change in a run that goes on: only {_flags(MAY_CHANGE)} can "
            "go with --resume"
        )
    folder = given["resume"]
    if not (folder / "settings.json").is_file():
        missing = folder / "settings.json"
        raise FileNotFoundError(f"--resume {folder}: there is no run, {missing} is missing")
    return folder, replace(_saved_settings(folder), **options), True


def _flags(names: Iterable[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def _stamp() -> str:
    """What tells runs apart: the time, or for a restart to find its run, torchrun's name for it."""
    run = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return time.strftime("%Y%m%d-%H%M%S") if run in ("none", "") else run


def _goes_on(folder: Path, settings: Settings) -> bool:
    """Whether a folder holds this very run, which torchrun has started again.

    Raises:
        ValueError: If it holds a run, and this is not its restart.
    """
    if not (folder / "settings.json").exists():
        return False
    elastic = "TORCHELASTIC_RUN_ID" in os.environ
    if elastic:
        saved = asdict(_saved_settings(folder))
        ours = asdict(settings)
        differ = [name for name in ours if name not in MAY_CHANGE and ours[name] != saved[name]]
        if not differ:
            return True
    why = f" with another {', '.join(differ)}" if elastic else ""
    raise ValueError(
        f"{folder} holds a run already{why}: choose another --out, or go on with --resume {folder}"
    )


def _saved_settings(folder: Path) -> Settings:
    file = folder / "settings.json"
    try:
        return Settings(**json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"--resume {folder}: {file} cannot be read: {error}") from error


def positive(text: str) -> int:
    """Return a whole number of at least 1, as argparse wants it."""
    value = not_negative(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def not_negative(text: str) -> int:
    """Return a whole number of at least 0, as argparse wants it.

    Example:
        >>> not_negative("12")
        12
    """
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, not {text!r}")
    return int(text)


def above_zero(text: str) -> float:
    """Return a finite number above 0, as argparse wants it."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text!r}")
    return value


def share(text: str) -> float:
    """Return a number from 0 to below 1, as argparse wants it."""
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, not {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None
