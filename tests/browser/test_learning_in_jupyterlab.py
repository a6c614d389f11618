"""Exercises, cards and a Parsons problem, answered in JupyterLab in Chromium.

A picture of each is left in build/screenshots.
"""

import jupyterlab_driver as lab
import pytest

from dlkit.lab.cards import load
from dlkit.lab.exercises import find as find_exercise
from dlkit.lab.exercises.parsons import find

CARDS = ("drop-last", "drop-last")
EXERCISE, PROBLEM = find_exercise("index_batches"), find("reorder_buffer")
SETUP = """
import tempfile
from dlkit.lab import *
from dlkit.lab.cards import load
scratch = Progress(tempfile.mkdtemp())
"""
CHECK = f'exercise("{EXERCISE.name}", progress=scratch)'
WRONG = f"{CHECK}.check(lambda length, batch_size, drop_last: [])"
CELLS = {
    "setup": SETUP,
    "task": CHECK,
    "wrong": WRONG,
    "right": f"{EXERCISE.solution}\n{CHECK}.check({EXERCISE.reference.__name__})",
    "cards": f"CardsWidget(Quiz([load()[name] for name in {CARDS}]))",
    "parsons": f'ParsonsProblem("{PROBLEM.name}", scratch)',
}

pytestmark = lab.MARKS


@pytest.mark.parametrize("name", list(CELLS)[1:])
def test_what_is_shown_is_accessible(widget, name):
    widget.judge(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [("wrong", f"{EXERCISE.name}: not yet"), ("right", f"{EXERCISE.name}: right.")],
)
def test_an_exercise_says_whether_an_answer_is_right(widget, said, name):
    assert said in widget.cell.locator(".jp-Cell-outputArea").inner_text()


@pytest.mark.parametrize("name", ["cards"])
def test_a_card_is_answered_by_keyboard_and_the_next_by_mouse(page, widget, name):
    cells = page.page.locator(".jp-Cell").count()
    card = load()[CARDS[0]]
    choices = widget.cell.locator(".dlkit-choice button")
    right = choices.nth(card.right)
    choices.first.focus()
    widget.tab_to(right)
    widget.page.keyboard.press("Space")
    widget.tab_to(widget.button("Answer"))
    widget.page.keyboard.press("Space")
    widget.wait_for("; right$")
    widget.judge("card_right")
    widget.tab_to(widget.button("Next card"))
    widget.page.keyboard.press("Space")
    widget.wait_for("card 2 of 2.*; asked$")
    choices.nth((card.right + 1) % len(card.choices)).click()
    widget.button("Answer").click()
    widget.wait_for("; wrong$")
    widget.button("Next card").click()
    widget.wait_for("1 of 2 right so far")
    assert page.page.locator(".jp-Cell").count() == cells, "the notebook took none of the keys"


class Parsons(lab.Widget):
    """A Parsons problem, and what a learner does in it, by keyboard or by mouse."""

    def __init__(self, cell, by_mouse):
        super().__init__(cell)
        self.by_mouse = by_mouse
        self.status = cell.get_by_role("status")

    def list(self, place):
        """The lines of a list, and which is chosen."""
        return (
            self.cell.locator("select")
            .nth(place)
            .evaluate(
                "list => [[...list.options].map(o => o.text.replaceAll('\\u00a0', ' ')),"
                " list.selectedIndex]"
            )
        )

    def do(self, label):
        """Press a button, and wait until something has come of it."""
        before = self.cell.evaluate(self.STATE)
        if self.by_mouse:
            self.button(label).click()
        else:
            self.press(self.button(label), "Space")
        self.page.wait_for_function(
            f"([cell, before]) => ({self.STATE})(cell) !== before",
            arg=[self.cell.element_handle(), before],
        )

    STATE = """cell => JSON.stringify([
      [...cell.querySelectorAll('select')].map(list => [list.innerText, list.selectedIndex]),
      cell.querySelector('[role=status]').innerText])"""

    def add(self, line):
        lines, here = self.list(0)
        for _ in range((lines.index(line) - here) % len(lines)):
            self.do("Next line")
        self.do("Add")


@pytest.mark.parametrize("name", ["parsons"])
@pytest.mark.parametrize("by_mouse", [False, True])
def test_a_parsons_problem_is_solved(page, widget, name, by_mouse):
    parsons = Parsons(widget.cell, by_mouse)
    while parsons.list(1)[0]:
        parsons.do("Take back")
    for line in (*PROBLEM.lines[:-1], PROBLEM.distractor):
        parsons.add(line)
    parsons.do("Check")
    assert PROBLEM.reason in parsons.status.inner_text()
    parsons.do("Take back")
    parsons.add(PROBLEM.lines[-1])
    parsons.do("Up")
    *most, before, last = PROBLEM.lines
    assert parsons.list(1)[0] == [*most, last, before]
    parsons.do("Down")
    parsons.do("Check")
    assert parsons.status.inner_text() == f"{PROBLEM.title}: right."


@pytest.mark.parametrize("name", ["parsons"])
def test_the_tab_key_leads_through_a_parsons_problem(widget, name):
    widget.button("Next line").focus()
    reached = []
    for _ in range(6):
        widget.page.keyboard.press("Tab")
        reached.append(widget.page.evaluate("() => document.activeElement.innerText"))
    assert reached == ["Add", "Take back", "Next of yours", "Up", "Down", "Check"]
