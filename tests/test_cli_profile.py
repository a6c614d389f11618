"""`dlkit profile` on loaders written as users write them, and on what it cannot use."""

import json
import re
import subprocess
import sys

import pytest

from dlkit.cli import main

LOADERS = {
    "pictures": ("RandomResizedCrop", "ColorJitter", "ImageFolder"),
    "texts": ("Reviews", "samples/s"),
    "numbers": ("Windows", "worker 1"),
}


@pytest.fixture(autouse=True)
def import_path(monkeypatch, project):
    monkeypatch.setattr(sys, "path", [str(project), *sys.path])
    monkeypatch.setenv("COLUMNS", "160")


@pytest.mark.parametrize("name", LOADERS)
def test_a_users_loader_is_profiled_by_its_name(name, capsys, tmp_path):
    page, trace = tmp_path / "report.html", tmp_path / "trace.json"
    target = f"benchmarks.user_loaders.{name}:make_loader"
    arguments = ["profile", target, "--steps", "6", "--html", str(page), "--trace", str(trace)]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    for word in LOADERS[name]:
        assert word in said
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 5  # no step was given, so no waits for steps
    assert not re.search(r"compute \d", said)  # nor anything computed
    assert not re.search(r'(src|href)="(?!data:)', text)  # nothing is loaded from elsewhere
    assert {event["ph"] for event in json.loads(trace.read_text())["traceEvents"]} == {"M", "X"}


SCRIPT = """
import torch
from torch.utils.data import DataLoader, TensorDataset
class Named(TensorDataset):
    pass
data = Named(torch.zeros(64, 2))
{loader}
def step(batch): print("stepping") if len(batch) > 1e9 else None
if __name__ == "__main__":
    raise SystemExit("this must not run")
"""


@pytest.mark.parametrize(
    "loader",
    [
        "train = DataLoader(data, batch_size=8)",
        "def make(bigger: bool = False) -> DataLoader: return DataLoader(data, batch_size=8)",
    ],
)
def test_a_script_is_profiled_by_its_path(loader, capsys, tmp_path):
    script = tmp_path / "train_it.py"
    script.write_text(SCRIPT.format(loader=loader))
    assert main(["profile", str(script), "--steps", "5", "--step", "step"]) == 0
    assert "Named" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("nonsense", "must be module:name"),
        ("no_such_module:x", "No module named"),
        ("json:dumpz", "json has no dumpz"),
        ("json:decoder", "must give a DataLoader"),
        ("missing.py", "no script missing.py"),
    ],
)
def test_what_cannot_be_profiled_is_said(target, reason, capsys):
    assert main(["profile", target]) == 1
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--html", "--trace"])
def test_a_full_disk_is_said_and_takes_nothing_of_the_findings(option, capsys, tmp_path):
    script = tmp_path / "small.py"
    script.write_text(SCRIPT.format(loader="train = DataLoader(data, batch_size=8)"))
    assert main(["profile", str(script), "--steps", "3", option, "/dev/full"]) == 1
    said = capsys.readouterr()
    assert "No space left on device" in said.err
    assert "samples/s" in said.out
    assert "written to" not in said.out


def test_names_of_a_hostile_dataset_are_escaped_in_the_page(tmp_path):
    script = tmp_path / "hostile.py"
    script.write_text(
        "from torch.utils.data import DataLoader, Dataset\n"
        "class Plain(Dataset):\n"
        "    def __len__(self): return 32\n"
        "    def __getitem__(self, index): return index\n"
        'Plain.__name__ = "<script>alert(1)</script>"\n'
        "loader = DataLoader(Plain(), batch_size=4)\n"
    )
    page = tmp_path / "page.html"
    assert main(["profile", str(script), "--steps", "3", "--html", str(page)]) == 0
    assert "<script>" not in page.read_text()
    assert "&lt;script&gt;" in page.read_text()


def test_help_names_the_options(project):
    command = [sys.executable, "-m", "dlkit", "profile", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, cwd=project, check=True).stdout
    assert all(option in said for option in ("--html", "--trace", "--steps", "--step"))
