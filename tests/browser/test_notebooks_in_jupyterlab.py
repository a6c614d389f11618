"""The notebooks in JupyterLab in Chromium, without a network: they show what is stored, and run.

What each cell gives is compared with what is stored as nbval compares it. Set
DLKIT_SCREENSHOTS=whole to get a picture of every notebook after it has run, too.
"""

import os

import jupyterlab_driver as lab
import pytest
from loopback import Open

from dlkit.lab.text import ROOT, read_notebook
from tests.notebooks.outputs import differences

NAMES = sorted(path.stem for path in ROOT.glob("[0-9][0-9]_*.ipynb"))
# Where a way out would lead: no machine has such an address (RFC 5737).
WAY_OUT = """
import socket
try:
    socket.create_connection(("192.0.2.1", 9), timeout=20)
except OSError as error:
    assert error.errno == 101, error  # the network is unreachable, which takes no time to find out
else:
    raise AssertionError("there is a way out")
"""

pytestmark = lab.MARKS


@pytest.fixture(scope="module", params=NAMES)
def opened(request, opened_notebook):
    """A notebook as a learner finds it; pytest runs all tests of one notebook together."""
    with opened_notebook(request.param) as notebook:
        yield notebook


@pytest.fixture(scope="module")
def ran(opened):
    """The same notebook after "Run All Cells"."""
    opened.run_all()
    if os.environ.get("DLKIT_SCREENSHOTS") == "whole":
        opened.screenshot()
    return opened


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
        assert image.get_attribute("alt"), "a screen reader is told nothing of this picture"


def test_a_notebook_runs_from_top_to_bottom_without_an_error(ran):
    assert ran.errors() == []
    stored = read_notebook(ROOT / f"{ran.name}.ipynb")
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert ran.counts() == [str(count) for count in range(1, len(code) + 1)]


def test_a_notebook_gives_what_is_stored(ran, request):
    found = differences(request.session, ROOT / f"{ran.name}.ipynb", ran.contents())
    assert not found, "\n\n".join(f"cell {number}: {said}" for number, said in found)


def test_a_notebook_shows_every_widget_that_it_makes(ran):
    made = [
        output
        for cell in ran.contents().cells
        for output in cell.get("outputs", ())
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    ]
    shown = ran.page.locator(
        ".jp-OutputArea-output > .jupyter-widgets, "
        ".jp-OutputArea-output .jupyter-widgets-view > .jupyter-widgets"
    )
    assert shown.count() == len(made)


@pytest.mark.parametrize("opened", NAMES[:1], indirect=True)
def test_an_output_that_is_not_the_stored_one_is_noticed(ran, request):
    contents = ran.contents()
    printed = [
        (number, output)
        for number, cell in enumerate(c for c in contents.cells if c.cell_type == "code")
        for output in cell.outputs
        if output.get("name") == "stdout" and "NBVAL_IGNORE_OUTPUT" not in cell.source
    ]
    number, output = printed[0]
    output.text += "one line too many\n"
    ((where, said),) = differences(request.session, ROOT / f"{ran.name}.ipynb", contents)
    assert where == number
    assert "one line too many" in said


@pytest.mark.parametrize("opened", NAMES[:1], indirect=True)
def test_neither_the_kernel_nor_the_page_has_a_way_out(opened, network):
    if isinstance(network, Open):
        pytest.skip("this system lets nobody make a network namespace, or only root")
    opened.execute(WAY_OUT)
    refused = "() => fetch('http://192.0.2.1:9/').then(() => '', error => error.name)"
    assert opened.page.evaluate(refused) == "TypeError"
    assert opened.asked_outside == ["http://192.0.2.1:9/"]
    opened.asked_outside.clear()
