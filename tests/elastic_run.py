"""`dlkit train` on small images, with what a test wants to go wrong; torchrun runs it, not pytest.

    python tests/elastic_run.py KIND FOLDER -- arguments of dlkit train

KIND is "whole"; "kill", which kills rank 1 once, in the second epoch; or "slow", whose ranks wait
for each other before their timeout begins to count, whose steps take a while, and which tells by a
file in FOLDER that it has begun to train.
"""

import os
import signal
import sys
import time
from pathlib import Path

import torch

from dlkit import TensorDataset
from dlkit.cli import main, train_run
from dlkit.trainer import Trainer

IMAGES, HELD_OUT = 100, 41


def stripes(count: int) -> TensorDataset:
    """Ten classes that are easy to tell: a bright row at a height of its own."""
    generator = torch.Generator().manual_seed(count)
    labels = torch.arange(count) % 10
    images = 0.2 * torch.rand(count, 1, 12, 12, generator=generator)
    images[torch.arange(count), 0, labels + 1] += 0.8
    return TensorDataset(images, labels)


def await_all(folder: Path) -> None:
    """Wait until every rank has been imported: one may take longer than the timeout of the test."""
    (folder / f"here {os.environ['RANK']}").touch()
    while not all((folder / f"here {r}").exists() for r in range(int(os.environ["WORLD_SIZE"]))):
        time.sleep(0.01)


def run(kind: str, folder: Path, arguments: list[str]) -> int:
    train_run.load_data = lambda name: (stripes(IMAGES), stripes(HELD_OUT))
    step = Trainer._train_step

    def disturbed(trainer, batches):
        if kind == "slow":
            time.sleep(0.05)
            (folder / f"training {os.environ['RANK']}").touch()
        step(trainer, batches)
        if kind == "kill" and os.environ["RANK"] == "1" and trainer.global_step == 6:
            try:
                (folder / "killed").touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

    Trainer._train_step = disturbed
    if kind == "slow":
        await_all(folder)
    return main(["train", *arguments])


if __name__ == "__main__":
    raise SystemExit(run(sys.argv[1], Path(sys.argv[2]), sys.argv[4:]))
