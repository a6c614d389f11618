"""The interview in a notebook: a clock, a question, and what its kind of answer needs.

It holds no rule of the interview: every button asks the ``Interview`` and shows what came of it.
Everything is reached by the tab key; the text line says state, question and time in words.
"""

from __future__ import annotations

import functools
import html
import threading
import time
from collections.abc import Callable
from typing import Any

import ipywidgets

from dlkit.lab.cards import load
from dlkit.lab.cards.deck import RATINGS
from dlkit.lab.choice import Several, choice
from dlkit.lab.exercises.progress import Progress
from dlkit.lab.exercises.task import to_html
from dlkit.lab.interview import report
from dlkit.lab.interview.fields import AnswerFields
from dlkit.lab.interview.interview import LENGTHS, Interview
from dlkit.lab.interview.questions import LEVELS, subjects
from dlkit.lab.interview.record import FINISHED, PAUSED, RUNNING, texts, unfinished

ROW = ipywidgets.Layout(flex_flow="row wrap")
TICK_SECONDS = 1.0


class MockInterview(AnswerFields):
    """A mock interview to play by keyboard or mouse.

    Args:
        progress: Where it is kept; the learner's own when None.
        clock: Returns seconds.
        ticking: Whether a thread shows the time each second; else ``tick()`` does when called.
        seed: Of the questions; drawn when None.
        language: Of all texts.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     widget = MockInterview(Progress(folder), lambda: 0.0, ticking=False, seed=1)
    ...     widget.buttons["start"].click()
    ...     widget.clock_text.value
    '<b>20:00 left</b>'
    """

    def __init__(
        self,
        progress: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        ticking: bool = True,
        seed: int | None = None,
        language: str = "en",
    ) -> None:
        self.progress = progress if progress is not None else Progress()
        self.interview: Interview | None = None
        self._clock, self._seed, self.language = clock, seed, language
        self._ticking, self._stop = ticking, threading.Event()
        self._asked: object = None
        self._say = texts(language)["widget"]
        super().__init__(language)
        for field in (self.words, self.code):
            field.observe(self._on_draft, names="value")
        self._make_settings()
        self._make_buttons()
        self._show_start()

    # ---- the pieces -----------------------------------------------------------------------------

    def _make_settings(self) -> None:
        say = self._say
        self.text, self.clock_text = ipywidgets.HTML(), ipywidgets.HTML()
        self.minutes = choice(LENGTHS, description=say["minutes"])
        self.level = choice(LEVELS, value=2, description=say["level"])
        self.about = Several(subjects(), say["subjects"])

    def _make_buttons(self) -> None:
        acts = {
            "start": self._on_start,
            "go_on": self._on_go_on,
            "answer": self._on_answer,
            "run": self._on_run,
            "reveal": self._on_reveal,
            "skip": self._on_skip,
            "pause": self._on_pause,
            "finish": self._on_finish,
        }
        self.buttons = {key: _button(self._say[key], act) for key, act in acts.items()}
        for key in ("start", "answer", "run"):
            self.buttons[key].button_style = "primary"  # choices are buttons too, and these go on
        self.ratings = {
            rating: _button(rating, functools.partial(self._on_rating, rating))
            for rating in RATINGS
        }

    # ---- what is shown --------------------------------------------------------------------------

    def _show_start(self) -> None:
        self.text.value = f"<p>{html.escape(self._say['start_text'])}</p>"
        begin = [self.buttons["start"]]
        if unfinished(self.progress) is not None:
            begin.append(self.buttons["go_on"])
        settings = [self.minutes, self.level, self.about]
        self.children = [self.text, *settings, ipywidgets.HBox(begin, layout=ROW)]

    def _refresh(self, said: str = "") -> None:
        """Show the interview as it is now, and what was said last."""
        interview = self.interview
        assert interview is not None
        self.feedback.value = f"<pre>{html.escape(said)}</pre>" if said else ""
        self._show_time()
        if interview.state == FINISHED:
            self._show_report()
            return
        running = interview.state == RUNNING
        self.buttons["pause"].description = self._say["pause" if running else "resume"]
        question = interview.question
        assert question is not None
        if self._asked is not interview.record.current:
            self.fill(question, interview.record.draft)
            self._asked = interview.record.current
        always = [self.buttons[key] for key in ("skip", "pause", "finish")[not running :]]
        shown = [self.question, *self.shown_for(question, self.buttons)] if running else []
        # What was said stands above the next question, where it is read first.
        self.children = [
            self.clock_text,
            self.text,
            self.feedback,
            *shown,
            ipywidgets.HBox(always, layout=ROW),
        ]

    def _show_report(self) -> None:
        assert self.interview is not None
        self._stop.set()
        paths = self.interview.save_report()
        kept = " ".join(html.escape(self._say["kept"].format(path=path.name)) for path in paths)
        self.question.value = report.to_html(self.interview.record)
        self.feedback.value += f"<p>{kept}</p>"
        self.children = [self.text, self.feedback, self.question]

    # ---- the clock ------------------------------------------------------------------------------

    def tick(self) -> None:
        """Show the time, and the report when it is up."""
        interview = self.interview
        if interview is None or interview.state == FINISHED:
            return
        interview.tick()
        if interview.state == FINISHED:  # after the call: it is the call that ends it
            self._refresh(texts(self.language)["say"]["over"])
        else:
            self._show_time()

    def _show_time(self) -> None:
        assert self.interview is not None
        left = report.duration(self.interview.remaining)
        self.clock_text.value = f"<b>{html.escape(self._say['left'].format(left=left))}</b>"
        self.text.value = html.escape(repr(self.interview))

    def _run_clock(self, stop: threading.Event) -> None:
        while not stop.wait(TICK_SECONDS):
            try:
                self.tick()
            except (RuntimeError, OSError) as error:  # another kernel, or a full disk
                self.feedback.value = f"<pre>{html.escape(str(error))}</pre>"
                if isinstance(error, RuntimeError):
                    return

    def close(self) -> None:
        """End the clock's thread with the widget."""
        self._stop.set()
        super().close()

    # ---- what the buttons do --------------------------------------------------------------------

    def _begin(self, interview: Interview) -> None:
        self._stop.set()
        self.interview, self._asked, self._stop = interview, None, threading.Event()
        interview.resume()
        self._refresh()
        if self._ticking and interview.state == RUNNING:
            threading.Thread(target=self._run_clock, args=(self._stop,), daemon=True).start()

    def _on_start(self) -> None:
        new = Interview(
            self.minutes.value,
            self.level.value,
            list(self.about.value) or None,
            progress=self.progress,
            clock=self._clock,
            seed=self._seed,
            language=self.language,
        )
        self._begin(new)

    def _on_go_on(self) -> None:
        self._begin(Interview.open(progress=self.progress, clock=self._clock))

    def answer(self, given: Any, rating: str = "") -> None:
        """Answer the question, as ``Interview.answer`` does, and show what comes of it.

        Args:
            given: Code may also be a function from a cell of the notebook.
            rating: Of an answer in words.

        Raises:
            ValueError: If no interview runs, or such an answer is not possible.
        """
        if self.interview is None:
            raise ValueError("no interview has begun")
        self._refresh(self.interview.answer(given, rating).message)

    def _on_answer(self) -> None:
        given = self.choices.index if self.choices.options else self.words.value
        if given is None:
            self._refresh(self._say["choose"])
        else:
            self.answer(given)

    def _on_run(self) -> None:
        self.answer(self.code.value)

    def _on_reveal(self) -> None:
        assert self.interview is not None
        question = self.interview.question
        assert question is not None
        good = question.expected
        if question.kind == "card":
            card = load(self.language)[question.name]
            good = f"{card.short}\n\n{card.longer}"
        self._refresh()
        rate = ipywidgets.HBox(list(self.ratings.values()), layout=ROW)
        self.feedback.value = to_html(good)
        *others, always = self.children
        kept = [w for w in others if w not in (self.buttons["reveal"], self.feedback)]
        self.children = [*kept, self.feedback, rate, always]

    def _on_rating(self, rating: str) -> None:
        self.answer(self.words.value, rating)

    def _on_skip(self) -> None:
        assert self.interview is not None
        self._refresh(self.interview.skip().message)

    def _on_pause(self) -> None:
        assert self.interview is not None
        if self.interview.state == PAUSED:
            self.interview.resume()
            self._refresh()
        else:
            self._refresh(repr(self.interview.pause()))

    def _on_finish(self) -> None:
        assert self.interview is not None
        self.interview.finish()
        self._refresh()

    def _on_draft(self, change: dict[str, Any]) -> None:
        interview = self.interview
        if interview is not None and self._asked is interview.record.current:
            interview.draft(change["new"])

    def __repr__(self) -> str:
        state = "not begun" if self.interview is None else repr(self.interview)
        return f"<MockInterview: {state}>"


def _button(label: str, act: Callable[[], None]) -> ipywidgets.Button:
    button = ipywidgets.Button(description=label, layout=ipywidgets.Layout(width="max-content"))
    button.on_click(lambda _: act())
    return button
