"""Which card comes next: spaced repetition over what the learner has answered.

Nothing is kept but the answers themselves, in the learner's progress. When a card is due follows
from replaying them through FSRS, the scheduler of the `fsrs` package (Ye, Su and Cao 2022, "A
Stochastic Shortest Path Algorithm for Optimizing Spaced Repetition Scheduling").
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dlkit.lab.cards.card import Card, load
from dlkit.lab.exercises.progress import Progress

RATINGS = ("again", "hard", "good", "easy")


@dataclass(frozen=True)
class Standing:
    """How well a card is remembered.

    Attributes:
        answered: how often it was answered.
        due: when it should be asked again.
        recall: the probability of knowing it now.
    """

    answered: int
    due: datetime
    recall: float


class Deck:
    """The cards, and when each is due.

    Args:
        progress: where answers are recorded; the learner's own when None.
        topics: only cards of these; all when None.
        language: of the texts.

    Raises:
        ValueError: if there is no such topic.
    """

    def __init__(
        self,
        progress: Progress | None = None,
        topics: Iterable[str] | None = None,
        language: str = "en",
    ) -> None:
        everything = load(language)
        known = {card.topic for card in everything.values()}
        chosen = known if topics is None else set(topics)
        if unknown := chosen - known:
            raise ValueError(
                f"topics must be among {', '.join(sorted(known))}, but got {sorted(unknown)}"
            )
        self.progress = progress if progress is not None else Progress()
        self.cards = {name: card for name, card in everything.items() if card.topic in chosen}

    def card(self, name: str) -> Card:
        """Return a card by its name.

        Raises:
            ValueError: if there is none.
        """
        if name not in self.cards:
            raise ValueError(f"there is no card {name!r}; deck.cards lists all {len(self.cards)}")
        return self.cards[name]

    def review(self, name: str, rating: str) -> None:
        """Record how well a card was answered.

        Args:
            name: of the card.
            rating: "again" if the answer was wrong; else "hard", "good" or "easy".

        Raises:
            ValueError: if there is no such card or rating.
        """
        self.card(name)
        if rating not in RATINGS:
            raise ValueError(f"rating must be one of {', '.join(RATINGS)}, but got {rating!r}")
        self.progress.record(name, "answered", kind="card", detail=rating)

    def standings(self, now: datetime | None = None) -> dict[str, Standing]:
        """Return how well each card that was answered is remembered.

        Args:
            now: with a time zone; this moment when None.
        """
        import fsrs

        now = now or datetime.now(UTC)
        scheduler = fsrs.Scheduler(enable_fuzzing=False)
        states: dict[str, Any] = {}
        counts: dict[str, int] = defaultdict(int)
        for event in self.progress.events():
            if event.kind != "card" or event.name not in self.cards or event.detail not in RATINGS:
                continue
            when = datetime.fromtimestamp(event.when, UTC)
            state = states.get(event.name) or fsrs.Card(card_id=len(states) + 1, due=when)
            rating = fsrs.Rating(RATINGS.index(event.detail) + 1)
            states[event.name], _ = scheduler.review_card(state, rating, when)
            counts[event.name] += 1
        return {
            name: Standing(
                counts[name], state.due, float(scheduler.get_card_retrievability(state, now))
            )
            for name, state in states.items()
        }

    def due(self, now: datetime | None = None, new: int = 10, seed: int = 0) -> list[Card]:
        """Return the cards to ask now: those that are due, the weakest first, then new ones.

        Args:
            now: with a time zone; this moment when None.
            new: how many cards that were never answered may be among them.
            seed: of the order of new cards of one level; easier ones come first.
        """
        now = now or datetime.now(UTC)
        standings = self.standings(now)
        again = [name for name, standing in standings.items() if standing.due <= now]
        again.sort(key=lambda name: standings[name].recall)
        unseen = [name for name in self.cards if name not in standings]
        random.Random(seed).shuffle(unseen)
        unseen.sort(key=lambda name: self.cards[name].level)
        return [self.cards[name] for name in again + unseen[:new]]

    def mastery(self, now: datetime | None = None) -> dict[str, float]:
        """Return for each topic the share of its cards that the learner would know now."""
        standings = self.standings(now)
        known: dict[str, list[float]] = defaultdict(list)
        for name, card in self.cards.items():
            known[card.topic].append(standings[name].recall if name in standings else 0.0)
        return {topic: sum(shares) / len(shares) for topic, shares in known.items()}
