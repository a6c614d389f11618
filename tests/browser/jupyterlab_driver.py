"""A JupyterLab server over copies of the notebooks, and a notebook page driven in Chromium."""

import base64
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from dlkit.lab.text import ROOT

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
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    # Every cell is in the page, so that a test finds cell 30 without scrolling to it.
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}
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
EXECUTE = """async code => {
  const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
  const reply = await kernel.requestExecute({ code }).done;
  return [reply.content.status, reply.content.evalue || ''];
}"""
RUN_ALL = "async () => await window.jupyterapp.commands.execute('notebook:run-all-cells')"


EXECUTABLE = next(filter(None, map(shutil.which, CHROMIUM)), None)
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(
        EXECUTABLE is None and not os.environ.get("CI"),
        reason="no Chromium found (Debian: apt-get install chromium)",
    ),
]


@contextmanager
def launched():
    """A Chromium without a window."""
    from playwright.sync_api import sync_playwright

    assert EXECUTABLE, "CI must have a Chromium: without one these tests would prove nothing"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=EXECUTABLE, args=list(CHROMIUM_OPTIONS)
        )
        yield chromium
        chromium.close()


class Server:
    """`jupyter lab` on a free port of the loopback address, with settings of its own."""

    def __init__(self, folder):
        self.folder, self.token = Path(folder), secrets.token_hex(16)
        notebooks = self.folder / "root" / "notebooks"
        notebooks.mkdir(parents=True)
        for path in ROOT.glob("*.ipynb"):
            shutil.copy(path, notebooks)
        settings = self.folder / "settings"
        settings.mkdir()
        (settings / "overrides.json").write_text(json.dumps(SETTINGS))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.log = (self.folder / "server.log").open("w+")
        self.process = subprocess.Popen(
            self._command(settings), env=self._environment(), stdout=self.log, stderr=self.log
        )
        self._wait()

    def _command(self, settings):
        return [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1"),
            f"--port={self.port}",
            "--ServerApp.port_retries=0",
            "--ServerApp.allow_root=True",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.folder / 'root'}",
            f"--LabApp.app_settings_dir={settings}",
            "--LabApp.extension_manager=readonly",
            "--expose-app-in-browser",
        ]

    def _environment(self):
        folders = {
            name: str(self.folder / name.lower())
            for name in (
                "JUPYTER_CONFIG_DIR",
                "JUPYTER_DATA_DIR",
                "JUPYTER_RUNTIME_DIR",
                "JUPYTERLAB_SETTINGS_DIR",
                "JUPYTERLAB_WORKSPACES_DIR",
                "IPYTHONDIR",
            )
        }
        # The kernels must not believe that they are under test; see the nbval plugin.
        ours = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        return ours | folders

    def request(self, path, method="GET"):
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(self.address + path, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or "null")

    def _wait(self):
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.request("/api/status")
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.close()
                    report = (self.folder / "server.log").read_text()
                    raise RuntimeError(f"JupyterLab did not start:\n{report}") from None
                self._pause()
            else:
                return

    def _pause(self):
        # Waiting for the process is the pause: it ends at once when the server dies.
        try:
            self.process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            return

    def end_kernels(self):
        """Kernels outlive the page that started them."""
        for session in self.request("/api/sessions"):
            self.request(f"/api/sessions/{session['id']}", "DELETE")

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class NotebookPage:
    """One notebook open in a page of the browser."""

    def __init__(self, page, server, name):
        self.page, self.name = page, name
        # A workspace of its own: JupyterLab would open the last test's notebooks again.
        workspace = f"/lab/workspaces/{secrets.token_hex(8)}"
        path = f"{workspace}/tree/notebooks/{name}.ipynb?token={server.token}"
        page.goto(server.address + path)
        page.wait_for_function(
            "() => window.jupyterapp && window.jupyterapp.shell.currentWidget"
            " && window.jupyterapp.shell.currentWidget.context",
            timeout=START_SECONDS * 1000,
        )
        page.evaluate(WAIT_FOR_KERNEL)
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")

    def run_all(self):
        self.page.set_default_timeout(RUN_SECONDS * 1000)
        assert self.page.evaluate(RUN_ALL)
        self.page.set_default_timeout(30_000)

    def execute(self, code):
        """Run code in the notebook's kernel, outside of its cells."""
        assert self.page.evaluate(EXECUTE, code) == ["ok", ""]

    def errors(self):
        """The text of every error and warning shown in an output."""
        kinds = ("application/vnd.jupyter.error", "application/vnd.jupyter.stderr")
        selector = ", ".join(f'[data-mime-type="{kind}"]' for kind in kinds)
        return [found.inner_text() for found in self.page.locator(selector).all()]

    def counts(self):
        prompts = self.page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
        return [prompt.strip(" []:") for prompt in prompts]

    def widget(self):
        """The cell that shows a widget with a picture."""
        cell = self.page.locator(".jp-CodeCell", has=self.page.locator("img.widget-image")).first
        cell.scroll_into_view_if_needed()
        return Widget(cell)

    def screenshot(self, folder):
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
        self.page.locator(".jp-NotebookPanel-notebook").first.screenshot(
            path=Path(folder) / f"{self.name}.png"
        )


class Widget:
    """Sliders, a line of text and a picture inside one cell."""

    def __init__(self, cell):
        self.cell = cell

    def text(self):
        return self.cell.locator(".widget-html-content").first.inner_text()

    def picture(self):
        """The PNG bytes behind the picture, as the page has them."""
        script = """async image => {
          const answer = await fetch(image.src);
          const bytes = new Uint8Array(await answer.arrayBuffer());
          return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''));
        }"""
        image = self.cell.locator("img.widget-image").first
        return base64.b64decode(image.evaluate(script))

    def press(self, slider, key):
        """Give a slider the focus, press a key, and wait until the line of text has changed."""
        before = self.text()
        handle = self.cell.locator(".noUi-handle[role=slider]").nth(slider)
        handle.focus()
        handle.press(key)
        self._wait_for_another_text(before)

    def tick(self, box=0):
        before = self.text()
        self.cell.locator("input[type=checkbox]").nth(box).press("Space")
        self._wait_for_another_text(before)

    def press_button(self, label):
        before = self.text()
        self.cell.get_by_role("button", name=label, exact=True).press("Space")
        self._wait_for_another_text(before)

    def _wait_for_another_text(self, before):
        self.cell.page.wait_for_function(
            "([node, before]) => node.innerText !== before",
            arg=[self.cell.locator(".widget-html-content").first.element_handle(), before],
        )
