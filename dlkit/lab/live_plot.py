"""The widget of the training notebook: learning curves that grow while a model trains."""

from __future__ import annotations

import html

import ipywidgets

from dlkit.plots.style import Picture, png
from dlkit.plots.training import learning_curves
from dlkit.trainer import Callback, Trainer
from dlkit.trainer.history import Row


class LivePlot(ipywidgets.VBox, Callback):  # type: ignore[misc]  # ipywidgets has no annotations
    """Learning curves above a line of text, redrawn after every epoch.

    Show it, then pass it to a trainer: ``display(live)`` and ``Trainer(..., callbacks=[live])``.

    >>> LivePlot()
    <LivePlot: no epoch yet>
    """

    def __init__(self) -> None:
        self.text = ipywidgets.HTML("no epoch yet")
        self.image = ipywidgets.Image(format="png")
        self.picture: Picture | None = None
        super().__init__([self.text, self.image])

    def on_fit_start(self, trainer: Trainer) -> None:
        """Draw what a trainer that goes on has learned before."""
        self.redraw(trainer)

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Draw all epochs so far."""
        self.redraw(trainer)

    def on_fit_end(self, trainer: Trainer) -> None:
        """Say in the text line why training ended early, if it did."""
        if trainer.stop_reason is not None:
            self.text.value += f"<br>stopped: {html.escape(trainer.stop_reason)}"

    def redraw(self, trainer: Trainer) -> None:
        """Show the curves of a trainer's history, and its last numbers in words."""
        if len(trainer.history):
            self.picture = learning_curves(trainer.history)
            self.image.value = png(self.picture)
            self.text.value = html.escape(self.picture.caption)

    def __repr__(self) -> str:
        return f"<LivePlot: {self.picture.caption if self.picture else 'no epoch yet'}>"
