"""Choosing one or some of several by mouse, or by the tab key and space.

In JupyterLab the arrow keys and the letters belong to the notebook as long as no text is edited:
pressed on a radio button or in a list, they move on to another cell or insert one. Buttons need
neither, so each option is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets

STYLE = """<style>
.dlkit-choice { margin-bottom: 8px }
.dlkit-choice > div { display: flex; flex-direction: column; align-items: flex-start; gap: 4px }
.dlkit-choice button.widget-toggle-button {
  width: auto; max-width: 100%; height: auto; padding: 3px 10px;
  border: 1px solid var(--jp-border-color1, #bdbdbd);
  line-height: 1.5; text-align: left; white-space: normal; overflow-wrap: anywhere }
</style>"""


def choice(options: Sequence[Any] = (), **arguments: Any) -> ipywidgets.ToggleButtons:
    """Return buttons side by side, one of which is pressed.

    Args:
        options: values, or pairs of a text and a value.
        arguments: of `ipywidgets.ToggleButtons`.

    Example:
        >>> colour = choice(("class", "sample"), description="colour by")
        >>> colour.value
        'class'
    """
    buttons = ipywidgets.ToggleButtons(options=options, **arguments)
    buttons.style.button_width = "auto"
    return buttons


def answers() -> tuple[ipywidgets.HTML, ipywidgets.ToggleButtons]:
    """Return buttons for sentences, one below the other, and the style that they need beside them.

    Example:
        >>> style, buttons = answers()
        >>> buttons.options, buttons.index = ["yes, always", "never"], None
    """
    return ipywidgets.HTML(STYLE), ipywidgets.ToggleButtons().add_class("dlkit-choice")


class Several(ipywidgets.HBox):  # type: ignore[misc]  # ipywidgets has no annotations
    """Buttons of which any number may be pressed.

    Args:
        options: their texts.
        description: what they are about, above them.

    Attributes:
        value: the texts of those that are pressed, which may be set.

    Example:
        >>> subjects = Several(("loader", "workers", "storage"), "subjects")
        >>> subjects.buttons["workers"].value = True
        >>> subjects.value
        ('workers',)
    """

    def __init__(self, options: Sequence[str], description: str) -> None:
        self.buttons = {
            text: ipywidgets.ToggleButton(description=text, layout={"width": "auto"})
            for text in options
        }
        label = ipywidgets.Label(description, layout={"width": "100%"})
        super().__init__([label, *self.buttons.values()], layout={"flex_flow": "row wrap"})

    @property
    def value(self) -> tuple[str, ...]:
        """The texts of the buttons that are pressed, in the order of the options."""
        return tuple(text for text, button in self.buttons.items() if button.value)

    @value.setter
    def value(self, pressed: Sequence[str]) -> None:
        for text, button in self.buttons.items():
            button.value = text in pressed
