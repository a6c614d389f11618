"""The benchmark of ranks runs, and its table has what its text promises."""

import json
import subprocess
import sys


def test_the_benchmark_of_ranks_runs_and_says_where_a_step_goes(tmp_path, project):
    target = tmp_path / "ddp.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.ddp", "--quick", "--json", str(target)],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    rows = json.loads(target.read_text())["rows"]
    assert [row["candidate"] for row in rows[:2]] == ["one process", "2 ranks over gloo"]
    assert rows[1]["note"] == f"efficiency {rows[1]['ratio'] / 2:.0%}"
    assert [row["candidate"].removeprefix("of it: ") for row in rows[2:]] == [
        "a step of 2 ranks",
        "half of a step of one process",
        "an all-reduce of the gradients",
        "the exchange of sample counts",
    ]
    assert all(row["median"] > 0 for row in rows)
