"""What is known of an interview, as plain data in a file that is the old or the new one, whole."""

from __future__ import annotations

import functools
import json
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dlkit.lab.exercises.progress import Progress, write_whole
from dlkit.lab.interview.questions import Question

HERE = Path(__file__).parent
FOLDER = "interviews"
RUNNING, PAUSED, FINISHED = "running", "paused", "finished"


@functools.cache
def texts(language: str = "en") -> dict[str, dict[str, Any]]:
    """Return what an interview says, in English where the language has no texts."""
    path = HERE / f"texts.{language}.toml"
    path = path if path.exists() else HERE / "texts.en.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


@dataclass
class Answer:
    """A question with all that was done about it.

    Args:
        question: What was asked.
        given: The last answer: the text of a choice, words, or code.
        right: Whether it was right; of words, whether the learner thought so.
        skipped: Whether the learner went on without an answer.
        seconds: On the interview's clock, pauses left out.
        attempts: How often code was run.
        run_seconds: How long that took in all.
        diagnosis: Of a bug hunt: the symptom that was chosen.
        broken: What the last attempt that failed broke: a property, "value", or a kind of failure.
        mistake: The known mistake that it looks like, or "".
        message: What the learner was told about it.
        follow_up: The question that the failure leads to, as ``(text, a good answer)``.
    """

    question: Question
    given: str = ""
    right: bool = False
    skipped: bool = False
    seconds: float = 0.0
    attempts: int = 0
    run_seconds: float = 0.0
    diagnosis: str = ""
    broken: str = ""
    mistake: str = ""
    message: str = ""
    follow_up: tuple[str, str] = ("", "")


@dataclass
class Record:
    """The state of an interview between two events.

    Args:
        name: From the time when it began; unique.
        begun: Seconds since 1970.
        minutes: How long it may take.
        level: 1 to 3.
        subjects: What it is about; empty means everything.
        seed: Of the questions.
        language: Of all texts.
        queue: Questions to come.
        answers: What was answered.
        current: The question that is asked, with what was done so far.
        elapsed: Seconds on the interview's clock.
        asked_at: When the current question was asked, on that clock.
        pauses: How often it was paused, restarts included.
        state: "running", "paused" or "finished".
        draft: What stands in the answer's field.
        version: Counts the writes, so that two kernels notice each other.
    """

    name: str
    begun: float
    minutes: int
    level: int
    subjects: list[str]
    seed: int
    language: str = "en"
    queue: list[Question] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    current: Answer | None = None
    elapsed: float = 0.0
    asked_at: float = 0.0
    pauses: int = 0
    state: str = RUNNING
    draft: str = ""
    version: int = 0


def folder_of(progress: Progress) -> Path:
    """Return where a learner's interviews are kept: beside their progress."""
    return progress.path.parent / FOLDER


def save(record: Record, progress: Progress) -> None:
    """Write a record.

    Raises:
        RuntimeError: If another kernel has written it since; the file is left as it is.
    """
    path = folder_of(progress) / f"{record.name}.json"
    if path.exists() and read(path).version != record.version:
        raise RuntimeError(
            f"interview {record.name} went on in another kernel; Interview.open() reads it again"
        )
    record.version += 1
    try:
        write_whole(path, json.dumps(asdict(record), indent=1))
    except BaseException:
        record.version -= 1
        raise


def read(path: Path) -> Record:
    """Read a record.

    Raises:
        ValueError: If the file holds none, with its name.
        FileNotFoundError: If there is no such file.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields["queue"] = [Question(**question) for question in fields["queue"]]
        fields["answers"] = [_answer(answer) for answer in fields["answers"]]
        fields["current"] = fields["current"] and _answer(fields["current"])
        return Record(**fields)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} holds no interview that can be read: {error!r}") from error


def _answer(fields: dict[str, Any]) -> Answer:
    question, follow_up = Question(**fields["question"]), tuple(fields["follow_up"])
    return Answer(**{**fields, "question": question, "follow_up": follow_up})


def unfinished(progress: Progress) -> Record | None:
    """Return the last interview that was not finished; files that cannot be read are passed by."""
    for path in sorted(folder_of(progress).glob("*.json"), reverse=True):
        try:
            record = read(path)
        except (ValueError, OSError):
            continue
        if record.state != FINISHED:
            return record
    return None
