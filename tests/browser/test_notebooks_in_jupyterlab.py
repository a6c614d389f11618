"""The notebooks in JupyterLab in Chromium: they show, run, and answer to the keyboard.

Set DLKIT_SCREENSHOTS to a folder to get a picture of every notebook after it has run.
"""

import os

import jupyterlab_driver as lab
import pytest

from dlkit.lab.exercises.parsons import find
from dlkit.lab.text import ROOT, read_notebook

BLANK_PICTURE_BYTES = 3000
NAMES = sorted(path.stem for path in ROOT.glob("[0-9][0-9]_*.ipynb"))

pytestmark = lab.MARKS


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = lab.Server(tmp_path_factory.mktemp("jupyterlab"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def browser():
    with lab.launched() as chromium:
        yield chromium


@pytest.fixture(scope="module", params=NAMES)
def opened(request, server, browser):
    """A notebook as a learner finds it; pytest runs all tests of one notebook together."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    yield lab.NotebookPage(page, server, request.param)
    page.close()
    server.end_kernels()


@pytest.fixture(scope="module")
def ran(opened):
    """The same notebook after "Run All Cells"."""
    opened.run_all()
    if folder := os.environ.get("DLKIT_SCREENSHOTS"):
        os.makedirs(folder, exist_ok=True)
        opened.screenshot(folder)
    return opened


def only(name):
    return pytest.mark.parametrize("opened", [name], indirect=True)


def test_a_notebook_shows_its_pictures_before_anything_runs(opened):
    stored = read_notebook(ROOT / f"{opened.name}.ipynb")
    pictures = [
        output
        for cell in stored.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    shown = opened.page.locator(".jp-RenderedImage img")
    assert shown.count() == len(pictures)
    for image in shown.all():
        assert image.evaluate("image => image.complete && image.naturalWidth") > 100


def test_a_notebook_runs_from_top_to_bottom_without_an_error(ran):
    assert ran.errors() == []
    stored = read_notebook(ROOT / f"{ran.name}.ipynb")
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert ran.counts() == [str(count) for count in range(1, len(code) + 1)]


@only("01_batching")
def test_the_batching_widget_answers_to_the_keyboard(ran):
    widget = ran.widget()
    size, batch_size = 0, 1
    assert widget.text().startswith("50 samples in 7 batches of 8, the last of 2")
    pictures = [widget.picture()]
    widget.press(size, "ArrowRight")
    assert widget.text().startswith("51 samples in 7 batches of 8, the last of 3")
    pictures.append(widget.picture())
    widget.press(batch_size, "ArrowLeft")
    assert widget.text().startswith("51 samples in 8 batches of 7, the last of 2")
    pictures.append(widget.picture())
    widget.tick()
    assert "samples in no batch: 2 (49, 50)" in widget.text()
    pictures.append(widget.picture())
    assert len(set(pictures)) == len(pictures)
    assert all(len(picture) > BLANK_PICTURE_BYTES for picture in pictures)


@only("02_shuffling")
def test_the_shuffling_widget_answers_to_the_keyboard(ran):
    widget = ran.widget()
    buffer, seed = 0, 1
    assert widget.text().startswith("1000 samples, buffer of 100 (10.0%), seed 0")
    pictures = [widget.picture()]
    widget.press(buffer, "ArrowRight")
    assert widget.text().startswith("1000 samples, buffer of 200 (20.0%), seed 0")
    pictures.append(widget.picture())
    widget.press(seed, "ArrowRight")
    assert "seed 1" in widget.text()
    pictures.append(widget.picture())
    assert len(set(pictures)) == len(pictures)
    assert all(len(picture) > BLANK_PICTURE_BYTES for picture in pictures)


@only("04_workers")
def test_the_workers_widget_answers_to_the_keyboard(ran):
    widget = ran.widget()
    workers, prefetch_factor = 0, 1
    assert "the epoch takes 360 ms, of which training waits 40;" in widget.text()
    pictures = [widget.picture()]
    widget.press(prefetch_factor, "ArrowRight")
    assert "the epoch takes 340 ms, of which training waits 20;" in widget.text()
    pictures.append(widget.picture())
    widget.tick()
    assert not widget.text().startswith("delivered: 0 1 2 3 4 5 6 7 8 9")
    pictures.append(widget.picture())
    widget.press(workers, "ArrowLeft")
    assert "the epoch takes 420 ms, of which training waits 100;" in widget.text()
    pictures.append(widget.picture())
    assert len(set(pictures)) == len(pictures)
    assert all(len(picture) > BLANK_PICTURE_BYTES for picture in pictures)


@only("08_multi_gpu_sharding")
def test_the_sharding_widget_answers_to_the_keyboard(ran):
    widget = ran.widget()
    samples, ranks, epoch = 0, 1, 3
    drop_last, set_epoch = 1, 3
    assert widget.text().startswith("22 samples on 3 ranks in 2 steps of up to 12; repeated: 2 (")
    pictures = [widget.picture()]
    widget.press(samples, "ArrowRight")
    assert widget.text().startswith("23 samples on 3 ranks in 2 steps of up to 12; repeated: 1 (")
    pictures.append(widget.picture())
    widget.press(ranks, "ArrowRight")
    assert widget.text().startswith("23 samples on 4 ranks in 2 steps of up to 16; repeated: 1 (")
    pictures.append(widget.picture())
    widget.press(epoch, "ArrowRight")
    assert "epoch 1 has the order of epoch 1" in widget.text()
    pictures.append(widget.picture())
    widget.tick(set_epoch)
    assert "epoch 1 has the order of epoch 0" in widget.text()
    widget.tick(drop_last)
    assert "repeated: 0; in no batch: 3 (" in widget.text()
    pictures.append(widget.picture())
    assert len(set(pictures)) == len(pictures)
    assert all(len(picture) > BLANK_PICTURE_BYTES for picture in pictures)


@only("12_interview_questions")
def test_cards_are_answered_by_keyboard(ran):
    page = ran.page
    cells = page.locator(".jp-Cell").count()
    cell = page.locator(".jp-CodeCell", has=page.get_by_text("card 1 of", exact=False)).first
    cell.scroll_into_view_if_needed()
    choices = cell.locator(".dlkit-choice button")
    choices.first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert choices.nth(1).get_attribute("class").split().count("mod-active") == 1
    if folder := os.environ.get("DLKIT_SCREENSHOTS"):
        cell.screenshot(path=f"{folder}/card.png")
    for _ in range(choices.count() - 1):
        page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.innerText") == "Answer"
    page.keyboard.press("Space")
    cell.get_by_text("; right").or_(cell.get_by_text("; wrong")).wait_for()
    assert page.locator(".jp-Cell").count() == cells, "the notebook took none of the keys"


class Parsons:
    """The Parsons problem of a notebook, and what a learner does in it with the keyboard alone."""

    def __init__(self, page):
        self.keyboard = page.keyboard
        self.cell = page.locator(".jp-CodeCell", has=page.locator(".dlkit-parsons"))
        self.cell.scroll_into_view_if_needed()
        self.status = self.cell.get_by_role("status")

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

    def press(self, button):
        """Press a button, and wait until the kernel has answered."""
        before = self.list(0), self.list(1), self.status.inner_text()
        self.cell.get_by_role("button", name=button, exact=True).focus()
        self.keyboard.press("Space")
        for _ in range(300):
            if (self.list(0), self.list(1), self.status.inner_text()) != before:
                return
            self.cell.page.wait_for_timeout(20)
        pytest.fail(f"{button} changes nothing")

    def add(self, line):
        lines, here = self.list(0)
        for _ in range((lines.index(line) - here) % len(lines)):
            self.press("Next line")
        self.press("Add")


@only("13_coding_exercises")
def test_a_parsons_problem_is_solved_by_keyboard(ran):
    problem = find("reorder_buffer")
    parsons = Parsons(ran.page)
    for line in (*problem.lines[:-1], problem.distractor):
        parsons.add(line)
    parsons.press("Check")
    assert problem.reason in parsons.status.inner_text()
    parsons.press("Take back")
    parsons.add(problem.lines[-1])
    parsons.press("Up")
    *most, before, last = problem.lines
    assert parsons.list(1)[0] == [*most, last, before]
    parsons.press("Down")
    parsons.press("Check")
    assert parsons.status.inner_text() == f"{problem.title}: right."
    parsons.cell.get_by_role("button", name="Next line", exact=True).focus()
    reached = []
    for _ in range(6):
        parsons.keyboard.press("Tab")
        reached.append(ran.page.evaluate("() => document.activeElement.innerText"))
    assert reached == ["Add", "Take back", "Next of yours", "Up", "Down", "Check"]


@only("13_coding_exercises")
def test_the_progress_widget_shows_what_was_solved_meanwhile(ran):
    button = ran.page.get_by_role("button", name="Read again", exact=True)
    widget = lab.Widget(ran.page.locator(".jp-CodeCell", has=button))
    widget.cell.scroll_into_view_if_needed()
    assert widget.text().startswith("0 of 61 exercises solved; most left in training (10)")
    pictures = [widget.picture()]
    ran.execute(
        "from dlkit.lab.exercises import find\n"
        "for name in ('index_batches', 'lru_bytes'):\n"
        "    answer = find(name).reference\n"
        "    assert exercise(name, progress=scratch).check(answer).passed\n"
    )
    widget.press_button("Read again")
    assert widget.text().startswith("2 of 61 exercises solved; most left in training (10)")
    pictures.append(widget.picture())
    assert len(set(pictures)) == len(pictures)
    assert all(len(picture) > BLANK_PICTURE_BYTES for picture in pictures)
    shoot(widget.cell, "progress")


def shoot(cell, name):
    if folder := os.environ.get("DLKIT_SCREENSHOTS"):
        cell.screenshot(path=os.path.join(folder, f"{name}.png"))
