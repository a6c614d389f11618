"""Notebooks for a class: a student's edition without solutions, a solved one with nothing else.

``python -m dlkit.lab.exercises.editions SOURCE.py TARGET.ipynb`` fills the stubs of a notebook's
text source with solutions, runs it, and writes the solved edition.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dlkit.lab.exercises.contract import HUNTS, TOPICS, Exercise, find, names
from dlkit.lab.exercises.definitions import definitions
from dlkit.lab.text import read_text

_write: Callable[..., None] = nbformat.write  # nbformat does not annotate it
_cell: dict[str, Callable[..., NotebookNode]] = {
    "code": new_code_cell,
    "markdown": new_markdown_cell,
}


def export(folder: Path, solved: bool) -> list[Path]:
    """Write one notebook for each topic.

    Args:
        folder: Where; it is made if it does not exist.
        solved: Whether solutions stand in place of the stubs.

    Returns:
        The notebooks' paths.

    Raises:
        RuntimeError: If a student's notebook would contain a line of a solution.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, topic in enumerate([t for t in TOPICS if names(t)], start=1):
        exercises = [find(name) for name in names(topic)]
        notebook = _notebook(topic, exercises, solved)
        if not solved:
            for exercise in exercises:
                leaked = leaks(exercise, "\n".join(cell.source for cell in notebook.cells))
                if leaked:
                    raise RuntimeError(f"{topic}: a line of {exercise.name} leaks: {leaked[0]!r}")
        path = folder / f"{number:02}_{topic}.ipynb"
        _write(notebook, path)
        written.append(path)
    return written


def _notebook(topic: str, exercises: Sequence[Exercise], solved: bool) -> NotebookNode:
    cells = [_cell["markdown"](f"# {topic.capitalize()}"), _code("from dlkit.lab import exercise")]
    for item in exercises:
        texts = item.texts()
        cells.append(_cell["markdown"](f"## {texts.title}\n\n{texts.statement}"))
        cells.append(_code(item.solution if solved else item.stub, item.name))
        cells.append(_code(f'exercise("{item.name}").check({item.reference.__name__})'))
    made: NotebookNode = new_notebook(cells=cells)
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    return made


def _code(source: str, name: str = "") -> NotebookNode:
    cell = _cell["code"](source.strip())
    if name:
        cell.metadata["dlkit"] = {"exercise": name}  # finds the answer again, whatever is written
    return cell


def leaks(exercise: Exercise, text: str) -> list[str]:
    """Return the lines of a solution that stand in a text and not in the stub."""
    given = {line.strip() for line in exercise.stub.splitlines()}
    own = [line.strip() for line in exercise.solution.splitlines()]
    there = {line.strip() for line in text.splitlines()}
    return [line for line in own if len(line) > 12 and line not in given and line in there]


def stub_of(source: str) -> Exercise | None:
    """Return the exercise or bug hunt whose stub a cell's source holds, if it does.

    An exercise is unsolved while nothing is written; a hunt, which begins with code, while that
    stands there as it was given.
    """
    defined = definitions(source)
    for name in defined.keys() & set(names(HUNTS)):
        if defined[name] == definitions(find(name).stub)[name]:
            return find(name)
    if "raise NotImplementedError" in source:
        for name in names():
            if find(name).reference.__name__ in defined:
                return find(name)
    return None


def solve(notebook: NotebookNode) -> int:
    """Replace every stub of a notebook by its solution, in place.

    Returns:
        How many there were.
    """
    count = 0
    for cell in notebook.cells:
        exercise = stub_of(cell.source) if cell.cell_type == "code" else None
        if exercise is not None:
            cell.source = exercise.solution.strip()
            count += 1
    return count


def main(argv: Sequence[str] | None = None) -> int:
    """Make a solved edition from the command line; 0 when it ran to its end."""
    from dlkit.lab.build import execute

    parser = argparse.ArgumentParser(
        prog="python -m dlkit.lab.exercises.editions", description=__doc__
    )
    parser.add_argument("source", type=Path, help="the notebook's text source")
    parser.add_argument("target", type=Path, help="the notebook to write")
    options = parser.parse_args(argv)
    notebook: Any = read_text(options.source)
    count = solve(notebook)
    execute(notebook, options.target.parent)
    _write(notebook, options.target)
    print(f"{options.target}: {count} exercises solved", file=sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
