"""The interview itself: it asks, runs what is answered, keeps time, and follows up.

Every event ends in one write of the whole record. The clock is given from outside; it stands while
the interview is paused, and what passes between a kernel's end and the next start does not count.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dlkit.lab.exercises.progress import Progress
from dlkit.lab.exercises.task import Shown
from dlkit.lab.interview import follow_ups, report
from dlkit.lab.interview.judging import Feedback, judge
from dlkit.lab.interview.past import summary
from dlkit.lab.interview.questions import LEVELS, Question, draw, subjects
from dlkit.lab.interview.record import (
    FINISHED,
    PAUSED,
    RUNNING,
    Answer,
    Record,
    folder_of,
    read,
    unfinished,
)
from dlkit.lab.interview.timed import Timed

LENGTHS = (20, 45, 60)  # minutes


class Interview(Timed):
    """A mock interview against a clock.

    Args:
        minutes: 20, 45 or 60.
        level: 1 to 3, of its hardest questions.
        about: Subjects; everything when None.
        progress: Where answers are recorded, and whose past counts; the learner's own when None.
        clock: Returns seconds; the first value does not matter.
        seed: Of the questions; drawn when None.
        language: Of all texts.

    Raises:
        ValueError: If the length, the level or a subject is none of those.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     interview = Interview(20, level=1, progress=Progress(folder), clock=lambda: 0.0, seed=1)
    ...     interview.skip()
    ...     interview.remaining, len(interview.record.answers)
    Skipped.
    (1200.0, 1)
    """

    def __init__(
        self,
        minutes: int = 20,
        level: int = 2,
        about: Iterable[str] | None = None,
        *,
        progress: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
        seed: int | None = None,
        language: str = "en",
    ) -> None:
        if minutes not in LENGTHS:
            raise ValueError(f"minutes must be one of {LENGTHS}, but got {minutes!r}")
        if level not in LEVELS:
            raise ValueError(f"level must be one of {LEVELS}, but got {level!r}")
        if isinstance(about, str):
            raise TypeError(f"about must be a list of subjects, but got {about!r}")
        chosen = [] if about is None else list(about)
        if unknown := set(chosen) - set(subjects()):
            raise ValueError(f"about must be among {subjects()}, but got {sorted(unknown)}")
        now, chance = time.time(), os.urandom(3).hex()
        name = f"{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S-%f}-{chance}"
        seed = int(chance, 16) if seed is None else seed
        record = Record(name, now, minutes, level, chosen, seed, language)
        super().__init__(record, progress, clock)
        record.queue = self._drawn(minutes)
        self._start()
        settings = {"minutes": minutes, "level": level, "about": chosen}
        self.progress.record(name, "started", "interview", json.dumps(settings))
        self._ask()

    @classmethod
    def open(
        cls,
        name: str | None = None,
        *,
        progress: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Interview:
        """Return an interview as it was after its last event; one that was running is paused.

        Args:
            name: Which one; the last that was not finished when None.
            progress: Whose.
            clock: As for ``Interview``.

        Raises:
            ValueError: If there is none, or its file cannot be read.
        """
        progress = progress if progress is not None else Progress()
        if name is None:
            record = unfinished(progress)
            if record is None:
                raise ValueError("there is no interview that was not finished")
        else:
            path = folder_of(progress) / f"{name}.json"
            if name not in {p.stem for p in folder_of(progress).glob("*.json")}:
                raise ValueError(f"name must be that of an interview, but got {name!r}")
            record = read(path)
        opened = cls.__new__(cls)
        Timed.__init__(opened, record, progress, clock)
        if record.state == RUNNING:
            record.state = PAUSED
            record.pauses += 1
        return opened

    # ---- the clock ------------------------------------------------------------------------------

    def tick(self) -> float:
        """Write down the time, end the interview if it is up, and return the seconds left."""
        # While code is run the lock is held: then the time is only told.
        if self._lock.acquire(blocking=False):
            try:
                if self.state == RUNNING and not self._ended():
                    self._store()
            finally:
                self._lock.release()
        return self.remaining

    def pause(self) -> Shown:
        """Stop the clock."""
        with self._lock:
            if self.state == RUNNING and not self._ended():
                self._stop()
                self.record.state = PAUSED
                self.record.pauses += 1
                self._store()
            return Shown(self._say["paused"] if self.state == PAUSED else self._say["over"])

    def resume(self) -> None:
        """Start the clock again."""
        with self._lock:
            if self.state == PAUSED:
                self.record.state = RUNNING
                self._start()
                self._store()

    # ---- questions and answers ------------------------------------------------------------------

    @property
    def question(self) -> Question | None:
        """The question that is asked; None when the interview is over."""
        return self.record.current.question if self.record.current else None

    def show(self) -> Shown:
        """Show the question with all that belongs to it but the answer."""
        question = self.question
        return Shown("" if question is None else report.text_of(question, self.record.language))

    def draft(self, text: str) -> None:
        """Keep what stands in the answer's field; nothing is lost if the kernel ends."""
        with self._lock:
            if self.state != FINISHED and text != self.record.draft:
                self.record.draft = text
                self._store()

    def answer(self, given: Any, rating: str = "") -> Feedback:
        """Answer the question that is asked.

        Args:
            given: Of a card, the place of a choice from 0, or text; of an exercise, code as text or
                as a function; of a bug hunt, first the place of a symptom from 0, if you like.
            rating: Of a question to answer in words: "again", "hard", "good" or "easy".

        Returns:
            What the interviewer says. Code that fails may be tried again; everything else leads on.

        Raises:
            ValueError: If the interview is paused or over, or such an answer is not possible.
        """
        with self._lock:
            current, record = self._open_question(), self.record
            if self._ended():
                return Feedback(None, self._say["over"], True)
            feedback = judge(current, given, rating, self.progress, record.language, self.clock)
            if feedback.moved_on:
                self._next()
            else:
                self._store()
            return feedback

    def skip(self) -> Feedback:
        """Go on to the next question, with or without an answer."""
        with self._lock:
            current = self._open_question()
            if self._ended():
                return Feedback(None, self._say["over"], True)
            current.skipped = not current.attempts
            said = self._say["skipped" if current.skipped else "onward"]
            self._next()
            return Feedback(None, said, True)

    def _open_question(self) -> Answer:
        if self.state == PAUSED:
            raise ValueError("the interview is paused: resume() starts the clock again")
        if self.record.current is None:
            raise ValueError("the interview is over: report() says what to revise")
        return self.record.current

    # ---- from question to question --------------------------------------------------------------

    def _next(self) -> None:
        """Close the question, put its follow-up before the others, and ask the next one."""
        answer = self._closed()
        asked = {(a.question.kind, a.question.name) for a in self.record.answers}
        asked |= {(q.kind, q.name) for q in self.record.queue}
        self.record.queue[:0] = follow_ups.after(answer, asked, self.record.language)
        self._ask()

    def _ask(self) -> None:
        record = self.record
        if not record.queue:  # quicker than planned
            record.queue = self._drawn(max(2.0, self.remaining / 60))
        if not record.queue or not self.remaining:
            self.finish()
            return
        record.current = Answer(record.queue.pop(0))
        record.asked_at, record.draft = self.elapsed, ""
        self._store()

    def _drawn(self, minutes: float) -> list[Question]:
        record = self.record
        asked = {(answer.question.kind, answer.question.name) for answer in record.answers}
        return draw(
            minutes, record.level, record.subjects or None, self.progress, record.seed, asked
        )

    def _closed(self) -> Answer:
        answer = self.record.current
        assert answer is not None
        answer.seconds = self.elapsed - self.record.asked_at
        self.record.answers.append(answer)
        self.record.current = None
        return answer

    def _ended(self) -> bool:
        """End the interview if the time is up; say whether it is over."""
        if self.state == RUNNING and not self.remaining:
            self.finish()
        return self.state == FINISHED

    def finish(self) -> Shown:
        """End the interview and return its report; an answer that was begun stands in it."""
        record = self.record
        with self._lock:
            if record.state != FINISHED:
                if record.current is not None:
                    record.current.given = record.current.given or record.draft
                    record.current.skipped = not record.current.given
                    self._closed()
                self._stop()
                record.elapsed = min(record.elapsed, record.minutes * 60)
                record.state, record.draft = FINISHED, ""
                self._store()
                detail = json.dumps(asdict(summary(record)))
                self.progress.record(record.name, "finished", "interview", detail)
        return self.report()

    # ---- what is left of it ---------------------------------------------------------------------

    def report(self) -> Shown:
        """Return the report so far as Markdown; in a notebook it is shown as HTML."""
        return report.Report(self.record)

    def save_report(self, folder: str | os.PathLike[str] | None = None) -> tuple[Path, Path]:
        """Write the report as Markdown and as HTML.

        Args:
            folder: Where; beside the learner's progress when None.

        Returns:
            Both paths.
        """
        target = folder_of(self.progress) if folder is None else Path(folder)
        return report.save(self.record, target)

    def __repr__(self) -> str:
        return report.status(self.record, self.remaining)
