"""A quiz: some cards, each asked once, with a score; the pre-test and the post-test are two."""

from __future__ import annotations

import random
from collections.abc import Sequence

from dlkit.lab.cards.card import Card, load
from dlkit.lab.cards.deck import RATINGS, Deck

TESTS = ("pre-test", "post-test")


class Quiz:
    """Asks cards in turn and counts.

    Args:
        cards: what is asked.
        deck: where answers are recorded; None records nothing.
        name: of the quiz, such as "pre-test".

    Example:
        >>> quiz = Quiz([load()["drop-last"]])
        >>> quiz.answer(quiz.card.right)
        True
        >>> quiz.done, quiz.score
        (True, '1 of 1')
    """

    def __init__(self, cards: Sequence[Card], deck: Deck | None = None, name: str = "") -> None:
        self.cards, self.deck, self.name = list(cards), deck, name
        self.results: list[tuple[str, bool]] = []

    @classmethod
    def test(cls, name: str, deck: Deck | None = None) -> Quiz:
        """Return the twelve cards of the pre-test, or the same in another order as the post-test.

        Args:
            name: "pre-test" or "post-test".
            deck: where the answers are recorded.

        Raises:
            ValueError: for another name.
        """
        if name not in TESTS:
            raise ValueError(f"name must be one of {', '.join(TESTS)}, but got {name!r}")
        cards = [card for card in load().values() if card.test]
        random.Random(TESTS.index(name)).shuffle(cards)
        return cls(cards, deck, name)

    @property
    def done(self) -> bool:
        """Whether all cards were answered."""
        return len(self.results) == len(self.cards)

    @property
    def card(self) -> Card:
        """The card that is asked.

        Raises:
            ValueError: if all were answered.
        """
        if self.done:
            raise ValueError("all cards of this quiz were answered")
        return self.cards[len(self.results)]

    @property
    def score(self) -> str:
        """How many answers were right."""
        return f"{sum(right for _, right in self.results)} of {len(self.cards)}"

    def answer(self, answer: int | str) -> bool:
        """Answer the card that is asked, and go on to the next.

        Args:
            answer: as for `Card.is_right`; for a card to recall one of "again", "hard", "good" and
                "easy".

        Returns:
            Whether that was right.
        """
        card = self.card
        rating = str(answer) if card.form == "recall" else ""
        if rating and rating not in RATINGS:
            raise ValueError(f"answer must be one of {', '.join(RATINGS)}, but got {answer!r}")
        right = rating != "again" if rating else card.is_right(answer)
        if self.deck is not None:
            self.deck.review(card.name, rating or ("good" if right else "again"))
        self.results.append((card.name, right))
        if self.done and self.deck is not None and self.name in TESTS:
            self.deck.progress.record(self.name, "finished", kind="test", detail=self.score)
        return right

    def revise(self) -> list[str]:
        """Return the topics of the answers that were wrong, those with most first."""
        wrong = [load()[name].topic for name, right in self.results if not right]
        return sorted(set(wrong), key=lambda topic: (-wrong.count(topic), topic))
