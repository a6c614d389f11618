"""The widget of the real-time notebook: live digits, with the load on a slider.

Start, drag the rate while it runs, stop. A thread reads the system once a second and draws; it
ends with the system, by itself after a while, so that a forgotten widget does not keep a core busy.
"""

from __future__ import annotations

import contextlib
import html
import threading
from collections.abc import Callable
from typing import Any

import ipywidgets
import torch

from dlkit.lab.explorer import WIDE, slider
from dlkit.live.digits import LiveDigits
from dlkit.plots.streaming import live_digits
from dlkit.plots.style import Picture, png

EVERY = 1.0  # seconds between two pictures; drawing takes time from the system that it shows
SHOWN = 60  # readings in a picture


class LiveDigitsWidget(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no annotations
    """Buttons and a slider above a line of text above a picture.

    Args:
        model: From images to logits; the system trains one if there is none.
        rate: Frames/s at the start.
        objective: Seconds that 99 % of the answers should take at most; None for fixed batches.
        longest: Seconds after which it stops by itself.
        **options: Those of ``LiveDigits``.

    >>> LiveDigitsWidget(lambda images: torch.zeros(len(images), 10))
    <LiveDigitsWidget: not started, 100 frames/s, objective 50 ms>
    """

    def __init__(
        self,
        model: Callable[[torch.Tensor], torch.Tensor] | None = None,
        rate: int = 100,
        objective: float | None = 0.05,
        longest: float = 120.0,
        **options: Any,
    ) -> None:
        self._objective, self._longest = objective, longest
        self.system: LiveDigits | None = None
        self.picture: Picture | None = None
        self.rate: ipywidgets.IntSlider = slider("frames/s", rate, 30, 2000, 10)
        self._model, self._options = model, options
        self.start_button = ipywidgets.Button(description="Start", icon="play")
        self.stop_button = ipywidgets.Button(description="Stop", icon="stop", disabled=True)
        self.text = ipywidgets.HTML(html.escape(self._words()))
        layout = ipywidgets.Layout(align_self="flex-start", max_width="100%")
        self.image = ipywidgets.Image(format="png", layout=layout)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        buttons = ipywidgets.HBox([self.start_button, self.stop_button])
        super().__init__([buttons, self.rate, self.text, self.image])
        self.rate.style = WIDE
        self.start_button.on_click(lambda _: self.start())
        self.stop_button.on_click(lambda _: self.stop())
        self.rate.observe(self._set_rate, names="value")

    def _words(self) -> str:
        if self.picture is not None:
            return self.picture.caption
        objective = self._objective
        goal = "no objective" if objective is None else f"objective {objective * 1e3:.0f} ms"
        return f"not started, {self.rate.value} frames/s, {goal}"

    def _set_rate(self, change: Any) -> None:
        if self.system is not None:
            self.system.rate = change["new"]

    def start(self) -> None:
        """Start a new system, if none runs."""
        if self.system is not None:
            return
        self.start_button.disabled, self.stop_button.disabled = True, False
        self.system = LiveDigits(self._model, self.rate.value, self._objective, **self._options)
        self.system.start()
        self._ended.clear()
        self._thread = threading.Thread(target=self._follow, name="dlkit live widget", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        system = self.system
        assert system is not None
        readings = max(round(self._longest / EVERY), 1)
        for _ in range(readings):
            if self._ended.wait(EVERY) or system.wait(0):
                break
            system.read()
            self.picture = live_digits(list(system.history)[-SHOWN:], self._objective)
            self.image.value = png(self.picture)
            self.text.value = html.escape(self._words())
        self._finish(system)

    def _finish(self, system: LiveDigits) -> None:
        counts = system.pipeline
        error: Exception | None = None
        try:
            system.stop()
        except Exception as raised:
            error = raised
        found = counts.counts()
        words = (
            f"stopped: {found.produced} frames = {found.delivered} answered + {found.lost} dropped"
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
        return f"<LiveDigitsWidget: {self._words()}>"
