"""Cards: questions on data loading with answers that run.

Each card is an entry of a data file, ``texts/<topic>.en.toml``; another language is another file.
It has one of three forms:

    choice    several answers, of which one is right; each wrong one is a common misconception
    predict   code whose output is to be foretold
    recall    an open question; the learner compares with the answer and says how well it went

Most carry code. It shows that the answer is true, and for a misconception that it is not: the text
it prints stands on the card, and a test runs all of it.

A ``Deck`` says which cards are due, by FSRS, from what the learner has answered before. A ``Quiz``
asks some of them once, such as the twelve of the pre-test; ``CardsWidget`` shows either.

>>> card = Deck().card("drop-last")
>>> card.form, len(card.choices)
('choice', 4)
"""

from dlkit.lab.cards.card import Card, Choice, load
from dlkit.lab.cards.deck import Deck
from dlkit.lab.cards.quiz import Quiz

__all__ = ["Card", "Choice", "Deck", "Quiz", "load"]
