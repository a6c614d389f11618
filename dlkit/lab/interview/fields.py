"""The fields in which an interview's questions are shown and answered, each kind in its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets

from dlkit.lab.cards import load
from dlkit.lab.choice import answers
from dlkit.lab.exercises import find
from dlkit.lab.exercises.task import to_html
from dlkit.lab.interview import report
from dlkit.lab.interview.questions import Question
from dlkit.lab.interview.record import texts

WIDE = ipywidgets.Layout(width="95%")
CODE_STYLE = "<style>.dlkit-code textarea { font-family: monospace }</style>"
LINES = 14


class AnswerFields(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no annotations
    """A question with the fields for its answer.

    Args:
        language: Of all texts.
    """

    def __init__(self, language: str) -> None:
        self._language = language
        self.question, self.feedback = ipywidgets.HTML(layout=WIDE), ipywidgets.HTML(layout=WIDE)
        self.choice_style, self.choices = answers()
        self.words = ipywidgets.Textarea(layout=WIDE, rows=4, continuous_update=False)
        self.code = ipywidgets.Textarea(layout=WIDE, rows=LINES, continuous_update=False)
        self.code.add_class("dlkit-code")
        self.code_style = ipywidgets.HTML(CODE_STYLE)
        super().__init__([])

    def fill(self, question: Question, draft: str) -> None:
        """Put a question and an empty answer, or the draft of one, into the fields."""
        self.choices.options = ()
        if question.kind == "card":
            options = load(self._language)[question.name].choices
            self.choices.options = [(choice.text, n) for n, choice in enumerate(options)]
        if question.kind in ("coding", "bug-hunt"):
            exercise = find(question.name)
            symptoms = exercise.texts(self._language).symptoms
            self.choices.options = [(symptom.text, n) for n, symptom in enumerate(symptoms)]
            self.code.value = draft or exercise.stub
        self.choices.index = None
        self.words.value = draft
        self.question.value = to_html(report.text_of(question, self._language, whole=False))

    def shown_for(self, question: Question, buttons: Mapping[str, Any]) -> list[Any]:
        """Return the fields and buttons for a question, in the order of the tab key."""
        answer, run = buttons["answer"], buttons["run"]
        if question.kind == "coding":
            return [self.code_style, self.code, run]
        if question.kind == "bug-hunt":
            return [self.choice_style, self.choices, answer, self.code_style, self.code, run]
        form = "recall"
        if question.kind == "card":
            form = load(self._language)[question.name].form
        if form == "choice":
            return [self.choice_style, self.choices, answer]
        key = "prints" if form == "predict" else "own"
        self.words.placeholder = texts(self._language)["widget"][key]
        return [self.words, answer if form == "predict" else buttons["reveal"]]
