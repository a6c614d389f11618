"""The widget that asks cards one after another; everything in it can be reached by keyboard."""

from __future__ import annotations

import html
from typing import Any

import ipywidgets

from dlkit.lab.cards.deck import RATINGS, Deck
from dlkit.lab.cards.quiz import Quiz
from dlkit.lab.choice import answers
from dlkit.lab.exercises.task import to_html
from dlkit.plots.style import as_image

_WIDE = ipywidgets.Layout(width="95%")


class CardsWidget(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no annotations
    """Asks the cards of a quiz: question, answer, explanation, next.

    Args:
        quiz: what to ask; the cards of the learner's deck that are due when None.

    >>> from dlkit.lab.cards import load
    >>> widget = CardsWidget(Quiz([load()["drop-last"]]))
    >>> widget.choices.index = widget.quiz.card.right
    >>> widget.submit.click()
    >>> widget
    <CardsWidget: right; card 1 of 1, drop-last>
    """

    def __init__(self, quiz: Quiz | None = None) -> None:
        if quiz is None:
            deck = Deck()
            quiz = Quiz(deck.due(), deck)
        self.quiz = quiz
        self.state = ""
        self.text = ipywidgets.HTML()
        self.question = ipywidgets.HTML(layout=_WIDE)
        self.choice_style, self.choices = answers()
        self.prediction = ipywidgets.Textarea(
            placeholder="what the code prints", layout=_WIDE, rows=3
        )
        self.submit = _button("Answer", self._on_submit)
        self.submit.button_style = "primary"  # it stands below the choices, and is none of them
        self.reveal = _button("Show the answer", self._on_reveal)
        self.ratings = [_button(rating, self._on_rating) for rating in RATINGS]
        self.feedback = ipywidgets.HTML(layout=_WIDE)
        self.run_code = _button("Run its code", self._on_run)
        self.show_demo = _button("Run its demonstration", self._on_demo)
        self.printed = ipywidgets.HTML(layout=_WIDE)
        self.next = _button("Next card", self._on_next)
        super().__init__([])
        self._ask()

    def _ask(self) -> None:
        self.feedback.value = self.printed.value = ""
        if self.quiz.done:
            revise = ", ".join(self.quiz.revise())
            self._show("done", [])
            self.question.value = f"<p>{self.quiz.score} right." + (
                f" To revise: {html.escape(revise)}.</p>" if revise else "</p>"
            )
            return
        self.card = card = self.quiz.card
        self.question.value = card._repr_html_() if card.form == "predict" else to_html(
            card.question.strip()
        )  # fmt: skip
        self.choices.options = [(choice.text, place) for place, choice in enumerate(card.choices)]
        self.choices.index = None
        self.prediction.value = ""
        parts = {
            "choice": [self.choice_style, self.choices, self.submit],
            "predict": [self.prediction, self.submit],
            "recall": [self.reveal],
        }
        self._show("asked", parts[card.form])

    def _show(self, state: str, parts: list[Any]) -> None:
        self.state = state
        place = min(len(self.quiz.results) + (state in ("asked", "shown")), len(self.quiz.cards))
        self.text.value = html.escape(
            f"{self.quiz.score} right so far"
            if state == "done"
            else f"card {place} of {len(self.quiz.cards)}: {self.card.topic}, level "
            f"{self.card.level}; {state}"
        )
        self.children = [self.text, self.question, *parts]

    def _on_submit(self, _button: object) -> None:
        answer = self.choices.index if self.card.form == "choice" else self.prediction.value
        if answer is None:
            self.feedback.value = "<p>Choose an answer first.</p>"
            if self.feedback not in self.children:
                self.children = [*self.children, self.feedback]
            return
        self._answered(answer)

    def _on_reveal(self, _button: object) -> None:
        self.feedback.value = self._explanation("")
        self._show("shown", [self.feedback, ipywidgets.HBox(self.ratings)])

    def _on_rating(self, button: Any) -> None:
        self._answered(button.description)

    def _answered(self, answer: int | str) -> None:
        card = self.card
        right = self.quiz.answer(answer)
        first = ""
        if card.form == "choice":
            assert isinstance(answer, int)
            first = card.choices[answer].because
        elif card.form == "predict":
            first = f"It prints:\n\n```\n{card.output.strip()}\n```"
        self.feedback.value = f"<p><b>{'Right' if right else 'Not so'}.</b></p>" + (
            self._explanation(first)
        )
        runs = [self.run_code] * bool(card.code) + [self.show_demo] * bool(card.demo)
        parts = [self.feedback, ipywidgets.HBox([*runs, self.next]), self.printed]
        self._show("right" if right else "wrong", parts)

    def _explanation(self, first: str) -> str:
        card = self.card
        return "".join(to_html(text.strip()) for text in (first, card.short, card.longer) if text)

    def _on_run(self, _button: object) -> None:
        code, printed = self.card.code.strip(), self.card.run().strip()
        self.printed.value = (
            f"<pre>{html.escape(code)}</pre><p>prints</p><pre>{html.escape(printed)}</pre>"
        )

    def _on_demo(self, _button: object) -> None:
        self.printed.value = "<p>It runs, for some seconds.</p>"
        result = self.card.demonstrate()
        shown = as_image(result.picture())
        self.printed.value = f"<p>{html.escape(result.summary)}</p>{shown}"

    def _on_next(self, _button: object) -> None:
        self._ask()

    def __repr__(self) -> str:
        place = min(len(self.quiz.results) + (self.state == "asked"), len(self.quiz.cards))
        name = "" if self.state == "done" else f", {self.card.name}"
        return f"<CardsWidget: {self.state}; card {place} of {len(self.quiz.cards)}{name}>"


def _button(label: str, act: Any) -> ipywidgets.Button:
    button = ipywidgets.Button(description=label, layout=ipywidgets.Layout(width="max-content"))
    button.on_click(act)
    return button
