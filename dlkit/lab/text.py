"""The two forms of a notebook: text that people review, and the notebook that learners open.

``notebooks/text/NN_name.py`` (py:percent) and ``notebooks/NN_name.ipynb`` agree when type, source
and tags of every cell are equal. Outputs and ids live in the notebook only, so this module also
keeps those steady: a cell keeps its id from build to build, and nothing that depends on the clock
or the machine (times, versions, random widget ids) is written.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2] / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}

CellKey = tuple[str, str, tuple[str, ...]]

# nbformat annotates neither; these names give a strict type checker something to hold on to.
_node: Callable[[Any], NotebookNode] = nbformat.from_dict
_read: Callable[..., NotebookNode] = nbformat.read


def keys(notebook: NotebookNode) -> list[CellKey]:
    """Return what text and notebook must agree on: type, source and tags of each cell.

    Args:
        notebook: Any version 4 notebook.

    Returns:
        One tuple for each cell.

    >>> keys(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]))
    [('code', '1 + 1', ())]
    """
    return [
        (cell.cell_type, cell.source.strip(), tuple(cell.metadata.get("tags", ())))
        for cell in notebook.cells
    ]


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook file.

    Args:
        path: The ``.ipynb``.

    Returns:
        The notebook as version 4.
    """
    return _read(path, as_version=4)


def read_text(path: Path) -> NotebookNode:
    """Read a py:percent source as a notebook without outputs and with the fixed metadata.

    Args:
        path: The ``.py`` file.

    Returns:
        The notebook.
    """
    import jupytext

    notebook: NotebookNode = jupytext.read(path, fmt="py:percent")
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = _node({"tags": tags} if tags else {})
    notebook.metadata = _node(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def name_cells(notebook: NotebookNode, previous: NotebookNode | None) -> None:
    """Give every cell a stable id: the previous notebook's where the cell is still there.

    Args:
        notebook: Changed in place.
        previous: The last build, or None.
    """
    kept: dict[int, str] = {}
    if previous is not None:
        old, new = keys(previous), keys(notebook)
        matcher = SequenceMatcher(a=old, b=new, autojunk=False)
        for kind, i1, i2, j1, j2 in matcher.get_opcodes():
            # An edited cell stays the same cell: inside a replaced block pair by position.
            if kind == "equal" or (kind == "replace" and i2 - i1 == j2 - j1):
                pairs = zip(range(i1, i2), range(j1, j2), strict=True)
                kept |= {j: previous.cells[i].get("id", "") for i, j in pairs}
    used = set(kept.values())
    for position, cell in enumerate(notebook.cells):
        name, attempt = kept.get(position, ""), 0
        while not name or (position not in kept and name in used):
            text = f"{cell.cell_type}\n{cell.source}\n{attempt}"
            name, attempt = hashlib.sha256(text.encode()).hexdigest()[:8], attempt + 1
        used.add(name)
        cell.id = name


def normalise(notebook: NotebookNode, name: str) -> None:
    """Remove what differs between two runs of the same text.

    Args:
        notebook: Changed in place.
        name: Seed of the widgets' ids, which ipywidgets draws at random.
    """
    widgets = notebook.metadata.get("widgets")
    notebook.metadata = _node(METADATA)
    if widgets:
        notebook.metadata["widgets"] = widgets
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)
            for output in cell.outputs:
                output.pop("transient", None)
                if "traceback" in output:
                    output["traceback"] = [_without_home(line) for line in output["traceback"]]
    text = json.dumps(notebook)
    # The order of first appearance in the cells is the order of creation as a reader sees it.
    found = dict.fromkeys(re.findall(r'"(?:IPY_MODEL_)?([0-9a-f]{32})"', text))
    for count, old in enumerate(found):
        new = hashlib.sha256(f"{name} {count}".encode()).hexdigest()[:32]
        text = text.replace(old, new)
    fresh = _node(json.loads(text))
    notebook.cells, notebook.metadata = fresh.cells, fresh.metadata


def _without_home(line: str) -> str:
    """Shorten a traceback's paths to those below the project and below Python."""
    for folder in (ROOT.parent, Path(sys.prefix), Path(sys.base_prefix)):
        line = line.replace(f"{folder}{os.sep}", "")
        if folder.is_relative_to(Path.home()):
            line = line.replace(f"~{os.sep}{folder.relative_to(Path.home())}{os.sep}", "")
    return line


def pairs(root: Path, chosen: Sequence[str] = ()) -> list[tuple[Path, Path]]:
    """List (text, notebook) paths in the order of the course.

    Args:
        root: The folder that holds the notebooks and ``text/``.
        chosen: Numbers or beginnings of names; none means all.

    Returns:
        Pairs of paths; one side may be missing on disk.

    Raises:
        ValueError: If a choice matches nothing.
    """
    stems = {path.stem for path in root.glob("[0-9][0-9]_*.ipynb")}
    stems |= {path.stem for path in (root / "text").glob("[0-9][0-9]_*.py")}
    for choice in chosen:
        if not any(stem.startswith(choice) for stem in stems):
            raise ValueError(f"no notebook begins with {choice!r}; there are {sorted(stems)}")
    return [
        (root / "text" / f"{stem}.py", root / f"{stem}.ipynb")
        for stem in sorted(stems)
        if not chosen or stem.startswith(tuple(chosen))
    ]


def disagreement(text: Path, target: Path) -> str:
    """Say in one line how a pair disagrees, or return the empty string.

    Args:
        text: The ``.py`` source.
        target: The ``.ipynb``.

    Returns:
        The first difference in type, source or tags of a cell.
    """
    for path in (text, target):
        if not path.exists():
            return f"{path.name} is missing"
    ours, theirs = keys(read_text(text)), keys(read_notebook(target))
    for position, (wanted, found) in enumerate(zip(ours, theirs, strict=False)):
        if wanted != found:
            return f"cell {position}: text has {wanted!r}, notebook has {found!r}"
    if len(ours) != len(theirs):
        return f"text has {len(ours)} cells, notebook has {len(theirs)}"
    return ""
