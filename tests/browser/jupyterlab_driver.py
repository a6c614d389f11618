"""Chromium, JupyterLab in it, and a notebook there."""

import os
import shutil
from contextlib import contextmanager
from urllib.parse import urlsplit

import nbformat
import pytest
from playwright.sync_api import sync_playwright
from widget_driver import Widget, shoot

START_SECONDS, RUN_SECONDS = 60, 240
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
OPEN = """async path => {
  await window.jupyterapp.commands.execute('docmanager:open', { path });
}"""
# Unsaved, without a question; its kernel must not start again for the last messages of widgets.
CLOSE = """async () => {
  const notebook = window.jupyterapp.shell.currentWidget;
  await notebook.context.sessionContext.shutdown();
  notebook.dispose();
}"""
# The status is idle before the kernel is connected, and "Run all" then runs nothing and succeeds.
WAIT_FOR_KERNEL = """async () => {
  const context = window.jupyterapp.shell.currentWidget.context;
  await context.ready;
  await context.sessionContext.ready;
  await context.sessionContext.session.kernel.info;
  for (;;) {
    const kernel = context.sessionContext.session.kernel;
    if (kernel.connectionStatus === 'connected' && kernel.status === 'idle') return;
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}"""
# Which messages of widgets the kernel has not finished with. The signal of an idle kernel comes
# after everything that was sent before it has been handled by the page.
FOLLOW_WIDGETS = """() => {
  const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
  const open = window.unanswered = new Set();
  kernel.anyMessage.connect((_, { msg, direction }) => {
    if (direction === 'send' && msg.header.msg_type === 'comm_msg') open.add(msg.header.msg_id);
  });
  kernel.iopubMessage.connect((_, msg) => {
    if (msg.header.msg_type === 'status' && msg.content.execution_state === 'idle')
      open.delete(msg.parent_header.msg_id);
  });
}"""
EXECUTE = """async code => {
  const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
  const reply = await kernel.requestExecute({ code }).done;
  return [reply.content.status, reply.content.evalue || ''];
}"""
BEGIN = """name => {
  window.ended = undefined;
  window.jupyterapp.commands.execute(name).then(
    result => { window.ended = [result]; }, error => { window.ended = [String(error)]; });
}"""
EXECUTABLE = next(filter(None, map(shutil.which, CHROMIUM)), None)
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(
        EXECUTABLE is None and not os.environ.get("CI"),
        reason="no Chromium found (Debian: apt-get install chromium)",
    ),
]


@contextmanager
def launched(network):
    """A Chromium without a window, in a network."""
    assert EXECUTABLE, "CI must have a Chromium: without one these tests would prove nothing"
    with network.entered():
        playwright = sync_playwright().start()
        try:
            chromium = playwright.chromium.launch(
                executable_path=EXECUTABLE, args=list(CHROMIUM_OPTIONS)
            )
        except BaseException:
            playwright.stop()
            raise
    try:
        yield chromium
    finally:
        chromium.close()
        playwright.stop()


class JupyterLab:
    """JupyterLab in a page, which stays while notebooks come and go: it takes longer to load."""

    def __init__(self, page, server):
        self.page, self.server = page, server
        self.asked_outside = []
        page.on("request", lambda request: self._note(request.url))
        page.on("websocket", lambda websocket: self._note(websocket.url))
        page.goto(f"{server.address}/lab?token={server.token}")
        page.wait_for_function("() => window.jupyterapp", timeout=START_SECONDS * 1000)
        page.evaluate("() => window.jupyterapp.restored")

    def _note(self, url):
        asked = urlsplit(url)
        if asked.hostname is not None and asked.hostname != "127.0.0.1":
            self.asked_outside.append(url)

    @contextmanager
    def opened(self, name, height):
        """One of its notebooks for the time of a `with`, and its kernel no longer than that."""
        self.page.set_viewport_size({"width": 1280, "height": height})
        self.asked_outside.clear()
        self.page.evaluate(OPEN, f"notebooks/{name}.ipynb")
        try:
            yield NotebookPage(self, name)
            assert self.asked_outside == [], "the page asked for something on another machine"
        finally:
            self.page.evaluate(CLOSE)
            self.server.end_kernels()


