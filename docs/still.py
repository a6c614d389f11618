"""A widget on a page, where no kernel answers: as it stood when the notebook was run.

The notebook's metadata holds the state of each widget. From it come the picture, the line of text
and the values of the controls; that they can be moved in the notebook is said beside them.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

WIDGET = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
HINT = "A widget, as it stood when the notebook was run. In the notebook it can be moved."
_REFERENCE = "IPY_MODEL_"
_SWITCH = {"True": "on", "False": "off"}
_CHOICES = ("ToggleButtons", "RadioButtons", "Dropdown", "Select", "SelectionSlider")

States = Mapping[str, Mapping[str, Any]]


def still(states: States, model: str, alt: str = "the widget's picture") -> str:
    """Draw a widget as HTML that needs no script.

    Args:
        states: every widget of the notebook, by id.
        model: the id of the one to draw.
        alt: what its picture shows, in words.

    Returns:
        An element with the values, texts and pictures that the widget shows.

    >>> slider = {"model_name": "IntSliderModel", "state": {"description": "size", "value": 8}}
    >>> print(still({"a": slider}, "a"))
    <div class="still">
    <span class="control">size: 8</span>
    <p class="hint">A widget, as it stood when the notebook was run. In the notebook it can be moved.</p>
    </div>
    """  # noqa: E501  # the hint stands on one line
    parts = "\n".join(_parts(states, model, html.escape(alt, quote=True)))
    return f'<div class="still">\n{parts}\n<p class="hint">{HINT}</p>\n</div>'


def _parts(states: States, model: str, alt: str) -> Iterator[str]:
    widget = states[model]
    state: Mapping[str, Any] = widget["state"]
    kind = widget["model_name"].removesuffix("Model")
    label = html.escape(str(state.get("description") or ""))
    value = state.get("value")
    if state.get("children"):
        for child in state["children"]:
            yield from _parts(states, child.removeprefix(_REFERENCE), alt)
    elif kind == "Image":
        for buffer in filter(_is_drawn, widget.get("buffers", ())):
            yield f'<img src="data:image/png;base64,{buffer["data"]}" alt="{alt}" />'
    elif kind.startswith("HTML"):
        if value:
            yield f"<div>{value}</div>"  # a widget shows it as HTML, too
    elif kind in ("Button", "ToggleButton"):
        yield f'<span class="control">{label}</span>'
    elif kind in _CHOICES:
        yield _control(label, _chosen(state))
    elif value is not None:
        yield _control(label, _SWITCH.get(str(value), str(value)))


def _is_drawn(buffer: Mapping[str, Any]) -> bool:
    """A widget that starts when a button is pressed has drawn nothing before."""
    return bool(buffer["data"])


def _chosen(state: Mapping[str, Any]) -> str:
    index, options = state.get("index"), state.get("_options_labels", ())
    return "" if index is None else str(options[index])


def _control(label: str, value: str) -> str:
    text = ": ".join(filter(None, (label, html.escape(value.strip()))))
    return f'<span class="control">{text}</span>' if text else ""
