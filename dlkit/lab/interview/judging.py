"""What is said to an answer: each function judges one kind and notes it in the ``Answer``.

Answers also go into the learner's progress, as they do outside an interview, so that cards come
again in time and the next interview knows what went wrong in this one.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dlkit.lab.cards import Card, Deck
from dlkit.lab.cards.deck import RATINGS
from dlkit.lab.exercises import find
from dlkit.lab.exercises.grading import Verdict, messages
from dlkit.lab.exercises.hunt import Hunt
from dlkit.lab.exercises.progress import Progress
from dlkit.lab.exercises.submissions import Submitted
from dlkit.lab.exercises.task import Task
from dlkit.lab.interview import follow_ups
from dlkit.lab.interview.record import Answer, texts


@dataclass(frozen=True)
class Feedback:
    """What the interviewer says to an answer.

    Args:
        right: Whether it was right; None where only the report will tell.
        message: In words.
        moved_on: Whether the next question is asked now.
    """

    right: bool | None
    message: str
    moved_on: bool

    def __repr__(self) -> str:
        return self.message


def judge(
    answer: Answer,
    given: Any,
    rating: str,
    progress: Progress,
    language: str = "en",
    clock: Callable[[], float] = time.monotonic,
) -> Feedback:
    """Judge what was given to a question, and note it.

    Args:
        answer: The question, with what was done so far; changed in place.
        given: As for ``Interview.answer``.
        rating: As for ``Interview.answer``.
        progress: Where it is recorded.
        language: Of what is said.
        clock: Times the code that is run.

    Returns:
        What the interviewer says; ``moved_on`` says whether the question is done with.

    Raises:
        ValueError: If such an answer is not possible.
        TypeError: If code was asked for, and something else was given.
    """
    question = answer.question
    if question.kind == "follow-up":
        return _in_words(answer, given, rating, language)
    if question.kind == "card":
        deck = Deck(progress, language=language)
        card = deck.card(question.name)
        if card.form == "recall":
            feedback = _in_words(answer, given, rating, language)
        else:
            feedback = _card(answer, card, given, language)
            rating = "good" if answer.right else "again"
        deck.review(card.name, rating)
        return feedback
    if question.kind == "bug-hunt" and type(given) is int:
        return _diagnosis(answer, given, progress, language)
    return _code(answer, given, progress, language, clock)


def _card(answer: Answer, card: Card, given: Any, language: str) -> Feedback:
    answer.right = card.is_right(given)
    said = str(texts(language)["say"]["right" if answer.right else "wrong"])
    answer.given = str(given)
    if card.form == "choice":
        answer.given = card.choices[given].text
        said += f" {card.choices[given].because}"
    answer.message = said
    return Feedback(answer.right, said, True)


def _in_words(answer: Answer, given: Any, rating: str, language: str) -> Feedback:
    if rating not in RATINGS:
        raise ValueError(f"rating must be one of {', '.join(RATINGS)}, but got {rating!r}")
    answer.given, answer.right = str(given), rating != "again"
    answer.message = texts(language)["say"]["noted"].format(rating=rating)
    return Feedback(answer.right, answer.message, True)


def _diagnosis(answer: Answer, given: int, progress: Progress, language: str) -> Feedback:
    hunt = Hunt(find(answer.question.name), progress, language)
    hunt.diagnose(given + 1)
    answer.diagnosis = hunt.texts.symptoms[given].text
    return Feedback(None, texts(language)["say"]["diagnosed"], False)


def _code(
    answer: Answer, given: Any, progress: Progress, language: str, clock: Callable[[], float]
) -> Feedback:
    if not isinstance(given, str) and not callable(given):
        raise TypeError(f"given must be code as text or a function, but got {given!r}")
    exercise = find(answer.question.name)
    kind = Hunt if answer.question.kind == "bug-hunt" else Task
    task = kind(exercise, progress, language)
    submitted = given
    if isinstance(given, str):
        submitted = Submitted([given], exercise.reference.__name__)
    begun = clock()
    verdict = task.check(submitted)
    answer.run_seconds += clock() - begun
    answer.given = _source_of(given)
    if verdict.untouched:
        return Feedback(False, verdict.message, False)
    answer.attempts += 1
    answer.right, answer.message = verdict.passed, verdict.message
    if verdict.passed:
        return Feedback(True, texts(language)["say"]["passed"], True)
    answer.broken, answer.mistake = verdict.broken, verdict.mistake
    answer.follow_up = follow_ups.about_code(exercise, verdict, language)
    return Feedback(False, _without_the_likely(verdict, language), False)


def _without_the_likely(verdict: Verdict, language: str) -> str:
    """What failed, without the likely mistake: that is the answer to the follow-up."""
    likely = messages(language)["verdict"]["likely"]
    lines = verdict.message.splitlines()
    end = next((n for n, line in enumerate(lines) if line.startswith(f"  {likely} ")), None)
    return "\n".join(lines[:end])


def _source_of(given: Any) -> str:
    if isinstance(given, str):
        return given
    try:
        return inspect.getsource(given)
    except (OSError, TypeError):  # made by exec, or built in
        return repr(given)
