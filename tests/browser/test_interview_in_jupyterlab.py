"""A mock interview played to its end in JupyterLab in Chromium, by keyboard alone.

Set DLKIT_SCREENSHOTS to a folder to get pictures of a question of each kind and of the report.
"""

import os
from pathlib import Path

import jupyterlab_driver as lab
import pytest

NOTEBOOK = "12_interview_questions"
MOST_QUESTIONS = 12
# An answer changes several widgets, one message each: it is there when nothing changes any more.
SETTLED = """async ([node, before]) => {
  const text = said => said.replace(/\\d+:\\d\\d left/g, '');
  for (let last = '', same = 0; same < 5; ) {
    await new Promise(resolve => setTimeout(resolve, 100));
    const now = text(node.innerText);
    same = now === last && now !== text(before) ? same + 1 : 0;
    last = now;
  }
}"""

pytestmark = lab.MARKS


@pytest.fixture
def page(tmp_path):
    server = lab.Server(tmp_path)
    try:
        with lab.launched() as chromium:
            opened = lab.NotebookPage(
                chromium.new_page(viewport={"width": 1280, "height": 1400}), server, NOTEBOOK
            )
            yield opened
            server.end_kernels()
    finally:
        server.close()


class Played:
    """The interview's cell, and what a learner does in it with the keyboard."""

    def __init__(self, cell):
        self.cell, self.page = cell, cell.page

    def button(self, label):
        return self.cell.get_by_role("button", name=label, exact=True)

    def press(self, label):
        """Give a button the focus, press space, and wait until the interview has answered."""
        before = self.cell.inner_text()
        self.button(label).focus()
        self.page.keyboard.press("Space")
        self.page.evaluate(SETTLED, [self.cell.element_handle(), before])

    def kind(self):
        text = self.cell.inner_text()
        return next(k for k in ("follow-up", "bug-hunt", "coding", "card") if f", {k}, " in text)

    def answer(self):
        """Give some answer to the question, whatever it is, so that the next one is asked."""
        kind = self.kind()
        if kind in ("coding", "bug-hunt"):
            self.press("Run")
            self.press("Next question")
        elif self.button("Show the answer").count():
            self.cell.locator("textarea").focus()
            self.page.keyboard.type("in my own words")
            self.press("Show the answer")
            self.press("good")
        else:
            field = self.cell.locator(".dlkit-choice button, textarea").first
            field.focus()
            self.page.keyboard.press("Space")
            self.press("Answer")
        return kind

    def shoot(self, name):
        if folder := os.environ.get("DLKIT_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.cell.screenshot(path=Path(folder) / f"interview_{name}.png")


def test_an_interview_is_played_to_its_end_by_keyboard(page):
    page.run_all()
    assert page.errors() == []
    begin = page.page.get_by_role("button", name="Begin", exact=True)
    interview = Played(page.page.locator(".jp-CodeCell", has=begin))
    interview.cell.scroll_into_view_if_needed()
    interview.shoot("start")
    handle = interview.cell.element_handle()
    index = page.page.evaluate(
        "cell => [...document.querySelectorAll('.jp-CodeCell')].indexOf(cell)", handle
    )
    before = interview.cell.inner_text()
    begin.focus()
    page.page.keyboard.press("Space")
    interview = Played(page.page.locator(".jp-CodeCell").nth(index))
    page.page.evaluate(SETTLED, [interview.cell.element_handle(), before])
    first = interview.cell.locator("b").first.inner_text()
    assert first.endswith("left")
    page.page.wait_for_function(
        "([node, before]) => node.querySelector('b').innerText !== before",
        arg=[interview.cell.element_handle(), first],
    )
    interview.press("Pause")
    interview.press("Go on")
    asked = []
    while len(asked) < MOST_QUESTIONS and set(asked) < {"card", "coding", "bug-hunt", "follow-up"}:
        interview.shoot(interview.kind())
        asked.append(interview.answer())
    assert {"card", "coding", "bug-hunt"} <= set(asked)
    interview.shoot("after")
    interview.press("End the interview")
    text = interview.cell.inner_text()
    interview.shoot("report")
    assert "To revise" in text
    assert "Questions and answers" in text
    assert f"{len(asked)}. " in text
