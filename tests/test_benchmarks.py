"""The measuring itself: ratios round by round, and a benchmark that runs."""

import json
import subprocess
import sys

import pytest

from benchmarks import measure


def test_a_ratio_is_the_median_over_rounds_each_against_its_own_baseline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now)
    machine_speed = iter([1, 1] + [1, 1] + [1, 1] * 1 + [1, 1, 4, 4, 2, 2, 1, 1, 3, 3])

    def work(seconds: float) -> int:
        nonlocal now
        now += seconds * next(machine_speed, 1)
        return 100

    rows = measure.compare(
        "w",
        {"slow": lambda: work(2.0), "fast": lambda: work(0.5)},
        rounds=5,
        bars={"fast": 3.0},
        seconds=0.1,
    )
    assert [row.candidate for row in rows] == ["slow", "fast"]
    assert rows[0].ratio == rows[0].lowest == rows[0].highest == 1.0
    assert rows[1].ratio == pytest.approx(4.0)
    assert rows[1].reached is True
    assert rows[0].reached is None


def test_a_bar_that_is_missed_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [measure.Row("w", "ours", 10.0, 0.9, 0.8, 1.1, bar=1.0)]
    measure.report(rows, measure.machine(), None)
    assert "MISSED" in capsys.readouterr().out


def test_the_loader_benchmark_runs_and_writes_its_figures(tmp_path, project) -> None:
    target = tmp_path / "figures.json"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.loader", "--only", "stream", "--rounds", "1",
         "--json", str(target)],
        cwd=project,
        check=True,
        capture_output=True,
    )  # fmt: skip
    figures = json.loads(target.read_text())
    assert {row["candidate"] for row in figures["rows"]} == {
        "torch.utils.data.DataLoader",
        "dlkit.DataLoader",
    }
    assert all(row["samples_per_second"] > 0 for row in figures["rows"])
    assert figures["machine"]["cores"] >= 1
