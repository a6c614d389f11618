"""A JupyterLab server over copies of the notebooks, with settings and folders of its own."""

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
from pathlib import Path

from dlkit.cli.lab import EXTENSION
from dlkit.lab.text import ROOT
from tests.notebooks.nbval_plugin import threads_of_a_kernel

START_SECONDS = 60
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    # Every cell is in the page, so that a test finds cell 30 without scrolling to it.
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}


class Server:
    """`jupyter lab` on a free port of the loopback address, with settings of its own.

    Args:
        folder: Where it keeps everything.
        network: That in which it and its kernels live.
    """

    def __init__(self, folder, network):
        self.folder, self.token = Path(folder), secrets.token_hex(16)
        self._network = network
        self.notebooks = self.folder / "root" / "notebooks"
        self.notebooks.mkdir(parents=True)
        for path in ROOT.glob("*.ipynb"):
            shutil.copy(path, self.notebooks)
        settings = self.folder / "settings"
        settings.mkdir()
        (settings / "overrides.json").write_text(json.dumps(SETTINGS))
        with network.entered(), socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.log = (self.folder / "server.log").open("w+")
        with network.entered():
            self.process = subprocess.Popen(
                network.wrap(self._command(settings), self.folder),
                env=self._environment(),
                stdout=self.log,
                stderr=self.log,
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
            EXTENSION,
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
        # The kernels must not believe that they are under test, and several of them share the
        # cores; see the nbval plugin.
        ours = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        return threads_of_a_kernel(os.environ) | ours | folders

    def request(self, path, method="GET"):
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(self.address + path, method=method, headers=headers)
        with self._network.entered(), urllib.request.urlopen(request, timeout=10) as answer:
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
