"""Mock interviews played to their end in JupyterLab in Chromium, by keyboard alone and by mouse.

Pictures of a question of each kind and of the report are left in build/screenshots.
"""

import jupyterlab_driver as lab
import pytest

MOST_QUESTIONS = 12
KINDS = ("follow-up", "bug-hunt", "coding", "card")
INTERVIEW = """
import tempfile
from dlkit.lab import MockInterview, Progress
MockInterview(Progress(tempfile.mkdtemp()), seed=1)
"""

pytestmark = lab.MARKS


class Played(lab.Widget):
    """The interview's cell, and what a learner does in it with the keyboard."""

    def act(self, label):
        """Go to a button with the tab key, press space, and wait for what comes of it."""
        self.tab_to(self.button(label))
        self.page.keyboard.press("Space")
        self.settle()

    def begin(self):
        """Give the first control the focus, from which the tab key goes on."""
        self.cell.locator(".jp-OutputArea-output button, textarea").first.focus()

    def kind(self):
        text = self.cell.inner_text()
        return next(kind for kind in KINDS if f", {kind}, " in text)

    def write(self, words):
        self.begin()
        self.page.keyboard.type(words)

    def choose(self):
        self.begin()
        self.page.keyboard.press("Space")

    def answer(self):
        """Give some answer to the question, whatever it is, so that the next one is asked."""
        kind = self.kind()
        if kind in ("coding", "bug-hunt"):
            self.begin()
            self.act("Run")
            self.begin()
            self.act("Next question")
        elif self.button("Show the answer").count():
            self.write("in my own words")
            self.act("Show the answer")
            self.begin()
            self.act("good")
        elif self.cell.locator(".dlkit-choice").count():
            self.choose()
            self.act("Answer")
        else:
            self.write("3")
            self.act("Answer")
        return kind


class Clicked(Played):
    """The same with the mouse; only words are typed."""

    def act(self, label):
        self.button(label).click()
        self.settle()

    def begin(self):
        """A mouse begins anywhere."""

    def write(self, words):
        self.cell.locator("textarea, input[type=text]").first.click()
        self.page.keyboard.type(words)

    def choose(self):
        self.cell.locator(".dlkit-choice button").first.click()


@pytest.fixture(scope="module")
def notebook(opened_notebook):
    with opened_notebook("interview", [INTERVIEW, INTERVIEW], height=1400) as opened:
        opened.run_all()
        yield opened


def play(interview, kinds, look=None):
    """Begin, pause, go on, answer questions until all these kinds have come, and end it."""
    interview.begin()
    interview.act("Begin")
    first = interview.cell.locator("b").first.inner_text()
    assert first.endswith("left")
    interview.page.wait_for_function(
        "([cell, before]) => cell.querySelector('b').innerText !== before",
        arg=[interview.cell.element_handle(), first],
    )
    interview.begin()
    interview.act("Pause")
    interview.begin()
    interview.act("Go on")
    asked = []
    while len(asked) < MOST_QUESTIONS and not kinds <= set(asked):
        if look and interview.kind() not in asked:
            look(interview.kind())
        asked.append(interview.answer())
    interview.begin()
    interview.act("End the interview")
    text = interview.cell.inner_text()
    assert "To revise" in text
    assert "Questions and answers" in text
    assert f"{len(asked)}. " in text
    return set(asked)


def test_an_interview_is_played_to_its_end_by_keyboard(notebook):
    cells = notebook.page.locator(".jp-Cell").count()
    interview = Played(notebook.page.locator(".jp-CodeCell").first)
    interview.judge("MockInterview_start")
    asked = play(interview, set(KINDS), lambda kind: interview.judge(f"MockInterview_{kind}"))
    assert asked >= {"card", "coding", "bug-hunt"}
    interview.judge("MockInterview_report")
    assert notebook.page.locator(".jp-Cell").count() == cells


def test_an_interview_is_played_to_its_end_by_mouse(notebook):
    interview = Clicked(notebook.page.locator(".jp-CodeCell").nth(1))
    assert play(interview, {"card", "coding"}) >= {"card", "coding"}
