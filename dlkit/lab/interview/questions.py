"""Which questions are asked: by level and subject, and rather what went wrong before.

Questions are drawn without replacement with chances in proportion to their weights, by the keys of
Efraimidis and Spirakis (2006), "Weighted random sampling with a reservoir". The kinds share the
minutes: of twenty, about six go to cards, five to a bug hunt and nine to code.
"""

from __future__ import annotations

import functools
import random
import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from dlkit.lab.cards import load
from dlkit.lab.exercises import contract
from dlkit.lab.exercises.progress import Progress

HERE = Path(__file__).parent
KINDS = ("card", "bug-hunt", "coding")
SHARES = {"card": 0.3, "bug-hunt": 0.25, "coding": 0.45}
LEVELS = (1, 2, 3)
CARD_MINUTES = {"choice": 1.0, "predict": 2.0, "recall": 2.0}
HUNT_MINUTES = (4.0, 5.0, 6.0)
CODING_MINUTES = (6.0, 10.0, 15.0)
PROBLEM_MINUTES = 20.0
FOR_FOLLOW_UPS = 0.1  # of the time
EASIER = 0.4  # how much less likely a question is for each level below the one asked for
OWN_RECORD = {False: 2.0, None: 1.0, True: 0.3}  # last answer wrong, never asked, last answer right


@dataclass(frozen=True)
class Question:
    """One question of an interview.

    Args:
        kind: "card", "bug-hunt", "coding" or "follow-up".
        name: Of the card or exercise; of a follow-up, that of the question before it.
        subject: One of ``subjects()``.
        level: 1 to 3.
        minutes: What is planned for it.
        text: Of a follow-up: what is asked.
        expected: Of a follow-up: what a good answer says.
    """

    kind: str
    name: str
    subject: str
    level: int
    minutes: float
    text: str = ""
    expected: str = ""


@functools.cache
def _table() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads((HERE / "subjects.toml").read_text(encoding="utf-8"))


def subjects() -> list[str]:
    """Return what an interview may be about."""
    return list(_table())


@functools.cache
def _subject_of(kind: str, key: str) -> str:
    place = "hunts" if kind == "bug-hunt" else "topics"
    return next(subject for subject, row in _table().items() if key in row[place])


@functools.cache
def pool() -> tuple[Question, ...]:
    """Return every question there is.

    >>> {question.kind for question in pool()} == set(KINDS)
    True
    """
    found = [
        Question("card", c.name, _subject_of("card", c.topic), c.level, CARD_MINUTES[c.form])
        for c in load().values()
    ]
    for name in contract.names(contract.HUNTS):
        level = contract.find(name).level
        subject = _subject_of("bug-hunt", name)
        found.append(Question("bug-hunt", name, subject, level, HUNT_MINUTES[level - 1]))
    for name in contract.names():
        exercise = contract.find(name)
        minutes = CODING_MINUTES[exercise.level - 1]
        if exercise.topic == "problems":
            minutes = PROBLEM_MINUTES
        subject = _subject_of("coding", exercise.topic)
        found.append(Question("coding", name, subject, exercise.level, minutes))
    return tuple(found)


def last_results(progress: Progress) -> dict[tuple[str, str], bool]:
    """Return whether the last answer to each question was right, by kind and name."""
    results: dict[tuple[str, str], bool] = {}
    for event in progress.events():
        if event.kind not in KINDS:
            continue
        if event.event in ("solved", "failed", "solution"):
            results[event.kind, event.name] = event.event == "solved"
        elif event.event == "answered":
            results[event.kind, event.name] = event.detail not in ("again", "0")
    return results


def weakness(progress: Progress) -> dict[str, float]:
    """Return for each subject the chance of a wrong answer, as far as is known.

    Args:
        progress: The learner's.

    Returns:
        ``(wrong + 1) / (answered + 2)``, Laplace's rule: 0.5 where nothing was answered yet.
    """
    asked: dict[str, list[bool]] = defaultdict(list)
    results = last_results(progress)
    for question in pool():
        if (question.kind, question.name) in results:
            asked[question.subject].append(results[question.kind, question.name])
    return {
        subject: (asked[subject].count(False) + 1) / (len(asked[subject]) + 2)
        for subject in subjects()
    }


def draw(
    minutes: float,
    level: int,
    chosen: Iterable[str] | None = None,
    progress: Progress | None = None,
    seed: int = 0,
    without: Collection[tuple[str, str]] = (),
) -> list[Question]:
    """Draw the questions of an interview, a card first.

    Args:
        minutes: The time that there is; a tenth is left for follow-ups.
        level: 1 to 3; easier questions come too, each level down with less than half the chance.
        chosen: The subjects; all when None.
        progress: Whose past answers count; nobody's when None.
        seed: The same seed and past give the same questions.
        without: Kind and name of questions that are not to come again.

    Returns:
        The questions, as many as fit.
    """
    wanted = set(subjects() if chosen is None else chosen)
    results = {} if progress is None else last_results(progress)
    weak = dict.fromkeys(subjects(), 0.5) if progress is None else weakness(progress)
    rng = random.Random(seed)
    keys: dict[Question, float] = {}
    for question in pool():
        place = (question.kind, question.name)
        uniform = rng.random()  # drawn for all, so that a seed means the same whatever is left out
        if question.subject in wanted and question.level <= level and place not in without:
            weight = weak[question.subject] * OWN_RECORD[results.get(place)]
            weight *= EASIER ** (level - question.level)
            keys[question] = uniform ** (1 / weight)
    ranked = sorted(keys, key=lambda question: keys[question], reverse=True)
    return _filled(ranked, minutes * (1 - FOR_FOLLOW_UPS))


def _filled(ranked: list[Question], minutes: float) -> list[Question]:
    """Take the best of the kind that is furthest behind its share, while any fits."""
    taken: list[Question] = []
    spent = dict.fromkeys(KINDS, 0.0)
    while True:
        left = minutes - sum(spent.values())
        fitting: dict[str, Question] = {}
        for question in ranked:
            if question.minutes <= left and question not in taken:
                fitting.setdefault(question.kind, question)
        if not fitting:
            return taken
        behind = {kind: SHARES[kind] * minutes - spent[kind] for kind in fitting}
        kind = max(behind, key=lambda kind: behind[kind])
        if not taken and "card" in fitting:
            kind = "card"
        taken.append(fitting[kind])
        spent[kind] += fitting[kind].minutes
