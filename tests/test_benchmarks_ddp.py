"""The benchmark of ranks runs, and its table has what its text promises."""

import json
import subprocess
import sys

import pytest
import torch

from benchmarks import training


def test_the_benchmark_of_ranks_runs_and_says_what_limits_them(tmp_path, project):
    target = tmp_path / "ddp.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.ddp", "--quick", "--json", str(target)],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    rows = json.loads(target.read_text())["rows"]
    found = {row["candidate"]: row for row in rows}
    assert len(found) == len(rows)
    two, one = found["2 ranks over gloo"], found["one process, one thread"]
    efficiency = found["+ gradients exchanged = efficiency"]["median"]
    assert efficiency == pytest.approx(two["median"] / one["median"] / 2)
    parts = (
        "computing", "waiting for batches", "waiting for the other rank", "communication",
    )  # fmt: skip
    step = found["all of it"]["median"]
    assert sum(found[part]["median"] for part in parts) == pytest.approx(step)
    assert 0 < found["communication"]["ratio"] < 1


def test_the_benchmark_of_training_compares_loaders_copying_ahead_and_bf16():
    rows = training.compare(300, torch.device("cpu"), rounds=1)
    assert [row.candidate for row in rows] == [
        "torch.utils.data.DataLoader",
        "dlkit.DataLoader",
        "dlkit, batches copied ahead",
        "dlkit, ahead and bf16",
    ]
    assert rows[0].ratio == 1.0
    assert all(row.median > 0 and row.bar is None for row in rows)  # a bar only holds on a GPU
