"""One card: a question, its answers, and the code that shows that they are true."""

from __future__ import annotations

import contextlib
import functools
import io
import random
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlkit.lab.exercises.task import to_html

if TYPE_CHECKING:
    from dlkit.lab.demos import Result

FORMS = ("choice", "predict", "recall")
LEVELS = (1, 2, 3)
TEXTS = Path(__file__).parent / "texts"


@dataclass(frozen=True)
class Choice:
    """One answer of several.

    Attributes:
        text: what it claims.
        right: whether that is so.
        because: what is said to whoever picks it.
    """

    text: str
    right: bool
    because: str


@dataclass(frozen=True)
class Card:
    """A question on data loading.

    Attributes:
        name: in small letters with hyphens; no two cards share one.
        topic: the file that it stands in.
        level: 1 to 3.
        form: "choice", "predict" or "recall".
        question: what is asked.
        short: the answer in a sentence.
        longer: the answer with its reasons.
        choices: of a card of form "choice", the right one and the misconceptions.
        code: shows that the answer is true; empty where nothing can be run.
        output: what the code prints.
        test: whether the card belongs to the pre-test and the post-test.
        demo: the name of a demonstration in ``dlkit.lab.demos`` that shows the idea; most have
            none.
    """

    name: str
    topic: str
    level: int
    form: str
    question: str
    short: str
    longer: str
    choices: tuple[Choice, ...] = ()
    code: str = ""
    output: str = ""
    test: bool = False
    demo: str = ""

    @property
    def right(self) -> int:
        """The place of the right choice."""
        return next(place for place, choice in enumerate(self.choices) if choice.right)

    def run(self) -> str:
        """Run the code of the card in this process, and return what it prints.

        Example:
            >>> load()["drop-last"].run().strip()
            '3 batches, then 2'
        """
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(self.code, f"<card {self.name}>", "exec"), {"__name__": "__card__"})
        return printed.getvalue()

    def demonstrate(self) -> Result:
        """Run the demonstration of the card, which takes some seconds, and return its result.

        Raises:
            ValueError: if the card has none.

        Example:
            >>> shown = load()["reinforcement-learning"].demonstrate()
            >>> shown.summary.startswith("the learned path reaches the goal")
            True
        """
        from dlkit.lab.demos import demo

        if not self.demo:
            raise ValueError(f"card {self.name!r} has no demonstration; card.run() runs its code")
        return demo(self.demo)()

    def is_right(self, answer: int | str) -> bool:
        """Say whether an answer is right.

        Args:
            answer: the place of a choice, or the text that the code is expected to print; spaces
                around its lines do not count.

        Raises:
            ValueError: if the card is one to recall, which only the learner can judge, or if it has
                no choice in that place.
        """
        if self.form == "recall":
            raise ValueError(f"card {self.name!r} is one to recall: rate your answer yourself")
        if self.form == "predict":
            return _lines(str(answer)) == _lines(self.output)
        if not isinstance(answer, int) or not 0 <= answer < len(self.choices):
            raise ValueError(
                f"answer must be from 0 to {len(self.choices) - 1}, the place of a choice, "
                f"but got {answer!r}"
            )
        return self.choices[answer].right

    def __repr__(self) -> str:
        lines = [self.question.strip()]
        if self.form == "predict":
            lines += ["", "```", self.code.strip(), "```"]
        lines += [f"- {choice.text}" for choice in self.choices]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return to_html(repr(self).replace("\n- ", "\n\n- ", 1))


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.strip().splitlines()]


@functools.cache
def load(language: str = "en") -> dict[str, Card]:
    """Return all cards by name, in the order of their topics and levels.

    Args:
        language: which texts; a card that is not translated comes in English.

    Raises:
        ValueError: if a data file is not as it should be.

    Example:
        >>> len(load()) >= 120
        True
    """
    cards: dict[str, Card] = {}
    for path in sorted(TEXTS.glob("*.en.toml")):
        topic = path.name.removesuffix(".en.toml")
        entries = {entry["name"]: entry for entry in _entries(path)}
        translated = path.with_name(f"{topic}.{language}.toml")
        if language != "en" and translated.exists():
            for entry in _entries(translated):
                entries[entry["name"]] = entries[entry["name"]] | entry
        for name, entry in entries.items():
            if name in cards:
                raise ValueError(f"two cards are named {name!r}")
            cards[name] = _card(topic, entry)
    return cards


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        entries: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["card"]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise ValueError(f"{path} is no file of cards: {error}") from error
    return entries


def _card(topic: str, entry: dict[str, Any]) -> Card:
    choices = [
        Choice(choice["text"], choice.get("right", False), choice["because"])
        for choice in entry.get("choices", ())
    ]
    # The files have the right choice first; asked like that, its place would give it away.
    random.Random(f"choices of {entry['name']}").shuffle(choices)
    card = Card(**{**entry, "topic": topic, "choices": tuple(choices)})
    right = sum(choice.right for choice in choices)
    if card.form not in FORMS or card.level not in LEVELS:
        raise ValueError(f"card {card.name!r} has form {card.form!r} and level {card.level!r}")
    if right != (card.form == "choice") or (card.form == "choice" and len(choices) < 3):
        raise ValueError(f"card {card.name!r} needs one right choice and two others, if it has any")
    if bool(card.code) != bool(card.output) or (card.form == "predict" and not card.code):
        raise ValueError(f"card {card.name!r} has code without output, or the other way round")
    return card
