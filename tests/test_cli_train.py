"""`dlkit train` from the command line to the files it leaves."""

import json
import re
import shlex

import pytest
import torch

from dlkit import TensorDataset
from dlkit.cli import main
from dlkit.cli.train import EXAMPLES, Settings, plan

pytest.importorskip("torchmetrics")

from dlkit.cli import train_run

RESULTS = ["metrics.json", "curves.png", "confusion_matrix.png", "worst_mistakes.png"]


def stripes(count: int) -> TensorDataset:
    """Ten classes that are easy to tell: a bright row at a height of its own."""
    generator = torch.Generator().manual_seed(count)
    labels = torch.arange(count) % 10
    images = 0.2 * torch.rand(count, 1, 12, 12, generator=generator)
    images[torch.arange(count), 0, labels + 1] += 0.8
    return TensorDataset(images, labels)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A hundred small images instead of real digits, and an empty folder to work in."""
    monkeypatch.setattr(train_run, "load_data", lambda name: (stripes(100), stripes(40)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(line: str) -> int:
    return main(["train", *shlex.split(line)])


def metrics(folder) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_a_run_leaves_its_numbers_and_pictures(small, capsys):
    assert train("--epochs 12 --out here --lr 0.05 --dropout 0") == 0
    found = metrics(small / "here")
    assert found["test_accuracy"] == 1.0
    assert f"test accuracy {found['test_accuracy']:.2%} (40 of 40)" in capsys.readouterr().out
    assert found["settings"]["lr"] == 0.05
    assert found["versions"]["torch"] == torch.__version__.split("+")[0]
    assert [row["epoch"] for row in found["history"]] == list(range(1, 13))
    assert found["history"][-1]["test_accuracy"] == 1.0
    assert 0 <= found["wait_share"] <= 1
    for name in RESULTS[1:]:
        content = (small / "here" / name).read_bytes()
        assert content.startswith(b"\x89PNG")
    assert sorted(p.name for p in (small / "here").iterdir()) == sorted(
        [*RESULTS, "checkpoint.pt", "settings.json"]
    )


def test_the_progress_bar_shows_loss_rate_and_waiting(small, capsys):
    train("--epochs 1 --out here")
    bar = capsys.readouterr().err
    assert all(words in bar for words in ("loss=", "samples/s=", "waiting="))


def test_the_examples_of_the_help_text_run_as_written(small, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    lines = [line.strip() for line in shown.splitlines() if line.startswith("  dlkit train")]
    assert len(lines) == EXAMPLES.count("  dlkit train") >= 4
    for line in lines:
        assert main(shlex.split(line)[1:]) == 0, line
    assert {path.name.split("-")[0] for path in (small / "runs").iterdir()} >= {"digits", "mnist"}
    assert len(metrics(small / "runs" / "short")["history"]) == 5


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(small):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(f"--epochs 2 --seed {seed} --augment --out {name}")
    weights = [torch.load(small / name / "checkpoint.pt")["model"] for name in "abc"]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not all(torch.equal(weights[0][key], weights[2][key]) for key in weights[0])


def test_an_interrupted_run_goes_on_to_the_result_of_an_undisturbed_one(small, monkeypatch, capsys):
    assert train("--epochs 4 --augment --out whole") == 0
    forward, calls = train_run.SimpleCNN.forward, []

    def stop_at_the_fifth_batch(model, images):
        calls.append(len(images))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return forward(model, images)

    monkeypatch.setattr(train_run.SimpleCNN, "forward", stop_at_the_fifth_batch)
    monkeypatch.setattr(train_run, "CHECKPOINT_EVERY", 1)
    assert train("--epochs 4 --augment --out cut") == 130
    assert "dlkit train --resume cut" in capsys.readouterr().err
    assert not (small / "cut" / "metrics.json").exists()
    monkeypatch.undo()
    monkeypatch.setattr(train_run, "load_data", lambda name: (stripes(100), stripes(40)))
    monkeypatch.chdir(small)
    assert train("--resume cut") == 0
    whole, cut = metrics(small / "whole"), metrics(small / "cut")
    assert cut["settings"] == whole["settings"]
    timings = ("samples_per_second", "wait_share", "seconds")
    for one, other in zip(whole["history"], cut["history"], strict=True):
        assert {k: v for k, v in one.items() if k not in timings} == {
            k: v for k, v in other.items() if k not in timings
        }


def test_a_finished_run_that_is_resumed_reports_again_and_trains_nothing(small):
    train("--epochs 1 --out here")
    before = metrics(small / "here")
    (small / "here" / "metrics.json").unlink()
    assert train("--resume here") == 0
    assert metrics(small / "here")["history"] == before["history"]


def test_cosine_stretches_over_the_epochs_that_are_added(small):
    train("--epochs 2 --out here --lr 0.1")
    assert train("--resume here --epochs 4") == 0
    rates = [row["lr"] for row in metrics(small / "here")["history"]]
    # Half a cosine over 2 epochs for the first two, over 4 from then on.
    assert rates == pytest.approx([0.1, 0.05, 0.05, 0.1 * (1 - 0.5**0.5) / 2], rel=1e-6)


def test_the_images_that_normalisation_is_computed_from_are_the_training_images(small, capsys):
    train("--epochs 1 --out here")
    images = stripes(100).tensors[0]
    assert f"mean {images.mean():.4f}, standard deviation {images.std():.4f}" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--resume nowhere", "nowhere.*settings.json is missing"),
        ("--resume here --out there", "--out cannot go with --resume"),
        ("--resume here --lr 0.1 --batch-size 8", "--lr, --batch-size cannot.*--checkpoint-every"),
        ("--out here", "here holds a run already.*--resume here"),
        ("--device tpu", "device 'tpu'"),
        ("--autocast fp16 --device cpu", "fp16.*CUDA"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(small, capsys, line, words):
    train("--epochs 1 --out here")
    capsys.readouterr()
    assert train(line) == 1
    message = capsys.readouterr().err.strip()
    assert message.startswith("dlkit train: ")
    assert "\n" not in message
    assert re.search(words, message)


@pytest.mark.parametrize("damage", ["{", "[]", '{"data": "digits"}'])
def test_damaged_settings_are_named(small, capsys, damage):
    (small / "here").mkdir()
    (small / "here" / "settings.json").write_text(damage)
    assert train("--resume here") == 1
    assert "settings.json cannot be read" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_named_and_kept(small, capsys):
    train("--epochs 1 --out here")
    file = small / "here" / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:1000])
    assert train("--resume here --epochs 2") == 1
    assert "checkpoint.pt (1000 bytes) is truncated" in capsys.readouterr().err
    assert file.stat().st_size == 1000


@pytest.mark.parametrize(
    "line",
    [
        *("--epochs 0", "--epochs 1.5", "--batch-size -3", "--lr 0", "--lr nan", "--lr fast"),
        *("--momentum 1", "--dropout -0.1", "--workers -1", "--seed x", "--data cifar"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_loaded(small, capsys, line):
    with pytest.raises(SystemExit) as stopped:
        train(line)
    assert stopped.value.code == 2
    assert f"argument {line.split()[0]}: " in capsys.readouterr().err


def test_every_data_set_has_its_defaults():
    for data, epochs, lr in (("digits", 20, 0.02), ("mnist", 10, 0.01)):
        folder, settings, resume = plan({"data": data})
        assert settings == Settings(data=data, epochs=epochs, lr=lr)
        assert folder.parent.name == "runs"
        assert folder.name.startswith(f"{data}-")
        assert not resume


def test_digits_and_mnist_are_loaded_by_name():
    training, test = train_run.load_data("digits")
    assert training.tensors[0].shape[1:] == test.tensors[0].shape[1:] == (1, 28, 28)
