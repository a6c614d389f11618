"""The report of an interview: as Markdown to keep, as HTML to show, both from the same parts.

A learner's words and code are shown as they are and never read as markup: fenced in Markdown by
more backticks than they hold, escaped in HTML.
"""

from __future__ import annotations

import html
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dlkit.lab.cards import load
from dlkit.lab.exercises import find
from dlkit.lab.exercises.progress import write_whole
from dlkit.lab.exercises.task import Shown
from dlkit.lab.exercises.task import to_html as to_html_text
from dlkit.lab.interview.questions import Question
from dlkit.lab.interview.record import Answer, Record, texts

STYLE = """\
body { font: 16px/1.5 sans-serif; max-width: 50em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse }
th, td { text-align: left; padding: 2px 16px 2px 0; border-bottom: 1px solid #ccc }
pre { background: #f5f5f5; padding: 8px; overflow-x: auto; white-space: pre-wrap }
"""


@dataclass(frozen=True)
class Part:
    """A piece of the report.

    Args:
        form: "title", "heading", "question", "label", "text", "asked", "literal", "table"
            or "list".
        text: What it says.
        rows: Of a table, the first being its header; of a list, one cell a row.
    """

    form: str
    text: str = ""
    rows: tuple[tuple[str, ...], ...] = ()


class Report(Shown):
    """The report as a notebook shows it."""

    def __init__(self, record: Record) -> None:
        super().__init__(to_markdown(record))
        self._html = to_html(record)

    def _repr_html_(self) -> str:
        return self._html


def text_of(question: Question, language: str = "en", *, whole: bool = True) -> str:
    """Return what a question shows, in the exercises' little Markdown.

    Args:
        question: Which one.
        language: Of the text.
        whole: Whether code to write and answers to choose from belong to it; where they stand in
            fields of their own, they do not.
    """
    say = texts(language)["say"]
    if question.kind == "follow-up":
        return question.text
    if question.kind == "card":
        card = load(language)[question.name]
        if card.form == "choice" and not whole:
            return card.question.strip()
        return repr(card).replace("\n- ", "\n\n- ", 1)
    exercise = find(question.name)
    own = exercise.texts(language)
    ask: str = say["hunt_ask" if question.kind == "bug-hunt" else "code_ask"]
    parts = [own.title + ".", own.statement]
    if not whole:
        return "\n\n".join([*parts, ask])
    symptoms = "\n".join(f"- {symptom.text}" for symptom in own.symptoms)
    return "\n\n".join([*parts, f"```\n{exercise.stub}```", ask, symptoms]).strip()


def status(record: Record, remaining: float) -> str:
    """Return in one line where an interview stands.

    Args:
        record: Of the interview.
        remaining: Seconds that are left.
    """
    say, current = texts(record.language)["say"], record.current
    if current is None:
        right, asked = sum(a.right for a in record.answers), len(record.answers)
        return str(say["finished"].format(state=record.state, right=right, asked=asked))
    line = say["status"].format(
        state=record.state,
        number=len(record.answers) + 1,
        kind=current.question.kind,
        subject=current.question.subject,
        level=current.question.level,
        left=duration(remaining),
    )
    return str(line)


