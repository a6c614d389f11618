"""The two live systems, started, changed while they run and stopped in JupyterLab in Chromium.

Set DLKIT_SCREENSHOTS to a folder to get pictures of them.
"""

import os
import re
from pathlib import Path

import jupyterlab_driver as lab
import nbformat
import pytest

BLANK_PICTURE_BYTES = 3000
NOTEBOOK = "live"
CELLS = (
    "from dlkit.lab import LiveDigitsWidget, LiveDrivingWidget\nLiveDigitsWidget(rate=200)",
    "LiveDrivingWidget(max_wait=None)",  # no sensor is silent, however busy the machine is
    "print('still', 'here')",
)
SECONDS = 60_000  # milliseconds after which a wait has failed

pytestmark = lab.MARKS


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    server = lab.Server(tmp_path_factory.mktemp("jupyterlab"))
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    # Without a kernel's name, JupyterLab asks for one and waits.
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, server.folder / "root" / "notebooks" / f"{NOTEBOOK}.ipynb")
    try:
        with lab.launched() as chromium:
            opened = lab.NotebookPage(
                chromium.new_page(viewport={"width": 1280, "height": 1400}), server, NOTEBOOK
            )
            opened.run_all()
            assert opened.errors() == []
            yield opened
            server.end_kernels()
    finally:
        server.close()


class Running(lab.Widget):
    """The widget of a live system, worked with by keyboard."""

    def button(self, label):
        # Not by its name: the icon counts as a letter of it.
        button = self.cell.locator("button.widget-button", has_text=label)
        button.focus()
        button.press("Space")

    def wait_for(self, words):
        """Return the line of text as soon as it has what a pattern describes."""
        line = self.cell.locator(".widget-html-content").first.element_handle()
        self.cell.page.wait_for_function(
            "([node, words]) => new RegExp(words).test(node.innerText)",
            arg=[line, words],
            timeout=SECONDS,
        )
        return self.text()

    def shoot(self, name):
        if folder := os.environ.get("DLKIT_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.cell.screenshot(path=Path(folder) / f"live_{name}.png")


def widget_at(page, number):
    cell = page.page.locator(".jp-CodeCell").nth(number)
    cell.scroll_into_view_if_needed()
    return Running(cell)


def assert_the_kernel_answers(page):
    before = int(page.counts()[2])
    page.page.locator(".jp-CodeCell").nth(2).locator(".jp-InputPrompt").click()
    page.page.evaluate("async () => await window.jupyterapp.commands.execute('notebook:run-cell')")
    assert int(page.counts()[2]) > before
    output = page.page.locator(".jp-CodeCell").nth(2).locator(".jp-OutputArea-output")
    assert output.inner_text().strip() == "still here"


def numbers(pattern, text):
    return [float(found.replace(",", "")) for found in re.search(pattern, text).groups()]


def test_digits_are_answered_live_at_a_load_that_the_keyboard_changes(page):
    digits = widget_at(page, 0)
    assert digits.text() == "not started, 200 frames/s, objective 50 ms"
    digits.button("Start")
    text = digits.wait_for(r"answering [1-9]")
    assert re.search(r"p99 [\d.]+ ms \((holds|misses) the objective of 50\)", text)
    first = digits.picture()
    digits.shoot("digits_at_200")
    digits.press(0, "ArrowRight")
    text = digits.wait_for("set to 210 frames/s")
    assert digits.picture() != first
    assert min(map(len, (first, digits.picture()))) > BLANK_PICTURE_BYTES
    digits.button("Stop")
    text = digits.wait_for("stopped: ")
    produced, answered, dropped = numbers(
        r"stopped: (\d+) items = (\d+) answered \+ (\d+) dropped", text
    )
    assert produced == answered + dropped
    assert answered > 0
    assert page.errors() == []
    assert_the_kernel_answers(page)


def test_a_drive_is_followed_live_while_its_tolerance_is_changed_by_keyboard(page):
    drive = widget_at(page, 1)
    assert drive.text().startswith("not started, tolerance 60 ms, planning 10 ms")
    drive.button("Start")
    text = drive.wait_for(r"answering for second")
    second, unmatched = numbers(r"second ([\d.]+): .* (\d+) frames in no sample", text)
    assert unmatched <= 2 + 0.1 * 30 * second
    drive.shoot("drive_begin")
    first = drive.picture()
    for _ in range(10):
        drive.cell.locator(".noUi-handle[role=slider]").first.press("ArrowLeft")
    drive.wait_for(r"\b\d{2,} frames in no sample")
    drive.wait_for("BRAKE")
    drive.shoot("drive_danger")
    text = drive.wait_for("stopped: ")  # by itself, at the end of the road
    drive.shoot("drive_end")
    assert re.search(r"[1-9]\d* alarms?", text)
    produced, answered, dropped = numbers(
        r"stopped: (\d+) items = (\d+) answered \+ (\d+) dropped", text
    )
    assert produced == answered + dropped
    assert drive.picture() != first
    assert len(drive.picture()) > BLANK_PICTURE_BYTES
    assert page.errors() == []
    assert_the_kernel_answers(page)
