"""The question after an answer that failed: chosen by the property that it broke.

After code it is about that property and the smallest input that shows it. After a card it is the
card of the same subject, not asked yet, that shares most words with what was answered wrongly.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from dlkit.lab.cards import Card, load
from dlkit.lab.exercises.contract import Exercise
from dlkit.lab.exercises.grading import Verdict
from dlkit.lab.exercises.values import show
from dlkit.lab.interview.questions import CARD_MINUTES, Question, pool
from dlkit.lab.interview.record import Answer, texts

MINUTES = 2.0


def about_code(exercise: Exercise, verdict: Verdict, language: str = "en") -> tuple[str, str]:
    """Return what to ask about code that failed, and what a good answer says.

    Args:
        exercise: Which exercise.
        verdict: On the answer.
        language: Of the text.

    Returns:
        Question and answer; both empty when the code passed.
    """
    wrong = verdict.counterexample
    if verdict.passed or wrong is None:
        return "", ""
    say, own = texts(language)["follow_up"], exercise.texts(language)
    key = "property" if verdict.broken in own.properties else verdict.broken
    if verdict.broken == "value" and wrong.outcome.kind != "value":
        key = "raised"
    elif verdict.broken == "value" and type(wrong.expected).__name__ == "Raises":
        key = "raised_nothing"
    shown = ", ".join(f"{name}={show(value)}" for name, value in wrong.arguments.items())
    got = show(wrong.got) if wrong.outcome.kind == "value" else wrong.outcome.text
    broken = own.properties.get(verdict.broken, "")
    asked = say.get(key, say["value"]).format(
        name=exercise.name, broken=broken, input=shown, got=got.strip()
    )
    return asked, own.mistakes.get(verdict.mistake, "") or say["general"]


def after(
    answer: Answer, asked: Collection[tuple[str, str]], language: str = "en"
) -> list[Question]:
    """Return the follow-up of a question, if its answer leads to one.

    Args:
        answer: What was answered.
        asked: Kind and name of all questions so far and to come.
        language: Of the cards.

    Returns:
        One question or none.
    """
    question = answer.question
    if question.kind in ("coding", "bug-hunt") and answer.follow_up[0]:
        text, expected = answer.follow_up
        return [
            Question(
                "follow-up",
                question.name,
                question.subject,
                question.level,
                MINUTES,
                text=text,
                expected=expected,
            )
        ]
    if question.kind == "card" and not answer.right and not answer.skipped:
        return _nearest_card(question, asked, language)
    return []


def _nearest_card(
    question: Question, asked: Collection[tuple[str, str]], language: str
) -> list[Question]:
    cards = load(language)
    known = _words(cards[question.name])
    others = [
        other
        for other in pool()
        if other.kind == "card"
        and other.subject == question.subject
        and other.level <= question.level
        and (other.kind, other.name) not in asked
        and CARD_MINUTES[cards[other.name].form] <= MINUTES
    ]
    others.sort(key=lambda other: (-len(known & _words(cards[other.name])), other.name))
    return others[:1]


def _words(card: Card) -> set[str]:
    text = f"{card.question} {card.short} {card.longer}".lower()
    return {word for word in re.findall(r"[a-z_]+", text) if len(word) > 3}
