"""The one pattern behind every widget: controls change, a picture and its text line follow.

A subclass names its controls and turns their values into a ``Picture`` by asking the package; it
computes nothing itself. The picture travels as PNG bytes in a ``widgets.Image``: callbacks run on
another thread than the cells, where printing and pyplot go astray. The text line says the same in
words, for tests, for screen readers, and for whoever wants the numbers.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Mapping
from typing import Any

import ipywidgets

from dlkit.plots.style import Picture, png

WIDE = {"description_width": "110px"}


class Explorer(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no annotations
    """Controls above a line of text above a picture.

    Args:
        controls: Name of each argument of ``draw`` to the widget that sets it.
    """

    def __init__(self, controls: Mapping[str, ipywidgets.Widget]) -> None:
        self.controls = dict(controls)
        self.text = ipywidgets.HTML()
        # At its own size: a box would stretch it to its full width.
        layout = ipywidgets.Layout(align_self="flex-start", max_width="100%")
        self.image = ipywidgets.Image(format="png", layout=layout)
        self.picture: Picture | None = None
        self._drawing = threading.Lock()
        super().__init__([ipywidgets.VBox(list(self.controls.values())), self.text, self.image])
        for control in self.controls.values():
            control.observe(self.redraw, names="value")
        self.redraw()

    def draw(self, **values: Any) -> Picture:
        """Turn the values of the controls into a picture whose caption says what it shows.

        Args:
            **values: One for each control.

        Returns:
            The picture.
        """
        raise NotImplementedError(f"{type(self).__name__} must define draw")

    def redraw(self, _change: object = None) -> None:
        """Show the picture and the text line for the present values of the controls."""
        # Two changes may arrive on two threads; the last drawn must be the last changed.
        with self._drawing:
            self.picture = self.draw(**{name: c.value for name, c in self.controls.items()})
            self.image.value = png(self.picture)
            self.text.value = html.escape(self.picture.caption)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        # JupyterLab runs no widget in a notebook that it does not trust, such as a fresh download.
        # It then shows the picture; the text is whole, where ipywidgets would cut it off.
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options)
        if self.picture is not None:
            picture, _ = self.picture._repr_mimebundle_()
            bundle |= {"image/png": picture["image/png"], "text/plain": repr(self)}
        return bundle

    def __repr__(self) -> str:
        # Stands in the notebook beside the widget, so that tests compare what is shown.
        return f"<{type(self).__name__}: {self.picture.caption if self.picture else ''}>"


def slider(
    label: str, value: int, smallest: int, largest: int, step: int = 1
) -> ipywidgets.IntSlider:
    """Make an integer slider wide enough to aim with; arrow keys move it by one step.

    Args:
        label: Text before the slider.
        value: Where it starts.
        smallest: Left end.
        largest: Right end.
        step: What one key press changes.

    Returns:
        The slider.

    Raises:
        ValueError: If it cannot start there; ipywidgets would start elsewhere and say nothing.

    >>> slider("batch size", 8, 1, 64).value
    8
    """
    if value not in range(smallest, largest + 1):
        raise ValueError(
            f"{label} must be an integer from {smallest} to {largest}, but got {value!r}"
        )
    return ipywidgets.IntSlider(
        value=value,
        min=smallest,
        max=largest,
        step=step,
        description=label,
        style=WIDE,
        layout=ipywidgets.Layout(width="520px"),
    )
