"""Grade what students hand in: a folder of notebooks and scripts, none trusted.

Nothing of a submission runs in this process: its code is executed in the child that checks it,
under the same limits as any answer. A submission that cannot be read, hangs or crashes costs its
own marks and nobody else's.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from dlkit.lab.exercises.contract import Exercise, find, names
from dlkit.lab.exercises.definitions import definitions
from dlkit.lab.exercises.grading import check


@dataclass(frozen=True)
class Mark:
    """One line of the table.

    Args:
        submission: The file, relative to the folder.
        exercise: Its name, or "" if the file cannot be read.
        passed: Whether the answer is right.
        state: "passed", "failed", "untouched" or "unreadable".
        mistake: The known mistake, or what broke.
        message: The whole verdict.
    """

    submission: str
    exercise: str
    passed: bool
    state: str
    mistake: str
    message: str


class Submitted:
    """An answer that is still text; it becomes code in the child, when it is unpickled there."""

    def __init__(self, cells: Sequence[str], name: str) -> None:
        self.cells, self.name = tuple(cells), name

    def __reduce__(self) -> tuple[Any, ...]:
        return build, (self.cells, self.name)

    def __call__(self) -> None:
        """Do nothing: it is never called here."""


def build(cells: Sequence[str], name: str) -> Any:
    """Execute cells and return what they define under a name.

    Raises:
        NameError: If they do not define it, with the last error of a cell.
    """
    namespace: dict[str, Any] = {"__name__": "submission"}
    failure = ""
    for cell in cells:
        try:
            exec(compile(cell, "<submission>", "exec"), namespace)
        except Exception as error:
            failure = f"; {type(error).__name__}: {error}"
    if name not in namespace:
        raise NameError(f"{name} is not defined{failure}")
    return namespace[name]


def grade(folder: Path) -> Iterator[Mark]:
    """Grade every notebook and script under a folder.

    Args:
        folder: The submissions; a student's folder may hold several files.

    Yields:
        A mark for each exercise that a file answers, as soon as it is known.

    Raises:
        NotADirectoryError: If there is no such folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"folder must be a folder of submissions, but got {str(folder)!r}")
    for path in sorted([*folder.rglob("*.ipynb"), *folder.rglob("*.py")]):
        if ".ipynb_checkpoints" in path.parts:
            continue
        label = str(path.relative_to(folder))
        try:
            cells = _cells(path)
        except Exception as error:  # whatever a broken file makes a reader raise
            text = f"{type(error).__name__}: {error}"
            yield Mark(label, "", False, "unreadable", type(error).__name__, text)
            continue
        for exercise, sources in _answers(cells):
            yield _mark(label, exercise, sources)


def _mark(label: str, exercise: Exercise, sources: list[str]) -> Mark:
    try:
        verdict = check(exercise, Submitted(sources, exercise.reference.__name__))
    except Exception as error:  # a fault of ours must not stop the others either
        text = f"{type(error).__name__}: {error}"
        return Mark(label, exercise.name, False, "unreadable", type(error).__name__, text)
    state = "passed" if verdict.passed else "untouched" if verdict.untouched else "failed"
    mistake = verdict.mistake or verdict.broken
    return Mark(label, exercise.name, verdict.passed, state, mistake, verdict.message)


def _cells(path: Path) -> list[tuple[str, str]]:
    """(source, exercise that the cell is tagged with) of all code cells of a file."""
    if path.suffix == ".py":
        return [(path.read_text(encoding="utf-8"), "")]
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    return [
        (str(cell.source), str(cell.metadata.get("dlkit", {}).get("exercise", "")))
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def _answers(cells: list[tuple[str, str]]) -> Iterator[tuple[Exercise, list[str]]]:
    """Each exercise that is answered, with the cells that it needs: its own, and what is shared."""
    wanted = {find(name).reference.__name__: name for name in names()}
    owners = []
    for source, tag in cells:
        defined = [wanted[found] for found in definitions(source) if found in wanted]
        owners.append([tag] if tag in names() else defined)
    shared = [
        "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))
        for (source, _), owner in zip(cells, owners, strict=True)
        if not owner and "exercise(" not in source and ".check(" not in source
    ]
    for name in dict.fromkeys(name for owner in owners for name in owner):
        own = [source for (source, _), o in zip(cells, owners, strict=True) if name in o]
        yield find(name), [*shared, *own]


def write_csv(marks: Sequence[Mark], path: Path) -> None:
    """Write marks as a table with a header."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Mark))
        writer.writerows(astuple(mark) for mark in marks)
