"""Learners' copies: the notebooks in a folder of the learner's own, where they may be changed.

What is in the folder is compared with what was copied there, which `.dlkit.json` remembers:

    not there                  copied
    as it was copied           replaced, when there is a new version
    changed by the learner     left alone; a new version is put beside it, as NAME.new.ipynb
    reset                      kept as NAME.mine.ipynb, and copied again

A file is replaced whole or not at all, so two labs may start in one folder at once.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from dlkit.files import replacing

FIRST_NOTEBOOK = "00_start_here.ipynb"
MEMORY = ".dlkit.json"


@dataclass
class Report:
    """What happened to the files of a folder, by their paths in it.

    Attributes:
        copied: files that were not there.
        updated: files that the learner had not changed, now of the new version.
        beside: files that the learner has changed, as the new version beside each is called.
        kept: after a reset, as the learner's own version is called now.
    """

    copied: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = []
        if self.copied:
            count = len(self.copied)
            lines.append("1 file was copied." if count == 1 else f"{count} files were copied.")
        if self.updated:
            lines.append(f"Brought up to date: {', '.join(self.updated)}.")
        if self.beside:
            lines.append(
                f"New versions lie beside what you have changed: {', '.join(self.beside)}."
            )
        if self.kept:
            lines.append(f"What you had is kept as {', '.join(self.kept)}.")
        return "\n".join(lines)


def find_notebooks(start: Path | None = None) -> Path:
    """Return the folder of the notebooks that came with this package.

    Args:
        start: the only folder to look in; those of a checkout and of an installed package if None.

    Raises:
        FileNotFoundError: there is none.
    """
    package = Path(__file__).resolve().parents[1]
    places = [start] if start else [package.parent / "notebooks", package / "notebooks"]
    for place in places:
        if (place / FIRST_NOTEBOOK).is_file():
            return place
    raise FileNotFoundError(
        f"{FIRST_NOTEBOOK} was not found in {' or '.join(map(str, places))}: this installation of "
        "dlkit is not whole. Install it again, or run `make lab` in a checkout."
    )


def notebook_files(source: Path) -> list[Path]:
    """Return what a learner needs of a folder of notebooks, as paths within it.

    Example:
        >>> files = notebook_files(find_notebooks())
        >>> Path("00_start_here.ipynb") in files, Path("images/pipeline.png") in files
        (True, True)
    """
    found = [*source.glob("*.ipynb"), *(p for p in source.glob("images/*") if p.is_file())]
    return sorted(path.relative_to(source) for path in found)


def bring_copies(folder: Path, source: Path | None = None) -> Report:
    """Copy the notebooks into a folder, without touching what its owner has changed there.

    Args:
        folder: where to; it is made.
        source: where from; the notebooks that came with this package if None.

    Raises:
        FileNotFoundError: there are no notebooks to copy.
        OSError: the folder cannot be written.
    """
    source = find_notebooks(source)
    folder.mkdir(parents=True, exist_ok=True)
    memory, report = _remembered(folder), Report()
    for path in notebook_files(source):
        name, content = path.as_posix(), (source / path).read_bytes()
        new, was = _digest(content), memory.get(name)
        here = _digest_of(folder / path)
        if here is None:
            _replace(folder / path, content)
            report.copied.append(name)
        elif here != new and here == was:
            _replace(folder / path, content)
            report.updated.append(name)
        elif here != new and new != was:
            beside = path.with_suffix(f".new{path.suffix}")
            if _digest_of(folder / beside) != new:
                _replace(folder / beside, content)
                report.beside.append(beside.as_posix())
        memory[name] = new
    _replace(folder / MEMORY, json.dumps(memory, indent=1, sort_keys=True).encode())
    return report


def reset_copy(folder: Path, name: str, source: Path | None = None) -> Report:
    """Give a notebook back as it came, and keep the learner's version beside it.

    Args:
        folder: the learner's folder.
        name: the notebook's name, or how it begins: "01" or "01_batching".
        source: where from; the notebooks that came with this package if None.

    Raises:
        ValueError: no notebook is called so, or several are.
    """
    source = find_notebooks(source)
    names = [path.name for path in notebook_files(source) if path.suffix == ".ipynb"]
    found = [known for known in names if name in (known, Path(known).stem)] or [
        known for known in names if name and known.startswith(name)
    ]
    if len(found) != 1:
        raise ValueError(
            f"{name!r} names {len(found) or 'no'} notebooks; there are: "
            f"{', '.join(Path(known).stem for known in names)}"
        )
    mine, report = folder / found[0], Report()
    if mine.exists() and _digest_of(mine) != _digest_of(source / found[0]):
        report.kept.append(_set_aside(mine).name)
    mine.unlink(missing_ok=True)
    brought = bring_copies(folder, source)
    report.copied, report.updated, report.beside = brought.copied, brought.updated, brought.beside
    return report


def _set_aside(path: Path) -> Path:
    """Rename a file to the first free name of NAME.mine.ipynb, NAME.mine-2.ipynb, ..."""
    number = 1
    while True:
        mark = ".mine" if number == 1 else f".mine-{number}"
        kept = path.with_suffix(mark + path.suffix)
        try:
            os.link(path, kept)  # unlike a rename, it never replaces
        except FileExistsError:
            number += 1
            continue
        except OSError:  # a file system without links
            if kept.exists():
                number += 1
                continue
            os.replace(path, kept)
            return kept
        path.unlink()
        return kept


def _remembered(folder: Path) -> dict[str, str]:
    """Return what was copied into a folder; nothing if that is not known or damaged."""
    try:
        memory = json.loads((folder / MEMORY).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(memory, dict):
        return {}
    return {name: digest for name, digest in memory.items() if isinstance(digest, str)}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of(path: Path) -> str | None:
    try:
        return _digest(path.read_bytes())
    except FileNotFoundError:
        return None


def _replace(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content)
