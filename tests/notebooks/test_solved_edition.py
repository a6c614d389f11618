"""The solved edition of the coding exercises: every check passes, and nbval agrees."""

import os
import subprocess
import sys

import nbformat

from dlkit.lab.exercises.editions import main

LEARNERS = "notebooks/text/13_coding_exercises.py"


def test_the_solved_edition_passes_every_check_and_nbval(project, tmp_path, monkeypatch):
    monkeypatch.setenv("DLKIT_PROGRESS", str(tmp_path / "progress"))
    solved = tmp_path / "13_coding_exercises.ipynb"
    assert main([str(project / LEARNERS), str(solved)]) == 0
    cells = nbformat.read(solved, as_version=4).cells
    shown = "\n".join(
        str(output.get("data", {}).get("text/plain", ""))
        for cell in cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    for name in ("index_batches", "fisher_yates", "parallel_map", "data_loader"):
        assert f"{name}: right." in shown
    assert "nothing is written yet" not in shown
    assert "raise NotImplementedError" not in "\n".join(c.source for c in cells)
    options = ["-p", "tests.notebooks.nbval_plugin", "--nbval", "-q", "-p", "no:cacheprovider"]
    sanitize = ["--nbval-sanitize-with", str(project / "tests/notebooks/sanitize.cfg")]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *options,
            *sanitize,
            "--rootdir",
            str(project),
            str(solved),
        ],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
