"""A kernel that is interrupted in the middle of its work, and a page that is loaded again."""

import jupyterlab_driver as lab
import pytest

SETUP = """
import os, threading
import psutil
import dlkit
from dlkit.lab import BatchingExplorer
import ipywidgets
"""
# Each sample says on a pipe that it is read, and then nothing happens any more.
READING = """
arrived, arrival = os.pipe()
class Held:
    def __len__(self):
        return 64
    def __getitem__(self, index):
        os.write(arrival, b".")
        threading.Event().wait()
def tell():
    os.read(arrived, 1)
    print("a worker reads")
threading.Thread(target=tell).start()
for batch in dlkit.DataLoader(Held(), 4, num_workers=2, multiprocessing_context="fork"):
    print(batch)
"""
# In a thread, because a button of the page is heard between two cells only.
SWEEPING = """
stop, button, line = threading.Event(), ipywidgets.Button(description="stop"), ipywidgets.HTML()
button.on_click(lambda _: stop.set())
def make_loader(batch_size):
    line.value = f"measuring {batch_size}"
    return dlkit.DataLoader(list(range(1_000)), batch_size)
def sweep():
    sizes = {"batch_size": list(range(1, 500))}
    table = dlkit.sweep(sizes, make_loader, seconds=0.5, progress=False, stop=stop)
    line.value = f"measured {len(table.rows)}"
thread = threading.Thread(target=sweep)
thread.start()
ipywidgets.VBox([button, line])
"""
CELLS = {
    "setup": SETUP,
    "reading": READING,
    "sweeping": SWEEPING,
    "widget": "BatchingExplorer(size=50, batch_size=8)",
}
NO_WORKER_LEFT = """
left = [p for p in psutil.Process().children() if "resource_tracker" not in " ".join(p.cmdline())]
assert left == [], left
"""
USED_AGAIN = """
loader = dlkit.DataLoader(range(64), 4, num_workers=2, multiprocessing_context="fork")
assert sum(len(batch) for batch in loader) == 64
"""

pytestmark = lab.MARKS


@pytest.fixture(scope="module")
def page(opened_notebook):
    with opened_notebook("kernel", CELLS.values()) as notebook:
        notebook.execute(SETUP)
        yield notebook


def test_a_loader_with_workers_is_interrupted_and_the_kernel_used_again(page):
    number = list(CELLS).index("reading")
    page.begin_cell(number)
    page.output(number).get_by_text("a worker reads").wait_for()
    page.interrupt()
    page.end()
    assert "KeyboardInterrupt" in page.output(number).inner_text()
    page.execute(NO_WORKER_LEFT)
    page.execute(USED_AGAIN)
    page.execute(NO_WORKER_LEFT)


def test_a_long_sweep_is_stopped_by_its_button(page):
    number = list(CELLS).index("sweeping")
    page.begin_cell(number)
    page.end()
    widget = page.widget(number)
    widget.wait_for("measuring 2$")
    widget.press(widget.button("stop"), "Space")
    measured = int(widget.wait_for(r"measured \d+").split()[-1])
    assert 1 <= measured < 499
    page.execute("thread.join()")


def test_a_widget_goes_on_after_the_page_was_loaded_again(page):
    number = list(CELLS).index("widget")
    page.begin_cell(number)
    page.end()
    before = page.widget(number)
    with before.changing():
        before.press(before.handle(0), "ArrowRight")
    page.reload()
    after = page.widget(number)
    assert after.text().startswith("51 samples in ")
    with after.changing():
        after.press(after.handle(0), "ArrowRight")
    assert after.text().startswith("52 samples in ")
