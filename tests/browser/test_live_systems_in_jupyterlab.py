"""The two live systems, started, changed while they run and stopped in JupyterLab in Chromium.

Pictures of them are left in build/screenshots.
"""

import re

import jupyterlab_driver as lab
import pytest

BLANK_PICTURE_BYTES = 3000
CELLS = (
    "from dlkit.lab import LiveDigitsWidget, LiveDrivingWidget\nLiveDigitsWidget(rate=200)",
    "LiveDrivingWidget(max_wait=None)",  # no sensor is silent, however busy the machine is
    "print('still', 'here')",
)

pytestmark = lab.MARKS


@pytest.fixture(scope="module")
def page(opened_notebook):
    with opened_notebook("live", CELLS, height=1400) as notebook:
        notebook.run_all()
        yield notebook


def assert_the_kernel_answers(page):
    before = int(page.counts()[2])
    page.begin_cell(2)
    page.end()
    assert int(page.counts()[2]) > before
    assert page.output(2).inner_text().strip() == "still here"


def numbers(pattern, text):
    return [float(found.replace(",", "")) for found in re.search(pattern, text).groups()]


def stopped(text):
    """Items that came in, that were answered and that were dropped, as the widget says them."""
    return numbers(r"stopped: (\d+) items = (\d+) answered \+ (\d+) dropped", text)


def test_digits_are_answered_live_at_a_load_that_keyboard_and_mouse_change(page):
    digits = page.widget(0)
    assert digits.text() == "not started, 200 frames/s, objective 50 ms"
    digits.press(digits.button("Start"), "Space")
    text = digits.wait_for(r"answering [1-9]")
    assert re.search(r"p99 [\d.]+ ms \((holds|misses) the objective of 50\)", text)
    first = digits.picture()
    digits.judge("LiveDigitsWidget")
    digits.press(digits.handle(0), "ArrowRight")
    digits.wait_for("set to 210 frames/s")
    assert digits.picture() != first
    assert min(map(len, (first, digits.picture()))) > BLANK_PICTURE_BYTES
    digits.drag(digits.handle(0), 30)
    digits.wait_for(r"set to (?!210)\d+ frames/s")
    digits.button("Stop").click()
    produced, answered, dropped = stopped(digits.wait_for("stopped: "))
    assert produced == answered + dropped
    assert answered > 0
    assert page.errors() == []
    assert_the_kernel_answers(page)


def test_a_drive_is_followed_live_while_its_tolerance_is_changed_by_keyboard(page):
    drive = page.widget(1)
    assert drive.text().startswith("not started, tolerance 60 ms, planning 10 ms")
    drive.drag(drive.handle(1), 30)
    text = drive.wait_for(r"planning (?!10 )\d+ ms, policy drop_oldest")
    drive.button("block").click()
    drive.wait_for("policy block")
    drive.press(drive.button("drop_oldest"), "Space")
    drive.wait_for("policy drop_oldest")
    for _ in range(20):
        drive.press(drive.handle(1), "ArrowLeft")
    drive.wait_for("planning 0 ms")
    drive.button("Start").click()
    text = drive.wait_for(r"answering for second")
    second, unmatched = numbers(r"second ([\d.]+): .* (\d+) frames in no sample", text)
    assert unmatched <= 2 + 0.1 * 30 * second
    drive.judge("LiveDrivingWidget_begin")
    first = drive.picture()
    for _ in range(10):
        drive.press(drive.handle(0), "ArrowLeft")
    drive.wait_for(r"\b\d{2,} frames in no sample")
    drive.wait_for("BRAKE")
    lab.shoot(drive.cell, "LiveDrivingWidget_danger")
    text = drive.wait_for("stopped: ")  # by itself, at the end of the road
    lab.shoot(drive.cell, "LiveDrivingWidget_end")
    assert re.search(r"[1-9]\d* alarms?", text)
    produced, answered, dropped = stopped(text)
    assert produced == answered + dropped
    assert drive.picture() != first
    assert len(drive.picture()) > BLANK_PICTURE_BYTES
    assert page.errors() == []
    assert_the_kernel_answers(page)
