"""A notebook as a page: what it says and what it gave, without a kernel and without a network."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Collection
from typing import Any

import nbformat
from nbformat import NotebookNode

from docs.still import STATE, WIDGET, still
from docs.terms import link_terms

# Comments for the tools that check and format the notebooks; a reader needs none of them.
_FOR_TOOLS = re.compile(r"^# NBVAL_IGNORE_OUTPUT\n|[ ]*# fmt: skip$", re.MULTILINE)
_CAPTION = re.compile(r"<\w+: (.*)>", re.DOTALL)
_MINUTES = re.compile(r"\*\*Time:\*\* (\d+) minutes")

_markdown: Callable[..., NotebookNode] = nbformat.v4.new_markdown_cell


def title_of(notebook: NotebookNode) -> str:
    """Return the heading of a notebook: "01 Batching"."""
    return str(notebook.cells[0].source.partition("\n")[0].removeprefix("# "))


def minutes_of(notebook: NotebookNode) -> int:
    """Return how many minutes a notebook says that it takes.

    Raises:
        ValueError: if its first cell does not say so.
    """
    found = _MINUTES.search(notebook.cells[0].source)
    if found is None:
        raise ValueError(f"{title_of(notebook)}: the first cell has no '**Time:** N minutes'")
    return int(found[1])


def without_tools(source: str) -> str:
    r"""Leave out the comments that only tools read.

    >>> without_tools("# NBVAL_IGNORE_OUTPUT\nprint(1)  # fmt: skip")
    'print(1)'
    """
    return _FOR_TOOLS.sub("", source)


def without_widgets(notebook: NotebookNode) -> NotebookNode:
    """Return a copy of a notebook in which each widget is replaced by how it looked.

    Args:
        notebook: an executed notebook.

    Returns:
        The copy; its pictures have a text in words, taken from their caption.
    """
    page = copy.deepcopy(notebook)
    states = page.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})
    for cell in page.cells:
        if cell.cell_type == "code":
            cell.source = without_tools(cell.source)
            for output in cell.outputs:
                _make_still(output, states)
    return page


def _make_still(output: Any, states: Any) -> None:
    data = output.get("data", {})
    caption = _CAPTION.fullmatch(str(data.get("text/plain", "")).strip())
    if WIDGET in data:
        model = data[WIDGET]["model_id"]
        alt = caption[1] if caption else "the widget's picture"
        output["data"] = {"text/html": still(states, model, alt)}
    elif "image/png" in data and caption:
        output["metadata"]["alt"] = caption[1]


def notebook_page(name: str, notebook: NotebookNode, terms: Collection[str]) -> NotebookNode:
    """Turn a notebook into the source of its page.

    Args:
        name: such as "01_batching".
        notebook: executed, as it is committed.
        terms: what the glossary explains; the first mention of each becomes a link.

    Returns:
        Another notebook.
    """
    page = without_widgets(notebook)
    linked: set[str] = set()
    for cell in page.cells:
        if cell.cell_type == "markdown":
            cell.source = link_terms(cell.source, terms, linked)
        else:
            _describe_pictures(cell)
    links = (
        '<p class="beside">'
        f'<a href="../slides/{name}.html">Slides</a> '
        f'<a href="../plans/{name}.html">Lesson plan</a> '
        f"<code>dlkit lab</code> opens it, with {name}.ipynb yours to change</p>"
    )
    page.cells.insert(1, _markdown(links, id="beside"))
    return page


def _describe_pictures(cell: NotebookNode) -> None:
    for output in cell.outputs:
        alt = output.get("metadata", {}).pop("alt", None)
        if alt:
            cell.metadata["mystnb"] = {"image": {"alt": alt}}
