"""nbval, run as the test command runs it, does fail when an output is not what the code gives."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook, new_output

from dlkit.lab.text import METADATA, ROOT

HERE = Path(__file__).parent


def nbval(notebook, folder):
    """Write the notebook, validate it in a fresh pytest, return (exit status, output)."""
    path = folder / "canary.ipynb"
    nbformat.write(notebook, path)
    command = [sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider"]
    command += ["-p", "tests.notebooks.nbval_plugin", "--rootdir", str(folder), "--nbval"]
    command += ["--nbval-sanitize-with", str(HERE / "sanitize.cfg"), str(path)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        command, cwd=HERE.parents[1], env=environment, capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


def with_output(source, *outputs, tags=()):
    cell = new_code_cell(source, execution_count=1, outputs=list(outputs))
    cell.metadata["tags"] = list(tags)
    return new_notebook(cells=[cell], metadata=METADATA)


def beginning_of_a_real_notebook():
    """The first notebook up to its first cell that prints."""
    notebook = nbformat.read(min(ROOT.glob("[0-9][0-9]_*.ipynb")), as_version=4)
    prints = [
        position
        for position, cell in enumerate(notebook.cells)
        if any(output.get("name") == "stdout" for output in cell.get("outputs", ()))
    ]
    notebook.cells = notebook.cells[: prints[0] + 1]
    return notebook


def test_a_real_notebook_passes_and_fails_once_one_output_is_changed(tmp_path):
    notebook = beginning_of_a_real_notebook()
    status, report = nbval(notebook, tmp_path)
    assert status == 0, report
    notebook.cells[-1].outputs[0].text += "one line too many\n"
    status, report = nbval(notebook, tmp_path)
    assert status == 1, report
    assert "Cell outputs differ" in report


def test_a_cell_that_no_longer_raises_fails(tmp_path):
    error = new_output("error", ename="ZeroDivisionError", evalue="division by zero", traceback=[])
    raising = with_output("1 / 0", error, tags=["raises-exception"])
    status, report = nbval(raising, tmp_path)
    assert status == 0, report
    raising.cells[0].source = "1 / 1"
    status, report = nbval(raising, tmp_path)
    assert status == 1, report


def test_addresses_are_sanitized_and_numbers_are_not(tmp_path):
    shown = new_output("stream", name="stdout", text="0x7f00aa00 3\n")
    status, report = nbval(with_output("print(hex(0x7f11bb11), 3)", shown), tmp_path)
    assert status == 0, report
    status, report = nbval(with_output("print(hex(0x7f11bb11), 4)", shown), tmp_path)
    assert status == 1, report


CHILD = "done = subprocess.run([sys.executable, '-c', 'print(\"child\")'])"


def test_what_a_child_process_prints_reaches_the_cell(tmp_path):
    source = "import subprocess, sys\n"
    shown = new_output("stream", name="stdout", text="child\n")
    status, report = nbval(with_output(source + CHILD, shown), tmp_path)
    assert status == 0, report
