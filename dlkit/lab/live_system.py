"""What the widgets of live systems share: start, follow, stop; the systems are in `dlkit.live`.

A thread reads the system now and then and draws. It ends with the system, by itself after a while,
so that a forgotten widget does not keep a core busy.
"""

from __future__ import annotations

import contextlib
import html
import threading
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import ipywidgets

from dlkit.live.system import LiveSystem
from dlkit.plots.dashboard import Dashboard
from dlkit.plots.style import Picture

System = TypeVar("System", bound=LiveSystem[Any])


class LiveWidget(ipywidgets.VBox, Generic[System]):  # type: ignore[misc]  # it has no annotations
    """Buttons and controls above a line of text above a picture.

    Args:
        controls: What sets the system, also while it runs.
        longest: Seconds after which it stops by itself.
    """

    every = 1.0  # seconds between two pictures
    shown = 60  # readings in a picture, at most

    def __init__(self, controls: Sequence[ipywidgets.Widget], longest: float) -> None:
        self._longest = longest
        self.system: System | None = None
        self.picture: Picture | None = None
        self.start_button = ipywidgets.Button(description="Start", icon="play")
        self.stop_button = ipywidgets.Button(description="Stop", icon="stop", disabled=True)
        self.text = ipywidgets.HTML(html.escape(self._words()))
        # Hidden until there is a picture: browsers show an image without bytes as a broken one.
        layout = ipywidgets.Layout(align_self="flex-start", max_width="100%", display="none")
        self.image = ipywidgets.Image(format="png", layout=layout)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        buttons = ipywidgets.HBox([self.start_button, self.stop_button])
        super().__init__([buttons, *controls, self.text, self.image])
        self.start_button.on_click(lambda _: self.start())
        self.stop_button.on_click(lambda _: self.stop())
        for control in controls:
            control.observe(self._changed, names="value")

    def make(self) -> System:
        """Make a system as the controls say; it is started here."""
        raise NotImplementedError(f"{type(self).__name__} must define make")

    def change(self, system: System) -> None:
        """Set a running system as the controls say now."""
        raise NotImplementedError(f"{type(self).__name__} must define change")

    def dashboard(self, system: System) -> Dashboard[Any]:
        """Make the picture that follows a system."""
        raise NotImplementedError(f"{type(self).__name__} must define dashboard")

    def settings(self) -> str:
        """Say in words how the system would start."""
        raise NotImplementedError(f"{type(self).__name__} must define settings")

    def _words(self) -> str:
        return f"not started, {self.settings()}" if self.picture is None else self.picture.caption

    def _changed(self, _change: object) -> None:
        system = self.system  # it may end at this moment, and can still be set
        if system is not None:
            self.change(system)
        elif self.picture is None:
            self.text.value = html.escape(self._words())

    def start(self) -> None:
        """Start a new system, if none runs.

        Raises:
            Exception: Whatever making the system raises; the widget says so and may start again.
        """
        if self.system is not None:
            return
        self.start_button.disabled, self.stop_button.disabled = True, False
        self.text.value = "starting"
        try:
            self.system = self.make()
            dashboard = self.dashboard(self.system)
            dashboard.png()  # what matplotlib loads at its first picture is loaded before it runs
            self.system.start()
        except Exception as error:
            self.system = None
            self.text.value = html.escape(f"not started: {type(error).__name__}: {error}")
            self.start_button.disabled, self.stop_button.disabled = False, True
            raise
        self._ended.clear()
        self._thread = threading.Thread(
            target=self._follow, args=(dashboard,), name="dlkit live widget", daemon=True
        )
        self._thread.start()

    def _follow(self, dashboard: Dashboard[Any]) -> None:
        system = self.system
        assert system is not None
        ended, error = False, None
        try:
            for _ in range(max(round(self._longest / self.every), 1)):
                if ended or self._ended.wait(self.every):
                    break
                ended = system.wait(0)  # its last reading is shown too
                system.read()
                self._draw(system, dashboard)
        except Exception as raised:
            error = raised
        self._finish(system, error)

    def _draw(self, system: System, dashboard: Dashboard[Any]) -> None:
        dashboard.follow(list(system.history)[-self.shown :])
        self.picture = dashboard.picture
        self.image.value = dashboard.png()
        self.image.layout.display = None
        self.text.value = html.escape(self._words())

    def _finish(self, system: System, error: Exception | None) -> None:
        """Stop the system, also after an error of ours, and say how it ended."""
        try:
            system.stop()
        except Exception as raised:
            error = error or raised
        found = system.pipeline.counts()
        words = (
            f"stopped: {found.produced} items = {found.delivered} answered + {found.lost} dropped"
        )
        if error is not None:
            words = f"failed: {type(error).__name__}: {error}; {words}"
        self.text.value += f"<br>{html.escape(words)}"
        self.system = None
        self.start_button.disabled, self.stop_button.disabled = False, True

    def stop(self) -> None:
        """Stop the system and wait for its threads."""
        self._ended.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def close(self) -> None:
        """Stop, and take the widget from the page."""
        with contextlib.suppress(RuntimeError):
            self.stop()
        super().close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._words()}>"
