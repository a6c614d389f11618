"""The solved editions: where a learner's edition asks for an answer, every check passes.

Everything else they print is what the learner's edition prints, as nbval compares it.
"""

import re

import nbformat
import pytest

from dlkit.lab.exercises import find
from dlkit.lab.exercises.editions import main, stub_of
from dlkit.lab.text import ROOT, read_text
from tests.notebooks.outputs import differences

# What a learner finds unsolved in each notebook; the contract of the course, so it stands here.
TASKS = {
    "12_interview_questions": ["pad_and_mask"],
    "13_coding_exercises": ["index_batches", "fisher_yates", "parallel_map", "data_loader"],
    "15_bug_hunt": ["labels_apart", "uneven_accuracy", "fixed_rank"],
}


def tasks(notebook):
    found = [stub_of(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    return [exercise.name for exercise in found if exercise is not None]


def solved(notebook):
    """The names of which some cell shows that the answer is right; wrong ones may stand beside."""
    shown = "\n".join(
        str(output.get("data", {}).get("text/plain", ""))
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    return set(re.findall(r"^(\w+): right\.", shown, re.MULTILINE))


def test_a_learners_edition_starts_unsolved():
    found = {path.stem: tasks(read_text(path)) for path in sorted((ROOT / "text").glob("*.py"))}
    assert {name: there for name, there in found.items() if there} == TASKS
    for name, there in TASKS.items():
        assert solved(nbformat.read(ROOT / f"{name}.ipynb", as_version=4)).isdisjoint(there)


def checks(notebook, answers):
    """The numbers of the code cells that check one of the answers."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    calls = [f".check({find(name).reference.__name__})" for name in answers]
    return [number for number, source in enumerate(code) if any(call in source for call in calls)]


@pytest.mark.parametrize("name", TASKS)
def test_the_solved_edition_passes_every_check_and_is_otherwise_the_same(name, request, tmp_path):
    made = tmp_path / f"{name}.ipynb"
    assert main([str(ROOT / "text" / f"{name}.py"), str(made)]) == 0
    notebook = nbformat.read(made, as_version=4)
    assert solved(notebook) >= set(TASKS[name])
    assert tasks(notebook) == []
    found = differences(request.session, ROOT / f"{name}.ipynb", notebook)
    assert [number for number, _ in found] == checks(notebook, TASKS[name]), found
