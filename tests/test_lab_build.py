import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dlkit.lab import build as builder
from dlkit.lab.exercises import Progress
from dlkit.lab.text import disagreement, keys, name_cells, normalise, pairs, read_text

SOURCE = """# %% [markdown]
# # Title

# %%
x = 20 + 1
print("x is", x)

# %% tags=["raises-exception"]
1 / 0

# %%
x * 2
"""


@pytest.fixture
def course(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "01_one.py").write_text(SOURCE)
    return tmp_path


def run(course, *arguments):
    return builder.main(["--root", str(course), *arguments])


def built(course):
    return nbformat.read(course / "01_one.ipynb", as_version=4)


def test_a_build_executes_every_cell_and_twice_gives_the_same_bytes(course, capsys):
    assert run(course) == 0
    first = (course / "01_one.ipynb").read_bytes()
    code = [cell for cell in built(course).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3]
    assert code[0].outputs[0].text == "x is 21\n"
    assert code[1].outputs[0].ename == "ZeroDivisionError"
    assert code[2].outputs[0].data["text/plain"] == "42"
    assert run(course, "01") == 0
    assert "unchanged" in capsys.readouterr().out
    assert run(course, "--force") == 0
    assert (course / "01_one.ipynb").read_bytes() == first


def test_a_build_neither_sees_nor_changes_what_a_learner_has_solved(course):
    Progress().record("index_batches", "solved")
    text = "from dlkit.lab import Progress\nprint(Progress().solved())\n"
    record = "Progress().record('fisher_yates', 'solved')\nprint(Progress().solved())\n"
    (course / "text" / "01_one.py").write_text(f"# %%\n{text}\n# %%\n{record}")
    assert run(course) == 0
    assert [cell.outputs[0].text for cell in built(course).cells] == [
        "set()\n",
        "{'fisher_yates'}\n",
    ]
    assert Progress().solved() == {"index_batches"}


def test_a_failing_cell_keeps_the_old_notebook_and_is_named(course, capsys):
    assert run(course) == 0
    before = (course / "01_one.ipynb").read_bytes()
    text = course / "text" / "01_one.py"
    text.write_text(SOURCE + "\n# %%\nundefined_name\n")
    assert run(course, "--check") == 1
    assert run(course) == 1
    report = capsys.readouterr().err
    assert "01_one.py: cell 4 (undefined_name) failed" in report
    assert "NameError" in report
    assert (course / "01_one.ipynb").read_bytes() == before
    assert sorted(path.name for path in course.iterdir()) == ["01_one.ipynb", "text"]


@pytest.mark.parametrize(
    ("cell", "complaint"),
    [
        ('# %% tags=["raises-exception"]\n1 / 1\n', "tagged raises-exception and raised nothing"),
        ("# %%\nimport sys\nprint('oh', file=sys.stderr)\n", "wrote to stderr:\noh"),
        ("# %%\nimport os\nos._exit(3)\n", "failed: Kernel died"),
    ],
)
def test_a_cell_that_could_not_be_checked_later_stops_the_build(course, capsys, cell, complaint):
    (course / "text" / "01_one.py").write_text(cell)
    assert run(course) == 1
    assert complaint in capsys.readouterr().err
    assert not (course / "01_one.ipynb").exists()


def test_check_names_the_first_difference(course):
    text, target = pairs(course)[0]
    assert disagreement(text, target) == "01_one.ipynb is missing"
    notebook = read_text(text)
    nbformat.write(notebook, target)
    assert disagreement(text, target) == ""
    notebook.cells[1].source += "\n"
    nbformat.write(notebook, target)
    assert disagreement(text, target) == ""
    notebook.cells[2].metadata.tags = []
    nbformat.write(notebook, target)
    assert disagreement(text, target).startswith("cell 2: ")


def test_an_unknown_notebook_is_refused(course, capsys):
    with pytest.raises(SystemExit):
        run(course, "77")
    assert "no notebook begins with '77'" in capsys.readouterr().err


def named(*sources):
    return new_notebook(cells=[new_code_cell(source) for source in sources])


def test_cells_keep_their_ids_when_others_are_edited_inserted_or_removed():
    old = named("a", "b", "c", "d")
    name_cells(old, None)
    ids = [cell.id for cell in old.cells]
    new = named("a", "B", "c", "x", "d")
    name_cells(new, old)
    fresh = [cell.id for cell in new.cells]
    assert [fresh[0], fresh[1], fresh[2], fresh[4]] == ids
    assert fresh[3] not in ids
    shorter = named("a", "d")
    name_cells(shorter, old)
    assert [cell.id for cell in shorter.cells] == [ids[0], ids[3]]


def test_equal_cells_get_different_ids():
    notebook = named("x", "x", "x")
    name_cells(notebook, None)
    assert len({cell.id for cell in notebook.cells}) == 3
    assert keys(notebook) == [("code", "x", ())] * 3


def test_widget_ids_do_not_depend_on_the_draw():
    def with_widget(model):
        state = {model: {"state": {"layout": "IPY_MODEL_" + model[::-1]}}}
        notebook = new_notebook(cells=[new_markdown_cell("")])
        notebook.metadata["widgets"] = {"state": state}
        normalise(notebook, "01")
        notebook.cells = []
        return notebook

    assert with_widget("0" * 31 + "a") == with_widget("b" * 31 + "c")
