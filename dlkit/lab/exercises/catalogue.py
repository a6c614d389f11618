"""What there is to practise, of every kind, in one list."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from dlkit.lab.cards import load
from dlkit.lab.exercises import contract, parsons

TITLE_WIDTH = 70


@dataclass(frozen=True)
class Entry:
    """One thing to practise.

    Args:
        kind: "coding", "bug-hunt", "card" or "parsons".
        name: Unique within its kind.
        topic: What it is about.
        level: 1 to 3.
        title: A few words.
    """

    kind: str
    name: str
    topic: str
    level: int
    title: str


def entries() -> list[Entry]:
    """Return all entries, by kind and topic.

    >>> sorted({entry.kind for entry in entries()})
    ['bug-hunt', 'card', 'coding', 'parsons']
    """
    return [*_coding(), *_hunts(), *_cards(), *_parsons()]


def _coding() -> list[Entry]:
    found = [contract.find(name) for name in contract.names()]
    return [Entry("coding", e.name, e.topic, e.level, e.texts().title) for e in found]


def _hunts() -> list[Entry]:
    found = [contract.find(name) for name in contract.names(contract.HUNTS)]
    return [Entry("bug-hunt", e.name, e.topic, e.level, e.texts().title) for e in found]


def _cards() -> list[Entry]:
    return [
        Entry("card", c.name, c.topic, c.level, _shortened(c.question)) for c in load().values()
    ]


def _parsons() -> list[Entry]:
    found = [parsons.find(name) for name in parsons.names()]
    return [Entry("parsons", p.name, p.topic, p.level, p.title) for p in found]


def _shortened(text: str) -> str:
    return textwrap.shorten(text, TITLE_WIDTH, placeholder=" ...")
