"""One JupyterLab and one Chromium for each file, cut off from every other machine.

They end with the file: what comes after it in the same process is to find no kernels of theirs, and
no event loop of Playwright's.
"""

import nbformat
import pytest

pytest.register_assert_rewrite("jupyterlab_driver", "widget_driver")

import jupyterlab_driver as lab  # noqa: E402
from jupyterlab_server import Server  # noqa: E402
from loopback import Loopback, Open  # noqa: E402

# Without a kernel's name, JupyterLab asks for one and waits.
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


@pytest.fixture(scope="module")
def network():
    """One without a way out, where the system lets us make it."""
    try:
        made = Loopback()
    except OSError:
        yield Open()
    else:
        yield made
        made.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory, network):
    running = Server(tmp_path_factory.mktemp("jupyterlab"), network)
    yield running
    running.close()


@pytest.fixture(scope="module")
def browser(network):
    # One for all, because Playwright cannot be started twice in a thread.
    with lab.launched(network) as chromium:
        yield chromium


@pytest.fixture(scope="module")
def jupyterlab(server, browser):
    return lab.JupyterLab(browser.new_page(), server)


@pytest.fixture(scope="module")
def opened_notebook(jupyterlab):
    """Opens a notebook for the time of a `with`, at whose end it must have asked nobody outside."""

    def open_notebook(name, sources=None, height=1000):
        if sources is not None:
            cells = [nbformat.v4.new_code_cell(source) for source in sources]
            made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
            nbformat.write(made, jupyterlab.server.notebooks / f"{name}.ipynb")
        return jupyterlab.opened(name, height)

    return open_notebook


@pytest.fixture(scope="module")
def page(request, opened_notebook):
    """A notebook made of a file's `CELLS`, after all of them have run."""
    name = request.module.__name__.split("_")[1]
    with opened_notebook(name, request.module.CELLS.values()) as notebook:
        notebook.run_all()
        yield notebook


@pytest.fixture
def widget(request, page, name):
    """What the cell of that name shows."""
    return page.widget(list(request.module.CELLS).index(name))
