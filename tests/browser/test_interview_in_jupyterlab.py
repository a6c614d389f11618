"""A mock interview played to its end in JupyterLab in Chromium, by keyboard alone.

Pictures of a question of each kind and of the report are left in build/screenshots.
"""

import jupyterlab_driver as lab

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

    def answer(self):
        """Give some answer to the question, whatever it is, so that the next one is asked."""
        kind = self.kind()
        self.begin()
        if kind in ("coding", "bug-hunt"):
            self.act("Run")
            self.begin()
            self.act("Next question")
        elif self.button("Show the answer").count():
            self.page.keyboard.type("in my own words")
            self.act("Show the answer")
            self.begin()
            self.act("good")
        elif self.cell.locator(".dlkit-choice").count():
            self.page.keyboard.press("Space")
            self.act("Answer")
        else:
            self.page.keyboard.type("3")
            self.act("Answer")
        return kind


def test_an_interview_is_played_to_its_end_by_keyboard(opened_notebook):
    with opened_notebook("interview", [INTERVIEW], height=1400) as notebook:
        notebook.run_all()
        cells = notebook.page.locator(".jp-Cell").count()
        interview = Played(notebook.page.locator(".jp-CodeCell").first)
        interview.judge("MockInterview_start")
        interview.begin()
        interview.act("Begin")
        first = interview.cell.locator("b").first.inner_text()
        assert first.endswith("left")
        notebook.page.wait_for_function(
            "([cell, before]) => cell.querySelector('b').innerText !== before",
            arg=[interview.cell.element_handle(), first],
        )
        interview.begin()
        interview.act("Pause")
        interview.begin()
        interview.act("Go on")
        asked = []
        while len(asked) < MOST_QUESTIONS and set(asked) < set(KINDS):
            if interview.kind() not in asked:
                interview.judge(f"MockInterview_{interview.kind()}")
            asked.append(interview.answer())
        assert {"card", "coding", "bug-hunt"} <= set(asked)
        interview.begin()
        interview.act("End the interview")
        interview.judge("MockInterview_report")
        text = interview.cell.inner_text()
        assert "To revise" in text
        assert "Questions and answers" in text
        assert f"{len(asked)}. " in text
        assert notebook.page.locator(".jp-Cell").count() == cells
