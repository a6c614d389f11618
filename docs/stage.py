"""The site's sources: one folder that Sphinx reads, gathered from all over the project.

docs/pages/              -> as they are: the front page, the glossary, the lesson plans
notebooks/*.ipynb        -> notebooks/     without widgets, with links to the glossary
README.md                -> results.md     the tables, which are written there alone
CONTRIBUTING, CHANGELOG  -> the same
docstrings               -> reference/
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from dlkit.lab.text import pairs, read_notebook
from docs.notebook_page import minutes_of, notebook_page, title_of
from docs.reference import reference_pages
from docs.slides import write_decks
from docs.terms import stage_styles, terms_of

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

_NOTEBOOK = re.compile(r"\[([^\]]*)\]\((?:[\w./]*/)?(\d\d_\w+)\.ipynb\)")
_TABLE = "<!-- the table of the course -->"
_write: Callable[..., None] = nbformat.write  # nbformat does not annotate it


def notebooks(chosen: Sequence[str] = ()) -> dict[str, NotebookNode]:
    """Read the notebooks whose names begin as one of `chosen`; all of them if that is empty."""
    return {path.stem: read_notebook(path) for _, path in pairs(ROOT / "notebooks", chosen)}


def without_links_to(left_out: Collection[str], text: str) -> str:
    """Turn links to notebooks that are not part of a site into plain text.

    >>> without_links_to(["02_b"], "[one](01_a.ipynb), [two](../notebooks/02_b.ipynb)")
    '[one](01_a.ipynb), two'
    """
    return _NOTEBOOK.sub(lambda found: found[1] if found[2] in left_out else found[0], text)


def results_page(readme: str) -> str:
    r"""Take the tables of results, with the commands that measure them, out of the README.

    Args:
        readme: its text.

    Returns:
        A page of its own.

    >>> results_page("# dlkit\n\n## Figures\n\n| a |\n\n## Next\n")
    '# Results\n\n| a |\n'
    """
    (section,) = re.findall(r"^## Figures\n(.*?)(?=^## )", readme, re.DOTALL | re.MULTILINE)
    return f"# Results\n\n{section.strip()}\n"


def course_table(books: Mapping[str, NotebookNode]) -> str:
    """Write the table of the course: each notebook with its minutes, lesson plan and slides."""
    rows = "".join(
        f"| [{title_of(book)}](../notebooks/{name}.ipynb) | {minutes_of(book)} "
        f'| [plan]({name}.md) | <a href="../slides/{name}.html">slides</a> |\n'
        for name, book in books.items()
    )
    return f"| notebook | minutes | lesson plan | slides |\n|---|---:|---|---|\n{rows}"


def gather(folder: Path, chosen: Sequence[str] = (), modules: Sequence[str] = ()) -> None:
    """Write all sources.

    Args:
        folder: where to; made anew.
        chosen: how the names of the notebooks begin; all if empty.
        modules: which pages of the reference; all if empty.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DOCS / "pages", folder)
    shutil.copytree(ROOT / "notebooks" / "images", folder / "notebooks" / "images")
    books = notebooks(chosen)
    left_out = {path.stem for _, path in pairs(ROOT / "notebooks")} - books.keys()
    for notebook in books.values():
        for cell in notebook.cells:
            cell.source = without_links_to(left_out, cell.source)
    for plan in (folder / "plans").glob("[0-9]*.md"):
        if plan.stem in books:
            title, _, rest = plan.read_text(encoding="utf-8").partition("\n")
            _save(plan, f"{title}\n\n{_beside(plan.stem)}\n{rest}")
        else:
            plan.unlink()
    for page in folder.rglob("*.md"):
        _change(page, lambda text: without_links_to(left_out, text))
    table = course_table(books)
    _change(folder / "plans" / "index.md", lambda text: text.replace(_TABLE, table))
    terms = terms_of((folder / "glossary.md").read_text(encoding="utf-8"))
    for name, notebook in books.items():
        _write(notebook_page(name, notebook, terms), folder / "notebooks" / f"{name}.ipynb")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    _save(folder / "results.md", results_page(readme))
    for name in ("CONTRIBUTING", "CHANGELOG"):
        shutil.copy(ROOT / f"{name}.md", folder / f"{name.lower()}.md")
    for name, text in reference_pages(modules).items():
        _save(folder / "reference" / f"{name}.rst", text)
    _save(folder / "_static" / "stages.css", stage_styles())
    shutil.copy(DOCS / "static" / "site.css", folder / "_static")
    write_decks(books, folder / "_extra" / "slides")


def _beside(name: str) -> str:
    return (
        f'<p class="beside"><a href="../notebooks/{name}.html">Notebook</a> '
        f'<a href="../slides/{name}.html">Slides</a></p>'
    )


def _change(path: Path, change: Callable[[str], str]) -> None:
    _save(path, change(path.read_text(encoding="utf-8")))


def _save(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
