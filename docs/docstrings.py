"""Docstrings as Sphinx reads them: a picture made of text stays a picture, a table a table.

The docstrings are written to be read in an editor. An indented block, which reStructuredText would
fill into a paragraph, becomes a literal block; rows between bars become a table; sections such as
`Args` are left to napoleon.
"""

from __future__ import annotations

import re
from typing import Any

_RULE = re.compile(r"[-|: ]+")
_CODE = re.compile(r"(`[^`\n]+`)(\w)?")
_SECTION = re.compile(r"(Args|Arguments|Attributes|Returns|Raises|Yields|Examples?|Notes?):$")


def keep_pictures(lines: list[str]) -> list[str]:
    """Mark the indented blocks before the first section as literal.

    Args:
        lines: a docstring without its indentation.

    Returns:
        Other lines.

    >>> keep_pictures(["The way:", "", "    a --> b", "", "Args:", "    x: one."])
    ['The way:', '', '::', '', '    a --> b', '', 'Args:', '    x: one.']
    """
    kept: list[str] = []
    inside = section = False
    for line in lines:
        if not line.strip():
            kept.append(line)
            continue
        indented = line.startswith("    ")
        section = section or bool(_SECTION.match(line))
        starts = indented and not inside and not section and bool(kept) and not kept[-1].strip()
        if starts and not _marked(kept):
            kept += ["::", ""]
        inside = indented
        kept.append(line)
    return kept


def _marked(lines: list[str]) -> bool:
    said = [line for line in lines if line.strip()]
    return bool(said) and (said[-1].endswith("::") or said[-1].startswith(".. "))


def with_tables(lines: list[str]) -> list[str]:
    """Turn the tables of Markdown into those of reStructuredText.

    >>> with_tables(["| a | b |", "|---|---|", "| 1 | 2 |"])[3:]
    ['    * - a', '      - b', '    * - 1', '      - 2']
    """
    made: list[str] = []
    for number, line in enumerate(lines):
        if not line.startswith("|"):
            made.append(line)
            continue
        if number == 0 or not lines[number - 1].startswith("|"):
            made += [".. list-table::", "    :header-rows: 1", ""]
        if not _RULE.fullmatch(line):
            cells = [cell.strip() for cell in line.strip("| ").split("|")]
            made += [
                f"    {'* -' if not place else '  -'} {cell}" for place, cell in enumerate(cells)
            ]
    return made


def with_endings(line: str) -> str:
    r"""Let a letter follow a word in backquotes, as in "`Path`s".

    >>> print(with_endings("`Path`s and `x` y"))
    `Path`\ s and `x` y
    """
    return _CODE.sub(lambda found: f"{found[1]}\\ {found[2]}" if found[2] else found[1], line)


def _process(
    _app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]
) -> None:
    lines[:] = [with_endings(line) for line in with_tables(keep_pictures(lines))]


def _skip(_app: Any, _what: str, _name: str, found: Any, skip: bool, _options: Any) -> bool:
    """Leave out what matplotlib adds to a subclass of its own."""
    return skip or str(getattr(found, "__module__", "")).startswith("matplotlib")


def setup(app: Any) -> dict[str, bool]:
    """Let Sphinx ask for the change before napoleon reads the sections."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
