"""One Parsons problem: read it from its file, shuffle its lines, check an order of them."""

from __future__ import annotations

import functools
import random
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlkit.lab.exercises.contract import Exercise
from dlkit.lab.exercises.outcome import Outcome
from dlkit.lab.exercises.runner import run

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Parsons:
    """A program in pieces.

    Args:
        name: Of its file.
        topic: One of the exercises' topics.
        level: 1 to 3.
        title: A few words.
        statement: What the program does.
        lines: In a right order, with their indentation.
        distractor: A line that does not belong.
        reason: Why it does not.
        setup: Code before the program.
        check: Code after it, which raises AssertionError when the program is wrong.
        messages: What is said of a program, with blanks to fill, and the words on the buttons.
    """

    name: str
    topic: str
    level: int
    title: str
    statement: str
    lines: tuple[str, ...]
    distractor: str
    reason: str
    setup: str
    check: str
    messages: dict[str, str]

    @property
    def shuffled(self) -> list[str]:
        """All lines, the distractor among them, in an order that is the same in every run."""
        lines = [*self.lines, self.distractor]
        rng = random.Random(self.name)
        while lines[: len(self.lines)] == list(self.lines):
            rng.shuffle(lines)
        return lines

    def program(self, lines: Sequence[str]) -> str:
        """Return the code of an order of lines, with what stands before and after it."""
        return "\n".join([self.setup.rstrip(), *lines, self.check.rstrip()]) + "\n"


@dataclass(frozen=True)
class Arrangement:
    """What checking an order of lines found.

    Args:
        passed: Whether the program is right.
        message: Why, in words.
        line: Number of the line to look at, from 0; -1 for none.
    """

    passed: bool
    message: str
    line: int = -1


@functools.cache
def names() -> list[str]:
    """Return the names of all problems."""
    return sorted(path.name.removesuffix(".en.toml") for path in HERE.glob("*.en.toml"))


@functools.cache
def find(name: str, language: str = "en") -> Parsons:
    """Return a problem, in English where the language has none.

    Raises:
        ValueError: If there is no such problem.
    """
    path = HERE / f"{name}.{language}.toml"
    path = path if path.exists() else HERE / f"{name}.en.toml"
    if not path.exists():
        raise ValueError(f"name must be one of {names()}, but got {name!r}")
    read = tomllib.loads(path.read_text(encoding="utf-8"))
    common = HERE.parent / f"messages.{language}.toml"
    common = common if common.exists() else HERE.parent / "messages.en.toml"
    return Parsons(
        name=name,
        topic=read["topic"],
        level=read["level"],
        title=read["title"],
        statement=read["statement"].strip(),
        lines=tuple(read["program"].strip("\n").splitlines()),
        distractor=read["distractor"],
        reason=read["reason"],
        setup=read.get("setup", ""),
        check=read["check"],
        messages=tomllib.loads(common.read_text(encoding="utf-8"))["parsons"],
    )


def check(problem: Parsons, lines: Sequence[str]) -> Arrangement:
    """Run an order of lines and say whether the program is right.

    Args:
        problem: Which problem.
        lines: The chosen lines, in the chosen order.

    Returns:
        What was found: a distractor first, then missing lines, then what running it showed.

    Raises:
        ValueError: If a line is not one of the problem's.
    """
    for line in lines:
        if line not in problem.shuffled:
            raise ValueError(f"lines must be lines of {problem.name}, but got {line!r}")
    say = problem.messages
    if problem.distractor in lines:
        where = list(lines).index(problem.distractor)
        text = say["distractor"].format(line=problem.distractor.strip(), reason=problem.reason)
        return Arrangement(False, text, where)
    if len(lines) < len(problem.lines):
        missing = len(problem.lines) - len(lines)
        return Arrangement(False, say["missing"].format(count=missing))
    outcome = _run(problem, lines)
    if outcome.kind == "value" and outcome.value is True:
        return Arrangement(True, say["right"].format(title=problem.title))
    place = next((n for n, line in enumerate(lines) if line != problem.lines[n]), 0)
    error = outcome.text.splitlines()[0] if outcome.text else outcome.kind
    if outcome.kind == "value":
        error = str(outcome.value)
    text = say["fails"].format(number=place + 1, line=lines[place].strip(), error=error)
    return Arrangement(False, text, place)


def _run(problem: Parsons, lines: Sequence[str]) -> Outcome:
    """Run a program in a child, under the limits of an exercise."""
    source = problem.program(lines)
    exercise = Exercise(
        level=problem.level,
        reference=_unused,
        alternatives=(),
        mistakes=(),
        cases=lambda _: [(source,)],
        drive=run_program,
    )
    return run(exercise, [_unused], [0])[0][0]


def _unused() -> None:
    """Stand in for an answer; the program is the case."""


def run_program(_answer: Any, source: str) -> Any:
    """Execute a program; return True, or what its check complained about."""
    try:
        exec(compile(source, "<program>", "exec"), {"__name__": "program"})
    except AssertionError as error:
        return str(error) or "the check at the end fails"
    return True
