"""The interviews that are over, in a few numbers each, from the learner's progress."""

from __future__ import annotations

import json
from dataclasses import dataclass

from dlkit.lab.exercises.progress import Progress
from dlkit.lab.interview.record import Record
from dlkit.lab.interview.report import to_revise


@dataclass(frozen=True)
class Past:
    """An interview that is over, as the learner's progress keeps it.

    Args:
        name: Of its record.
        minutes: How long it might take.
        level: 1 to 3.
        right: How many answers were right.
        asked: How many questions were asked.
        seconds: How long it took, pauses left out.
        revise: The subjects with wrong answers, those with most first.
    """

    name: str
    minutes: int
    level: int
    right: int
    asked: int
    seconds: float
    revise: tuple[str, ...]


def summary(record: Record) -> Past:
    """Return an interview in a few numbers."""
    right = sum(answer.right for answer in record.answers)
    return Past(
        record.name,
        record.minutes,
        record.level,
        right,
        len(record.answers),
        record.elapsed,
        tuple(to_revise(record)),
    )


def history(progress: Progress | None = None) -> list[Past]:
    """Return the interviews that were finished, the oldest first.

    Args:
        progress: Whose; the learner's own when None.
    """
    progress = progress if progress is not None else Progress()
    found = []
    for event in progress.events():
        if (event.kind, event.event) == ("interview", "finished"):
            fields = json.loads(event.detail)
            found.append(Past(**{**fields, "revise": tuple(fields["revise"])}))
    return found
