"""Every widget with a picture, moved by keyboard and by mouse in JupyterLab in Chromium.

A picture of each is left in build/screenshots.
"""

import inspect
import re
from functools import partial

import jupyterlab_driver as lab
import pytest

import dlkit.lab

BLANK_PICTURE_BYTES = 3000
SETUP = """
import tempfile
from dlkit.lab import *
from dlkit.storage.throughput import Throughput
scratch = Progress(tempfile.mkdtemp())
shown, start = {}, {}
measured = {
    record: [
        Throughput(format, order, workers, rate * share / (1 + workers))
        for format, rate in (("arrow", 2e5), ("memmap", 3e5), ("tar", 1e4))
        for order, share in (("in order", size), ("shuffled", 0.4 * size))
        for workers in (0, 2)
    ]
    for record, size in (("28x28 bytes", 1), ("224x224 bytes", 0.02))
}
"""
# The arguments of each, how many controls it has, and those of them by which the picture becomes
# another and the text, which says what it comes to, may stay.
EXPLORERS = {
    "BatchingExplorer": ("size=50, batch_size=8", 3, ()),
    "LiveTimeline": ("workers=1, sample=5, batch_size=4, step=40", 5, (0, 1)),
    "ProgressView": ("scratch", 0, ()),
    "ShardingExplorer": ("samples=22, ranks=3, batch_size=4, epoch=1", 9, (8,)),
    "ShuffleExplorer": ("buffer_size=50", 2, ()),
    "StorageExplorer": ("measured", 3, ()),
    "WorkersExplorer": ("workers=2, prefetch_factor=2, slow=100, step=20", 5, ()),
}
SHOW = """
made = shown["{0}"] = {0}({1})
start["{0}"] = {{name: control.value for name, control in made.controls.items()}}
made
"""
BACK_TO_START = """
for name, value in start["{0}"].items():
    shown["{0}"].controls[name].value = value
"""
LONG_RUN = "LiveTimeline(workers=0, sample=20, batch_size=32, step=100)"  # of twelve seconds
# It trains for two epochs; there is nothing to move.
CURVES = """
from torch import nn
import dlkit
from dlkit.datasets import digits
from dlkit.lab.live_plot import LivePlot
from dlkit.trainer import Trainer
live = LivePlot()
display(live)
loader = dlkit.DataLoader(digits(), 256, shuffle=True)
model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
history = Trainer(model, callbacks=[live], progress=False).fit(loader, epochs=2)
"""
SOLVE = """
from dlkit.lab.exercises import find
assert exercise("{name}", progress=scratch).check(find("{name}").reference).passed
"""
CELLS = {
    "setup": SETUP,
    **{name: SHOW.format(name, arguments) for name, (arguments, *_) in EXPLORERS.items()},
    "LongRun": LONG_RUN,
    "LivePlot": CURVES,
}

pytestmark = lab.MARKS


def test_every_widget_of_this_kind_is_here():
    kinds = [getattr(dlkit.lab, name) for name in dlkit.lab.__all__]
    explorers = [k for k in kinds if inspect.isclass(k) and issubclass(k, dlkit.lab.Explorer)]
    assert {kind.__name__ for kind in explorers} - {"Explorer"} == set(EXPLORERS)


@pytest.mark.parametrize("name", [*EXPLORERS, "LivePlot"])
def test_a_widget_shows_a_picture_that_is_accessible(widget, name):
    assert len(widget.picture()) > BLANK_PICTURE_BYTES
    assert widget.text()
    widget.judge(name)


def by_keyboard_and_by_mouse(widget):
    """For each control, how to move it by the one and by the other."""
    for slider in widget.cell.locator(".noUi-handle[role=slider]").all():
        yield partial(widget.press, slider, "ArrowRight"), partial(widget.drag, slider, 60)
    for box in widget.cell.locator("input[type=checkbox]").all():
        yield partial(widget.press, box, "Space"), box.click
    for buttons in widget.cell.locator(".widget-toggle-buttons").all():
        second = buttons.locator("button").nth(1)
        yield partial(widget.press, second, "Space"), second.click


@pytest.mark.parametrize("name", [name for name, (_, count, _) in EXPLORERS.items() if count])
def test_every_control_moves_text_and_picture_by_keyboard_and_by_mouse(page, widget, name):
    _, count, silent = EXPLORERS[name]
    cells = page.page.locator(".jp-Cell").count()
    controls = list(by_keyboard_and_by_mouse(widget))
    assert len(controls) == count
    first = widget.text(), widget.picture()
    for number, ways in enumerate(controls):
        for move in ways:
            with widget.changing(text=number not in silent):
                move()
            page.execute(BACK_TO_START.format(name))
            assert (widget.text(), widget.picture()) == first
    assert page.errors() == []
    assert page.page.locator(".jp-Cell").count() == cells, "the notebook took none of the keys"


@pytest.mark.parametrize("name", ["BatchingExplorer"])
def test_the_tab_key_leads_from_control_to_control(widget, name):
    widget.handle(0).focus()
    for control in (widget.handle(1), widget.box(0)):
        widget.tab_to(control, most=2)  # past the number beside a slider, which can be typed


@pytest.mark.parametrize("name", ["ProgressView"])
def test_progress_made_meanwhile_is_read_by_keyboard_and_by_mouse(page, widget, name):
    assert widget.text().startswith("0 of ")
    button = widget.button("Read again")
    page.execute(SOLVE.format(name="index_batches"))
    with widget.changing():
        widget.press(button, "Space")
    assert widget.text().startswith("1 of ")
    page.execute(SOLVE.format(name="lru_bytes"))
    with widget.changing():
        button.click()
    assert widget.text().startswith("2 of ")


@pytest.mark.parametrize("name", ["LongRun"])
def test_a_long_run_is_started_by_keyboard_and_stopped_by_mouse(page, widget, name):
    run, stop = widget.button("run"), widget.button("stop")
    assert stop.is_disabled()
    widget.press(run, "Space")
    widget.wait_for(r"so far: \d+ batch")
    stop.click()
    widget.page.wait_for_function(
        "([run, stop]) => !run.disabled && stop.disabled",
        arg=[run.element_handle(), stop.element_handle()],
    )
    (came,) = re.search(r"so far: (\d+) batch", widget.text()).groups()
    assert 1 <= int(came) < 16
    page.execute("assert 1 + 1 == 2")


@pytest.mark.parametrize("name", ["LivePlot"])
def test_learning_curves_are_said_in_words_too(widget, name):
    assert re.match(r"after epoch 2: train loss \d", widget.text())