def duration(seconds: float) -> str:
    """Return seconds as minutes and seconds.

    >>> duration(125.4)
    '2:05'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def to_revise(record: Record) -> dict[str, list[str]]:
    """Return for each subject with wrong answers what to do again, most wrong answers first."""
    wrong: dict[str, dict[str, None]] = defaultdict(dict)
    for answer in record.answers:
        question = answer.question
        # Right in the end, but not at once, is still worth another look.
        if not answer.right or answer.attempts > 1:
            call = {"card": "Deck().card", "bug-hunt": "hunt"}.get(question.kind, "exercise")
            if question.kind != "follow-up":
                wrong[question.subject][f'{call}("{question.name}")'] = None
            else:
                wrong[question.subject].setdefault(_call_before(record, answer), None)
    return {s: list(wrong[s]) for s in sorted(wrong, key=lambda s: (-len(wrong[s]), s))}


def _call_before(record: Record, follow_up: Answer) -> str:
    """The call for the question that a follow-up belongs to."""
    hunts = {a.question.name for a in record.answers if a.question.kind == "bug-hunt"}
    call = "hunt" if follow_up.question.name in hunts else "exercise"
    return f'{call}("{follow_up.question.name}")'


def _parts(record: Record) -> Iterator[Part]:
    say = texts(record.language)["report"]
    begun = datetime.fromtimestamp(record.begun, UTC)
    yield Part("title", say["title"].format(date=f"{begun:%Y-%m-%d %H:%M} UTC"))
    number = {0: "none", 1: "one"}.get(record.pauses, "many")
    pauses = say["pauses"][number].format(count=record.pauses)
    about = ", ".join(record.subjects) or say["everything"]
    yield Part(
        "text",
        say["settings"].format(
            minutes=record.minutes,
            level=record.level,
            subjects=about,
            used=duration(record.elapsed),
            pauses=pauses,
        ),
    )
    answers = record.answers
    if not answers:
        yield Part("text", say["nothing"])
        return
    right = sum(answer.right for answer in answers)
    yield Part("text", say["score"].format(right=right, asked=len(answers)))
    revise = to_revise(record)
    yield Part("heading", say["revise"])
    if revise:
        yield Part("list", rows=tuple((s, ", ".join(items)) for s, items in revise.items()))
    else:
        yield Part("text", say["all_right"])
    yield Part("heading", say["subjects"])
    yield Part("table", rows=_by_subject(record))
    yield Part("heading", say["questions"])
    for place, answer in enumerate(answers, 1):
        yield from _question(place, answer, record.language)


def _by_subject(record: Record) -> tuple[tuple[str, ...], ...]:
    say = texts(record.language)["report"]
    rows = [(say["subject"], say["rights"], say["time"], say["planned"])]
    for subject in dict.fromkeys(answer.question.subject for answer in record.answers):
        own = [answer for answer in record.answers if answer.question.subject == subject]
        right = f"{sum(answer.right for answer in own)} / {len(own)}"
        used = duration(sum(answer.seconds for answer in own))
        planned = duration(60 * sum(answer.question.minutes for answer in own))
        rows.append((subject, right, used, planned))
    return tuple(rows)


def _question(place: int, answer: Answer, language: str) -> Iterator[Part]:
    say, question = texts(language)["report"], answer.question
    yield Part(
        "question", say["question"].format(number=place, kind=question.kind, name=question.name)
    )
    result = "right" if answer.right else "skipped" if answer.skipped else "wrong"
    about = say["about"].format(
        subject=question.subject,
        level=question.level,
        result=say[result],
        time=duration(answer.seconds),
        planned=duration(60 * question.minutes),
    )
    if answer.attempts:
        count, seconds = answer.attempts, answer.run_seconds
        about += "; " + say["attempts"].format(count=count, seconds=seconds)
    yield Part("text", about + ".")
    yield Part("asked", text_of(question, language))
    if answer.diagnosis:
        yield Part("label", say["diagnosis"])
        yield Part("literal", answer.diagnosis)
    if answer.given.strip():
        yield Part("label", say["yours"])
        yield Part("literal", answer.given)
    else:
        yield Part("text", say["no_answer"])
    if answer.message:
        yield Part("label", say["verdict"])
        yield Part("literal", answer.message)
    good = question.expected
    if question.kind == "card":
        card = load(language)[question.name]
        good = f"{card.short} {card.longer}".strip()
    if good:
        yield Part("label", say["expected"])
        yield Part("literal", good)


def to_markdown(record: Record) -> str:
    """Return the report as Markdown.

    Args:
        record: Of an interview, finished or not.
    """
    blocks = []
    for part in _parts(record):
        if part.form == "table":
            lines = [_row(row) for row in part.rows]
            lines.insert(1, "|---" * len(part.rows[0]) + "|")
            blocks.append("\n".join(lines))
        elif part.form == "list":
            blocks.append("\n".join(f"- {head}: `{items}`" for head, items in part.rows))
        elif part.form in ("literal", "asked"):
            longest = max(map(len, re.findall(r"`+", part.text)), default=0)
            fence = "`" * max(3, longest + 1)
            blocks.append(f"{fence}text\n{part.text.strip()}\n{fence}")
        else:
            mark = {"title": "# ", "heading": "## ", "question": "### ", "label": "**"}
            start = mark.get(part.form, "")
            blocks.append(f"{start}{part.text}{'**' if part.form == 'label' else ''}")
    return "\n\n".join(blocks) + "\n"


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def to_html(record: Record) -> str:
    """Return the report as HTML to put into a page; all texts are escaped.

    Args:
        record: Of an interview, finished or not.
    """
    tags = {"title": "h1", "heading": "h2", "question": "h3", "label": "h4", "text": "p"}
    blocks = []
    for part in _parts(record):
        if part.form == "table":
            head, *body = part.rows
            rows = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
            rows += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in body]
            blocks.append("<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>")
        elif part.form == "list":
            items = [
                f"<li>{html.escape(head)}: <code>{html.escape(items)}</code></li>"
                for head, items in part.rows
            ]
            blocks.append(f"<ul>{''.join(items)}</ul>")
        elif part.form == "asked":
            blocks.append(f"<blockquote>{to_html_text(part.text)}</blockquote>")
        else:
            tag = tags.get(part.form, "pre")
            blocks.append(f"<{tag}>{html.escape(part.text.strip())}</{tag}>")
    return "\n".join(blocks)


def to_page(record: Record) -> str:
    """Return the report as a whole page that needs nothing else."""
    title = html.escape(next(_parts(record)).text)
    return (
        f'<!DOCTYPE html>\n<html lang="{html.escape(record.language)}">\n<meta charset="utf-8">\n'
        f"<title>{title}</title>\n<style>\n{STYLE}</style>\n<body>\n{to_html(record)}\n</body>\n"
        "</html>\n"
    )


def save(record: Record, folder: Path) -> tuple[Path, Path]:
    """Write the report as Markdown and as HTML, and return both paths."""
    paths = (folder / f"{record.name}.md", folder / f"{record.name}.html")
    write_whole(paths[0], to_markdown(record))
    write_whole(paths[1], to_page(record))
    return paths