class NotebookPage:
    """The notebook that is open in JupyterLab."""

    def __init__(self, jupyterlab, name):
        self.page, self.name = jupyterlab.page, name
        self.asked_outside = jupyterlab.asked_outside
        self._wait()

    def _wait(self):
        self.page.wait_for_function(
            "() => window.jupyterapp && window.jupyterapp.shell.currentWidget"
            " && window.jupyterapp.shell.currentWidget.context",
            timeout=START_SECONDS * 1000,
        )
        self.page.evaluate(WAIT_FOR_KERNEL)
        self.page.evaluate(FOLLOW_WIDGETS)
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell")

    def begin(self, command):
        """Have JupyterLab begin to execute one of its commands."""
        self.page.evaluate(BEGIN, command)

    def end(self, seconds=RUN_SECONDS):
        """Return what the command that was begun has come to, when it has ended."""
        ended = self.page.wait_for_function("() => window.ended", timeout=1000 * seconds)
        return ended.json_value()[0]

    def run_all(self):
        """Run all cells; where one raises what it should not, the rest is not run."""
        self.begin("notebook:run-all-cells")
        ran = self.end()
        assert ran, self.errors()

    def begin_cell(self, number):
        """Begin to run a code cell, which may take as long as it likes."""
        self.page.locator(".jp-CodeCell").nth(number).locator(".jp-InputPrompt").click()
        self.begin("notebook:run-cell")

    def interrupt(self):
        """Press the square in the toolbar."""
        self.page.locator('.jp-Toolbar [data-command="notebook:interrupt-kernel"]').click()

    def reload(self):
        """Save the notebook, and load the page again; the kernel goes on."""
        self.begin("docmanager:save")
        self.end()
        self.page.reload()
        self._wait()

    def output(self, number):
        """What a code cell shows."""
        return self.page.locator(".jp-CodeCell").nth(number).locator(".jp-Cell-outputArea")

    def execute(self, code):
        """Run code in the notebook's kernel, outside of its cells."""
        assert self.page.evaluate(EXECUTE, code) == ["ok", ""]

    def errors(self):
        """The text of every error and warning shown in an output."""
        kinds = ("application/vnd.jupyter.error", "application/vnd.jupyter.stderr")
        selector = ", ".join(f'[data-mime-type="{kind}"]' for kind in kinds)
        return [found.inner_text() for found in self.page.locator(selector).all()]

    def contents(self):
        """The notebook with its outputs, as JupyterLab would save it."""
        script = "() => window.jupyterapp.shell.currentWidget.context.model.toJSON()"
        return nbformat.from_dict(self.page.evaluate(script))

    def counts(self):
        prompts = self.page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
        return [prompt.strip(" []:") for prompt in prompts]

    def widget(self, number):
        """The widget that a code cell shows."""
        cell = self.page.locator(".jp-CodeCell").nth(number)
        cell.scroll_into_view_if_needed()
        return Widget(cell)

    def screenshot(self):
        """Save the whole notebook as one picture, however long it is."""
        height = self.page.evaluate(
            "() => Math.max(...[...document.querySelectorAll('.jp-NotebookPanel-notebook *')]"
            ".map(element => element.scrollHeight))"
        )
        self.page.set_viewport_size({"width": 1280, "height": min(int(height) + 200, 16_000)})
        self.page.evaluate(
            "() => document.querySelectorAll('.jp-NotebookPanel-notebook *')"
            ".forEach(element => { element.scrollTop = 0; })"
        )
        self.page.wait_for_function(
            "() => [...document.images].filter(image => image.offsetParent)"
            ".every(image => image.complete && image.naturalWidth > 0)"
        )
        shoot(self.page.locator(".jp-NotebookPanel-notebook").first, self.name)
