"""Chromium, a notebook page of JupyterLab in it, and what a learner does with a widget there."""

import base64
import os
import re
import secrets
import shutil
from contextlib import contextmanager
from urllib.parse import urlsplit

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from dlkit.lab.text import ROOT

SCREENSHOTS = ROOT.parent / "build" / "screenshots"
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
# Some frames without an open message: views of new widgets are made after their message.
ALL_ANSWERED = """() => {
  window.quiet = window.unanswered.size ? 0 : (window.quiet || 0) + 1;
  return window.quiet > 3 && [window.quiet = 0];
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


def shoot(element, name):
    """Keep a picture of an element; nothing of it is compared, people look at it."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    element.screenshot(path=SCREENSHOTS / f"{name}.png")


class NotebookPage:
    """One notebook open in a page of the browser."""

    def __init__(self, page, server, name):
        self.page, self.name = page, name
        self.asked_outside = []
        page.on("request", lambda request: self._note(request.url))
        page.on("websocket", lambda websocket: self._note(websocket.url))
        # A workspace of its own: JupyterLab would open the last test's notebooks again.
        workspace = f"/lab/workspaces/{secrets.token_hex(8)}"
        path = f"{workspace}/tree/notebooks/{name}.ipynb?token={server.token}"
        page.goto(server.address + path)
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

    def _note(self, url):
        asked = urlsplit(url)
        if asked.hostname is not None and asked.hostname != "127.0.0.1":
            self.asked_outside.append(url)

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


class Widget:
    """Controls, a line of text and a picture inside one cell."""

    def __init__(self, cell):
        self.cell, self.page = cell, cell.page
        self.line = cell.locator(".widget-html-content").first
        self.image = cell.locator("img.widget-image").first

    def text(self):
        return self.line.inner_text()

    def picture(self):
        """The PNG bytes behind the picture, as the page has them."""
        script = """async image => {
          const answer = await fetch(image.src);
          const bytes = new Uint8Array(await answer.arrayBuffer());
          return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''));
        }"""
        return base64.b64decode(self.image.evaluate(script))

    def settle(self):
        """Wait until the kernel has answered all that the widgets told it."""
        self.page.wait_for_function(ALL_ANSWERED)

    @contextmanager
    def changing(self, text=True):
        """Do something in a `with`, by which picture and text must become others."""
        before = self.text(), self.image.get_attribute("src")
        yield
        self.settle()
        assert self.image.get_attribute("src") != before[1], "the picture is as it was"
        assert not text or self.text() != before[0]

    def wait_for(self, words, seconds=60):
        """Return the line of text as soon as it has what a pattern describes."""
        self.page.wait_for_function(
            "([line, words]) => new RegExp(words).test(line.innerText)",
            arg=[self.line.element_handle(), words],
            timeout=1000 * seconds,
        )
        return self.text()

    def handle(self, number):
        return self.cell.locator(".noUi-handle[role=slider]").nth(number)

    def box(self, number):
        return self.cell.locator("input[type=checkbox]").nth(number)

    def button(self, label):
        # Not by its name: an icon counts as a letter of it.
        return self.cell.locator("button.jupyter-button", has_text=re.compile(f"^{label}$"))

    def press(self, element, key):
        """Give an element the focus, as the tab key does, and press a key."""
        element.focus()
        self.page.keyboard.press(key)

    def drag(self, handle, pixels):
        """Take the handle of a slider by mouse and let it go so many pixels to the right."""
        handle.scroll_into_view_if_needed()
        place = handle.bounding_box()
        x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + pixels, y)
        self.page.mouse.up()

    def tab_to(self, element, most=60):
        """Press the tab key until an element has the focus, as somebody without a mouse does."""
        has_focus = "element => element === document.activeElement"
        while most and not element.evaluate(has_focus):
            self.page.keyboard.press("Tab")
            most -= 1
        assert element.evaluate(has_focus), "the tab key does not lead there"

    def judge(self, name):
        """Keep a picture of what is shown, and have it judged by axe-core."""
        shoot(self.cell, name)
        assert self.serious_findings() == []

    def serious_findings(self):
        """What axe-core finds in the output that keeps people from using it, in words."""
        area = self.cell.locator(".jp-Cell-outputArea").element_handle()
        area.evaluate("area => { area.id = 'judged'; }")
        found = Axe().run(self.page, context="#judged").response["violations"]
        area.evaluate("area => { area.removeAttribute('id'); }")
        return [
            "\n".join(
                [f"{one['id']} ({one['impact']}): {one['help']}"]
                + [f"    {node['html']}\n    {node['failureSummary']}" for node in one["nodes"]]
            )
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
