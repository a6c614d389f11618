"""Slides for a teacher, one deck for each notebook, by rules that every notebook keeps.

    ## heading           a slide; what belongs to it stands below it
    **Investigate.** ... a slide below, so that it can be talked about before it is read
    code, up to 15 lines a slide below; what it prints or draws appears at the next key press
    longer code          only what it gives
    imports              not shown

The rules give each cell its `slideshow` metadata, and nbconvert makes of it what it makes of
slides that were tagged by hand. The decks show themselves with reveal.js, from a folder beside
them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import SlidesExporter
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

from docs.mathml import with_formulas
from docs.notebook_page import title_of, without_widgets

MOST_LINES = 15  # of code that a slide shows
MOST_TOGETHER = 22  # lines on one slide; a picture counts as sixteen
_PICTURE = 16
_STEP = re.compile(r"^(?=\*\*(?:Investigate|Modify)\.?\*\*|<details>)", re.MULTILINE)
_NOTEBOOK = re.compile(r"\((\d\d_\w+)\.ipynb\)")
_Exporter: Callable[..., Any] = SlidesExporter  # neither it nor `from_dict` is annotated
_node: Callable[[Any], NotebookNode] = nbformat.from_dict
_DECK = Path(__file__).parent / "deck"
_REVEAL = (
    "dist/reveal.js",
    "dist/reveal.css",
    "dist/reset.css",
    "plugin/notes/notes.js",
    "LICENSE",
)


def deck_of(notebook: NotebookNode) -> NotebookNode:
    """Turn a notebook into cells that are tagged as slides.

    Args:
        notebook: executed, as it is committed.

    Returns:
        A notebook whose cells have a `slide_type` in their `slideshow` metadata.
    """
    deck = without_widgets(notebook)
    deck.cells = [piece for cell in deck.cells for piece in _pieces(cell)]
    for number, cell in enumerate(deck.cells):
        cell.id = f"slide-{number}"
    return deck


def _pieces(cell: NotebookNode) -> Iterator[NotebookNode]:
    if cell.cell_type == "markdown":
        yield from _text_pieces(cell)
        return
    shown = bool(cell.outputs)
    lines = cell.source.count("\n") + 1
    if only_imports(cell.source) and not any("data" in output for output in cell.outputs):
        yield _piece(cell, "skip")
    elif lines > MOST_LINES:
        yield _piece(cell, "subslide" if shown else "skip", source="")
    elif shown and lines + _height(cell.outputs) > MOST_TOGETHER:
        yield _piece(cell, "subslide", outputs=[])
        yield _piece(cell, "subslide", source="")
    else:
        yield _piece(cell, "subslide")


def _text_pieces(cell: NotebookNode) -> Iterator[NotebookNode]:
    for number, text in enumerate(part for part in _STEP.split(cell.source) if part.strip()):
        starts = number == 0 and text.lstrip().startswith("#")
        text = _NOTEBOOK.sub(r"(\1.html)", with_formulas(text))  # from deck to deck
        yield _piece(cell, "slide" if starts else "subslide", source=text)


def _piece(cell: NotebookNode, kind: str, **changes: Any) -> NotebookNode:
    piece = _node({**cell, **changes})
    piece.metadata = _node({"slideshow": {"slide_type": kind}})
    return piece


def only_imports(source: str) -> bool:
    r"""Say whether a cell is the one with the imports: more than half of its lines are of them.

    >>> only_imports("import torch\nfrom torch import nn"), only_imports("x = 1\nprint(x)")
    (True, False)
    """
    lines = [line for line in source.splitlines() if line.strip()]
    return sum(line.startswith(("import ", "from ")) for line in lines) > len(lines) / 2


def _height(outputs: Iterable[Any]) -> int:
    """Estimate the lines that outputs take on a slide."""
    lines = 0
    for output in outputs:
        data = output.get("data", {})
        if "image/png" in data or "<img" in str(data.get("text/html", "")):
            lines += _PICTURE
        else:
            text = output.get("text") or data.get("text/plain") or data.get("text/html") or ""
            lines += str(text).count("\n") + 1
    return lines


def deck_html(name: str, notebook: NotebookNode) -> str:
    """Write a deck as one page of HTML.

    Args:
        name: of the notebook, such as "01_batching".
        notebook: executed, as it is committed.

    Returns:
        The page; it refers to `deck.css` and `reveal/` in its own folder.
    """
    exporter = _Exporter(
        extra_template_basedirs=[str(_DECK.parent)], template_name="deck", exclude_anchor_links=True
    )
    resources = {"deck": {"title": title_of(notebook), "page": f"../notebooks/{name}.html"}}
    page, _ = exporter.from_notebook_node(deck_of(notebook), resources)
    return str(page)


def write_decks(books: Mapping[str, NotebookNode], folder: Path) -> None:
    """Write all decks, and what they need, into one folder.

    Args:
        books: the notebooks by their names.
        folder: where to; made by this function.
    """
    folder.mkdir(parents=True)
    for name, notebook in books.items():
        (folder / f"{name}.html").write_text(deck_html(name, notebook), encoding="utf-8")
    colours = HtmlFormatter(style="friendly").get_style_defs(".highlight")
    style = (_DECK / "deck.css").read_text(encoding="utf-8")
    (folder / "deck.css").write_text(f"{style}\n{colours}\n", encoding="utf-8")
    reveal = Path(str(files("sphinx_revealjs"))) / "_static" / "revealjs"
    (folder / "reveal").mkdir()
    for part in _REVEAL:
        shutil.copy(reveal / part, folder / "reveal")
