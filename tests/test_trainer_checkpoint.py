"""Checkpoint files: whole or absent, and refused by name when they do not fit."""

# ruff: noqa: NPY002  # the global NumPy generator is what datasets draw from, so it is tested

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dlkit import DataLoader, TensorDataset
from dlkit.trainer import Callback, CheckpointError, Trainer
from dlkit.trainer import checkpoint as module
from dlkit.trainer.checkpoint import (
    check_plain,
    read_checkpoint,
    restore_rng,
    rng_state,
    write_checkpoint,
)


def loader() -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(20, 4, generator=generator)
    return DataLoader(TensorDataset(inputs, torch.arange(20) % 3), 8, shuffle=True)


def make_trainer(path: Path | None = None, out: int = 3, **options) -> Trainer:
    torch.manual_seed(1)
    return Trainer(nn.Linear(4, out), device="cpu", progress=False, checkpoint=path, **options)


@pytest.fixture
def saved(tmp_path):
    """A checkpoint after two epochs."""
    path = tmp_path / "run.pt"
    make_trainer(path).fit(loader(), 2)
    return path


def test_a_checkpoint_is_read_without_running_code(saved):
    state = torch.load(saved, weights_only=True)
    assert state["epoch"] == 2
    assert [row["epoch"] for row in state["history"]] == [1, 2]


def test_nothing_but_the_checkpoint_is_left_in_its_folder(saved):
    assert [path.name for path in saved.parent.iterdir()] == ["run.pt"]


def test_the_folder_of_a_checkpoint_is_made(tmp_path):
    path = tmp_path / "runs" / "first" / "run.pt"
    make_trainer(path).fit(loader(), 1)
    assert path.is_file()


def test_a_file_cut_short_anywhere_is_refused_by_name(saved):
    whole = saved.read_bytes()
    for share in (0.0, 0.01, 0.3, 0.5, 0.9, 0.99, 0.9999):
        saved.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(CheckpointError, match=r"run\.pt .*(truncated|damaged)"):
            make_trainer().resume(saved)
    saved.write_bytes(whole)
    make_trainer().resume(saved)


def test_one_flipped_bit_in_the_weights_is_found(tmp_path):
    path = tmp_path / "run.pt"
    weights = torch.arange(1000, dtype=torch.float64)
    write_checkpoint({"weights": weights}, path)
    whole = bytearray(path.read_bytes())
    place = whole.index(weights.numpy().tobytes()) + 4003
    whole[place] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match=r"run\.pt is .*damaged"):
        read_checkpoint(path)


def test_other_files_are_told_from_checkpoints(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"other\.pt is not a checkpoint of a Trainer"):
        read_checkpoint(path)
    path.write_text("hello")
    with pytest.raises(CheckpointError, match=r"other\.pt \(5 bytes\) is truncated or damaged"):
        read_checkpoint(path)
    torch.save({"format": module.FORMAT, "version": 99}, path)
    with pytest.raises(CheckpointError, match="version 99, this dlkit reads 1"):
        read_checkpoint(path)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*missing\.pt"):
        read_checkpoint(tmp_path / "missing.pt")


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_older_checkpoint_and_no_litter(saved, monkeypatch, failing):
    before = saved.read_bytes()

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    trainer = make_trainer(saved).resume(saved)
    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space left"):
        trainer.fit(loader(), 3)
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["run.pt"]
    assert len(trainer.history) == 3  # the epoch was trained, only its file is missing
    trainer.save()
    assert read_checkpoint(saved)["epoch"] == 3


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX")
def test_a_checkpoint_can_be_read_by_those_the_umask_allows(tmp_path):
    before = os.umask(0o022)
    try:
        write_checkpoint({}, tmp_path / "run.pt")
    finally:
        os.umask(before)
    assert (tmp_path / "run.pt").stat().st_mode & 0o777 == 0o644


