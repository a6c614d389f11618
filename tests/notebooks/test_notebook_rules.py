"""The committed notebooks keep the rules, agree with their text, and the rules do notice."""

import base64
import copy
import re
import tomllib
from pathlib import Path

import nbformat
import notebook_rules as rules
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from dlkit.lab.text import ROOT, disagreement, pairs

HERE = Path(__file__).parent
PAIRS = pairs(ROOT)
REASONS = tomllib.loads((HERE / "ignored_outputs.toml").read_text())
by_name = pytest.mark.parametrize(("text", "target"), PAIRS, ids=[t.stem for t, _ in PAIRS])


@by_name
def test_text_and_notebook_agree(text, target):
    assert disagreement(text, target) == "", "run `make notebooks`"


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
@by_name
def test_notebook_keeps_rule(text, target, rule):
    assert list(rule(nbformat.read(target, as_version=4))) == []


@by_name
def test_every_ignored_output_has_a_reason(text, target):
    notebook = nbformat.read(target, as_version=4)
    reasons = REASONS.get(target.stem, {})
    assert list(rules.ignored_cells_have_a_reason(notebook, reasons)) == []


def test_reasons_name_only_notebooks_that_exist():
    assert set(REASONS) <= {target.stem for _, target in PAIRS}


def test_the_first_notebook_lists_the_whole_course():
    numbers = [target.stem[:2] for _, target in PAIRS]
    assert numbers == [f"{number:02}" for number in range(17)]
    closing = nbformat.read(PAIRS[0][1], as_version=4).cells[-1].source
    _, _, listing = closing.partition("The whole course")
    assert re.findall(r"\((\d\d_\w+)\.ipynb\)", listing) == [t.stem for _, t in PAIRS[1:]]


def executed(source, *outputs, count=1, tags=()):
    cell = new_code_cell(source, execution_count=count, outputs=list(outputs))
    if tags:
        cell.metadata["tags"] = list(tags)
    return cell


def printed(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def picture(caption, size=5000):
    data = {"image/png": base64.b64encode(bytes(size)).decode(), "text/plain": caption}
    return new_output("display_data", data=data)


ERROR = new_output("error", ename="ValueError", evalue="no", traceback=[])
IGNORED = f"# {rules.MARKER}\n"
BAD = {
    "stripped counts": (rules.counts_are_complete, [executed("1", count=None)]),
    "cells run out of order": (
        rules.counts_are_complete,
        [executed("1", count=2), executed("2", count=1)],
    ),
    "a tagged cell that does not raise": (
        rules.only_marked_cells_raise_and_they_do,
        [executed("1", tags=["raises-exception"])],
    ),
    "an untagged cell that raises": (
        rules.only_marked_cells_raise_and_they_do,
        [executed("1", ERROR)],
    ),
    "a raising cell that is not compared": (
        rules.only_marked_cells_raise_and_they_do,
        [executed(IGNORED + "1", ERROR, tags=["raises-exception"])],
    ),
    "a warning": (rules.nothing_goes_to_stderr, [executed("1", printed("oh", "stderr"))]),
    "a marker behind code": (
        rules.nothing_else_is_unchecked,
        [executed("f()  # NBVAL_IGNORE_OUTPUT")],
    ),
    "a skipped cell": (rules.nothing_else_is_unchecked, [executed("# NBVAL_SKIP\nf()")]),
    "a hiding tag": (rules.nothing_else_is_unchecked, [executed("f()", tags=["nbval-skip"])]),
    "clear_output": (rules.nothing_else_is_unchecked, [executed("clear_output()")]),
    "no invariant after a varying cell": (
        rules.an_invariant_follows_what_varies,
        [executed(IGNORED + "rate()"), executed("x = 1", count=2)],
    ),
    "a varying cell at the end": (
        rules.an_invariant_follows_what_varies,
        [executed(IGNORED + "rate()")],
    ),
    "a blank picture": (
        rules.pictures_are_drawn_and_described,
        [executed("f()", picture("<Picture: 3 bars>", 500))],
    ),
    "a picture without numbers": (
        rules.pictures_are_drawn_and_described,
        [executed("f()", picture("<Figure size 3x4>"))],
    ),
    "sixteen lines of code": (rules.size_is_right, [executed("x = 1\n" * 16)]),
    "a section without a prediction": (
        rules.every_section_takes_all_five_steps,
        [new_markdown_cell("## Batches\n**Investigate** **Modify** **Make**"), executed("1")],
    ),
    "no questions": (
        rules.opening_and_closing_are_there,
        [new_markdown_cell(f"## {name}") for name in rules.CLOSING],
    ),
    "a dead link": (rules.links_lead_somewhere, [new_markdown_cell("[next](99_none.ipynb)")]),
    "a path of the author's": (
        rules.nothing_tells_whose_machine_it_was,
        [executed("1", printed("/home/ann/data"))],
    ),
}


@pytest.mark.parametrize(("rule", "cells"), BAD.values(), ids=BAD)
def test_rule_notices(rule, cells):
    assert list(rule(new_notebook(cells=cells)))


def test_an_ignored_cell_without_reason_and_a_reason_without_cell_are_noticed():
    notebook = new_notebook(cells=[executed(IGNORED + "rate()")])
    assert not list(rules.ignored_cells_have_a_reason(notebook, {"rate()": "a clock"}))
    assert len(list(rules.ignored_cells_have_a_reason(notebook, {"speed()": "a clock"}))) == 2


@pytest.mark.skipif(not PAIRS, reason="no notebooks")
def test_stripping_the_counts_of_a_real_notebook_is_noticed():
    notebook = nbformat.read(PAIRS[0][1], as_version=4)
    stripped = copy.deepcopy(notebook)
    for cell in rules.code_cells(stripped):
        cell.execution_count = None
    assert not list(rules.counts_are_complete(notebook))
    assert list(rules.counts_are_complete(stripped))
