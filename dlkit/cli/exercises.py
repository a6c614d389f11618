"""``dlkit exercises``: list what there is to practise, hand it out, and grade what comes back."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

EXAMPLES = """\
examples:
  dlkit exercises list
  dlkit exercises list --json
  dlkit exercises export --students handout
  dlkit exercises export --solutions answers
  dlkit exercises grade submissions --csv marks.csv
"""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command's arguments to the command line."""
    parser = subparsers.add_parser(
        "exercises",
        help="list exercises, hand them out, and grade submissions",
        description="List exercises, hand them out, and grade submissions.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    action = actions.add_parser("list", help="name all of them, with their numbers")
    action.add_argument("--json", action="store_true", help="as a list of objects")
    action.set_defaults(run=run_list)
    action = actions.add_parser("export", help="write notebooks, one for each topic")
    target = action.add_mutually_exclusive_group(required=True)
    target.add_argument("--students", type=Path, metavar="DIR", help="without solutions")
    target.add_argument("--solutions", type=Path, metavar="DIR", help="with solutions")
    action.set_defaults(run=run_export)
    action = actions.add_parser("grade", help="grade a folder of notebooks and scripts")
    action.add_argument("folder", type=Path, metavar="DIR", help="the submissions")
    action.add_argument(
        "--csv", type=Path, metavar="FILE", required=True, help="the table to write"
    )
    action.set_defaults(run=run_grade)


def run_list(args: argparse.Namespace) -> int:
    """Print all entries and how many there are of each kind."""
    from dataclasses import asdict

    from dlkit.lab.exercises.catalogue import entries

    found = entries()
    if args.json:
        print(json.dumps([asdict(entry) for entry in found], indent=1))
        return 0
    for entry in found:
        print(f"{entry.kind:9} {entry.topic:14} {entry.level} {entry.name:24} {entry.title}")
    counts = Counter(entry.kind for entry in found)
    print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    return 0


def run_export(args: argparse.Namespace) -> int:
    """Write the notebooks of one edition."""
    from dlkit.lab.exercises.editions import export

    solved = args.solutions is not None
    try:
        for path in export(args.solutions if solved else args.students, solved):
            print(path)
    except OSError as error:
        print(f"ERROR: cannot write there: {error}", file=sys.stderr)
        return 1
    return 0


def run_grade(args: argparse.Namespace) -> int:
    """Grade all submissions, show a line for each mark, and write the table."""
    from dlkit.lab.exercises.submissions import grade, write_csv

    marks = []
    try:
        for mark in grade(args.folder):
            marks.append(mark)
            print(
                f"{mark.submission}: {mark.exercise or '-'}: {mark.state} {mark.mistake}".rstrip()
            )
        write_csv(marks, args.csv)
    except OSError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    files = len({mark.submission for mark in marks})
    passed = sum(mark.passed for mark in marks)
    print(f"{files} files, {len(marks)} marks, {passed} passed; {args.csv}")
    return 0
