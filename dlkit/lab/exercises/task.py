"""What a learner holds: an exercise with its hints, its checks and its place in their progress."""

from __future__ import annotations

import html
import re
import textwrap
from typing import Any

from dlkit.lab.exercises.contract import Answer, Exercise, find
from dlkit.lab.exercises.grading import Verdict, check, messages
from dlkit.lab.exercises.progress import Progress
from dlkit.lab.exercises.runner import ZYGOTE


class Shown:
    """A text that a notebook shows as it is, not in quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return to_html(self.text)


class Task:
    """One exercise in a learner's hands.

    Args:
        exercise: Which one.
        progress: Where checks, hints and solutions are recorded.
        language: Of all texts.
    """

    kind = "coding"

    def __init__(
        self, exercise: Exercise, progress: Progress | None = None, language: str = "en"
    ) -> None:
        self.exercise, self.language = exercise, language
        self.progress = progress if progress is not None else Progress()
        self.texts = exercise.texts(language)
        self.verdict: Verdict | None = None
        self._answer: Answer | None = None
        self._hints = 0
        self._asked = False

    @property
    def name(self) -> str:
        """The exercise's name."""
        return self.exercise.name

    def check(self, answer: Answer) -> Verdict:
        """Run an answer in a process of its own and say what is wrong with it, if anything.

        Args:
            answer: A function or class like the one in the task.

        Returns:
            A verdict with ``passed``, ``message`` and ``counterexample``.

        Raises:
            TypeError: If the answer cannot be called.
        """
        verdict = check(self.exercise, answer, self.language)
        self.verdict, self._answer = verdict, answer
        if not verdict.untouched:
            event = "solved" if verdict.passed else "failed"
            self.progress.record(
                self.name, event, self.kind, detail=verdict.mistake or verdict.broken
            )
        return verdict

    def hint(self) -> Shown:
        """Show the next hint; the first is vague, the last concrete."""
        say, hints = messages(self.language)["hint"], self.texts.hints
        if self._hints >= len(hints):
            return Shown(say["none_left"])
        self._hints += 1
        self.progress.record(self.name, "hint", self.kind, detail=str(self._hints))
        text = say["text"].format(number=self._hints, hints=len(hints), hint=hints[self._hints - 1])
        return Shown(text)

    def solution(self) -> Shown:
        """Show the reference solution when asked for the second time; that is recorded."""
        if not self._asked:
            self._asked = True
            return Shown(messages(self.language)["solution"]["ask_again"])
        self.progress.record(self.name, "solution", self.kind)
        return Shown(f"```\n{self.exercise.solution}```")

    def replay(self, answer: Answer | None = None) -> Verdict | Shown:
        """Run the last counterexample alone again.

        Args:
            answer: A new version of the answer; the one that failed when None.

        Returns:
            The verdict on that one case, with all that the answer printed.
        """
        if self.verdict is None or self.verdict.counterexample is None or self._answer is None:
            return Shown(messages(self.language)["replay"]["nothing"])
        return check(
            self.exercise,
            self._answer if answer is None else answer,
            self.language,
            only=self.verdict.counterexample.number,
        )

    def __repr__(self) -> str:
        say = messages(self.language)["task"]
        head = say["head"].format(
            name=self.name,
            topic=self.exercise.topic,
            level=self.exercise.level,
            title=self.texts.title,
        )
        how = say["how"].format(name=self.exercise.reference.__name__, hints=len(self.texts.hints))
        return f"{head}\n\n{self.texts.statement}\n\n```\n{self.exercise.stub}```\n\n{how}"

    def _repr_html_(self) -> str:
        return to_html(repr(self))


def to_html(text: str) -> str:
    """Turn our texts' little Markdown into HTML: paragraphs, lists, code; all else is escaped.

    >>> to_html("a < `b`")
    '<p>a &lt; <code>b</code></p>'
    """
    blocks = []
    for number, part in enumerate(re.split(r"```\w*\n(.*?)```", text, flags=re.DOTALL)):
        if number % 2:
            blocks.append(f"<pre>{html.escape(part.rstrip())}</pre>")
            continue
        for paragraph in re.split(r"\n\s*\n", part.strip()):
            if not paragraph:
                continue
            inner = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(paragraph, quote=False))
            if paragraph.startswith("- "):
                items = re.split(r"\n- ", inner.removeprefix("- "))
                inner = "".join(f"<li>{textwrap.dedent(item)}</li>" for item in items)
                blocks.append(f"<ul>{inner}</ul>")
            else:
                blocks.append(f"<p>{inner}</p>")
    return "\n".join(blocks)


def exercise(name: str, **options: Any) -> Task:
    """Return an exercise to work on; as a cell's last line it shows the task.

    Args:
        name: Which one; ``dlkit exercises list`` names them all.
        **options: ``progress`` and ``language``, as for ``Task``.

    Returns:
        The task, with ``check``, ``hint``, ``solution`` and ``replay``.

    Raises:
        ValueError: If there is no such exercise.
    """
    found = Task(find(name), **options)
    ZYGOTE.start()  # it imports torch while the learner reads
    return found