def test_what_cannot_be_read_back_is_refused_before_the_first_epoch(tmp_path):
    class Odd(Callback):
        def state_dict(self):
            return {"best": {"value": np.float64(3)}}

    trainer = make_trainer(tmp_path / "run.pt", callbacks=[Odd()])
    words = r"state\['callbacks'\]\[0\]\['state'\]\['best'\]\['value'\] is a numpy.float64"
    with pytest.raises(CheckpointError, match=words):
        trainer.fit(loader(), 1)
    assert trainer.global_step == 0


def test_whatever_is_called_plain_is_read_back(tmp_path):
    from collections import Counter, OrderedDict

    state = {
        "tensor": torch.arange(3),
        "nested": [{"a": (1, 2.5, None)}, OrderedDict(b=True), {3, 4}, b"bytes"],
        "counter": Counter("abca"),
        "types": [torch.float32, torch.device("cpu"), torch.Size([2, 3])],
        "long": list(range(1000)),
    }
    check_plain(state)
    write_checkpoint(state, tmp_path / "run.pt")
    back = read_checkpoint(tmp_path / "run.pt")
    assert torch.equal(back.pop("tensor"), state.pop("tensor"))
    assert {key: back[key] for key in state} == state


@pytest.mark.parametrize(
    "value", [object(), np.zeros(2), Path("a"), [0] * 99 + [len], {1: {2: {len}}}]
)
def test_what_is_not_plain_is_refused(value):
    with pytest.raises(CheckpointError, match="state"):
        check_plain({"key": value})


def test_all_global_generators_are_restored():
    state = rng_state()
    drawn = [(random.random(), float(np.random.randn()), float(torch.rand(()))) for _ in range(3)]
    restore_rng(state)
    again = [(random.random(), float(np.random.randn()), float(torch.rand(()))) for _ in range(3)]
    assert drawn == again


def test_a_checkpoint_of_another_number_of_gpus_says_what_cannot_be_the_same():
    other = [torch.zeros(16, dtype=torch.uint8)] * (torch.cuda.device_count() + 1)
    with pytest.warns(UserWarning, match=r"random state of \d+ GPUs"):
        restore_rng({**rng_state(), "cuda": other})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: make_trainer(out=5), r"another model: weight is \[3, 4\] in the checkpoint and "),
        (
            lambda: Trainer(nn.Sequential(nn.Linear(4, 3)), device="cpu"),
            r"another model: 0.weight is missing.*weight is not in the model.*1 more",
        ),
        (
            lambda: make_trainer(optimizer=torch.optim.Adam),
            "another optimizer: SGD over 2 parameters, this trainer has Adam over 2",
        ),
        (
            lambda: make_trainer(
                optimizer=lambda p: torch.optim.SGD([{"params": [q]} for q in p], lr=0.01)
            ),
            r"SGD over 2 parameters, this trainer has SGD over 1 \+ 1 parameters",
        ),
        (
            lambda: make_trainer(scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 1)),
            "scheduler None, this trainer has StepLR",
        ),
        (lambda: make_trainer(metrics={}), r"metrics \['accuracy'\], this trainer has \[\]"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_and_changes_nothing(saved, make, words):
    trainer = make()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    with pytest.raises(CheckpointError, match=words) as caught:
        trainer.resume(saved)
    assert str(saved) in str(caught.value)
    after = trainer.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert (trainer.epoch, len(trainer.history)) == (0, 0)


def test_save_needs_a_path():
    with pytest.raises(ValueError, match="path must be given"):
        make_trainer().save()


def test_a_trainer_can_be_saved_before_and_after_training(tmp_path):
    trainer = make_trainer()
    start = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.save(tmp_path / "start.pt")
    trainer.fit(loader(), 2)
    trainer.save(tmp_path / "end.pt")
    other = make_trainer().resume(tmp_path / "start.pt")
    assert all(torch.equal(start[name], w) for name, w in other.model.state_dict().items())
    other.resume(tmp_path / "end.pt")
    assert other.history == trainer.history
