"""The teacher's side: nothing leaks, and one bad submission never stops the others."""

import csv
import json
import subprocess
import sys

import nbformat
import pytest

from dlkit.cli import main
from dlkit.lab.cards import load
from dlkit.lab.exercises import find, names
from dlkit.lab.exercises.editions import leaks, solve
from dlkit.lab.exercises.parsons import names as parsons_names


def test_a_learners_kernel_does_not_wait_for_what_reads_notebooks():
    # nbformat compiles a grammar whenever it is imported, which takes longer than PyTorch.
    code = "import sys, dlkit.lab.exercises.submissions; sys.exit('nbformat' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_list_counts_what_there_is(capsys):
    assert main(["exercises", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    kinds = {
        "coding": names(),
        "bug-hunt": names("hunts"),
        "card": list(load()),
        "parsons": parsons_names(),
    }
    assert {entry["kind"] for entry in listed} == set(kinds)
    for kind, known in kinds.items():
        entries = [entry for entry in listed if entry["kind"] == kind]
        assert [entry["name"] for entry in entries] == known
        assert all(entry["topic"] and entry["level"] in (1, 2, 3) for entry in entries)
    least = {"coding": 50, "bug-hunt": 24, "card": 120, "parsons": 8}
    assert all(len(kinds[kind]) >= count for kind, count in least.items())
    assert main(["exercises", "list"]) == 0
    counts = ", ".join(f"{len(known)} {kind}" for kind, known in sorted(kinds.items()))
    assert capsys.readouterr().out.splitlines()[-1] == counts


def test_a_students_edition_has_every_stub_and_no_line_of_a_solution(tmp_path, capsys):
    assert main(["exercises", "export", "--students", str(tmp_path)]) == 0
    text = "\n".join(
        cell.source
        for path in sorted(tmp_path.glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
    )
    for name in names():
        exercise = find(name)
        assert exercise.stub.strip() in text
        assert f'exercise("{name}").check({exercise.reference.__name__})' in text
        assert leaks(exercise, text) == []
        assert leaks(exercise, exercise.solution), "the leak test itself would find nothing"


def test_every_stub_says_only_that_it_is_not_written():
    for name in names():
        stub = find(name).stub
        assert "raise NotImplementedError" in stub
        compile(stub, name, "exec")


def test_a_solved_edition_has_solutions_in_place_of_stubs(tmp_path):
    assert main(["exercises", "export", "--solutions", str(tmp_path)]) == 0
    solved = nbformat.read(tmp_path / "01_batching.ipynb", as_version=4)
    assert find("index_batches").solution.strip() in [cell.source for cell in solved.cells]
    main(["exercises", "export", "--students", str(tmp_path / "students")])
    students = nbformat.read(tmp_path / "students" / "01_batching.ipynb", as_version=4)
    assert solve(students) == len(names("batching"))
    assert [cell.source for cell in students.cells] == [cell.source for cell in solved.cells]


@pytest.fixture
def submissions(tmp_path):
    folder = tmp_path / "in"
    main(["exercises", "export", "--students", str(tmp_path / "empty")])
    for student in ("anna", "bert", "carl", "dora"):
        (folder / student).mkdir(parents=True)
    good = find("index_batches").solution
    (folder / "anna" / "answers.py").write_text(good)
    (folder / "bert" / "answers.py").write_text(
        good + "\n\nimport os\ndef count_batches(n, batch_size, drop_last):\n    os._exit(1)\n"
    )
    (folder / "carl" / "broken.ipynb").write_text("{not json")
    (folder / "carl" / "endless.py").write_text(
        "while True:\n    pass\ndef index_batches(n, b, d):\n    return []\n"
    )
    notebook = nbformat.read(tmp_path / "empty" / "01_batching.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.metadata.get("dlkit", {}).get("exercise") == "index_batches":
            cell.source = "def index_batches(n, b, d):\n    return helper(n, b, d)"
    helper = (
        "%matplotlib inline\ndef helper(n, b, d):\n"
        "    return [[*range(i, min(i + b, n))] for i in range(0, n, b)]"
    )
    notebook.cells.insert(1, nbformat.v4.new_code_cell(helper))
    notebook.cells.insert(2, nbformat.v4.new_code_cell("import a_module_that_is_not_there"))
    nbformat.write(notebook, folder / "dora" / "batching.ipynb")
    return folder


def test_a_folder_is_graded_whatever_is_in_it(submissions, tmp_path, capsys):
    table = tmp_path / "marks.csv"
    assert main(["exercises", "grade", str(submissions), "--csv", str(table)]) == 0
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    marks = {(row["submission"], row["exercise"]): (row["state"], row["mistake"]) for row in rows}
    assert marks["anna/answers.py", "index_batches"] == ("passed", "")
    assert marks["bert/answers.py", "index_batches"] == ("passed", "")
    assert marks["bert/answers.py", "count_batches"] == ("failed", "died")
    assert marks["carl/broken.ipynb", ""][0] == "unreadable"
    assert marks["carl/endless.py", "index_batches"] == ("failed", "timeout")
    assert marks["dora/batching.ipynb", "index_batches"] == ("failed", "ignores_drop_last")
    assert marks["dora/batching.ipynb", "count_batches"][0] == "untouched"


def test_a_folder_that_is_not_there_is_an_error(tmp_path, capsys):
    assert main(["exercises", "grade", str(tmp_path / "x"), "--csv", str(tmp_path / "t")]) == 1
    assert "folder must be a folder of submissions" in capsys.readouterr().err
