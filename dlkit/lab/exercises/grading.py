"""From outcomes to a verdict: the smallest case that fails, what broke, and the likely mistake.

All of it runs in the learner's kernel, out of reach of the answer, which ran in a child. The likely
mistake is found by comparison: the wrong answers that the exercise knows run on the same cases, and
the one whose results agree with the learner's is named.
"""

from __future__ import annotations

import functools
import html
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlkit.lab.exercises.contract import HERE, Answer, Case, Exercise, Raises, mistake_name
from dlkit.lab.exercises.outcome import Outcome
from dlkit.lab.exercises.runner import run
from dlkit.lab.exercises.values import same, show

if TYPE_CHECKING:
    from dlkit.plots.style import Picture

VALUE = "value"
SHOWN_PRINTED = 1000


@functools.cache
def messages(language: str = "en") -> dict[str, dict[str, str]]:
    """Return the engine's own texts, in English where the language has none."""
    path = HERE / f"messages.{language}.toml"
    path = path if path.exists() else HERE / "messages.en.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Counterexample:
    """The smallest case that an answer got wrong.

    Args:
        number: Which case it is, from 0.
        case: The arguments.
        parameters: Their names.
        expected: The right result; None where only properties are known.
        outcome: What the answer did.
    """

    number: int
    case: Case
    parameters: tuple[str, ...]
    expected: Any
    outcome: Outcome

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by name."""
        return dict(zip(self.parameters, self.case, strict=True))

    @property
    def got(self) -> Any:
        """What the answer returned; None when it returned nothing."""
        return self.outcome.value if self.outcome.kind == VALUE else None


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Args:
        name: The exercise.
        passed: Whether every case was right.
        message: All that there is to say, as text.
        counterexample: The smallest case that was wrong, if any.
        broken: The key of the property that it breaks, "value", or the kind of outcome.
        mistake: The key of the known mistake that gives the same results, or "".
        untouched: Whether nothing was written yet.
        picture: Draws what the text says, if a picture helps.
    """

    name: str
    passed: bool
    message: str
    counterexample: Counterexample | None = None
    broken: str = ""
    mistake: str = ""
    untouched: bool = False
    draw: Callable[[], Picture] | None = None

    @property
    def picture(self) -> Picture | None:
        """The counterexample as a picture, where one helps."""
        return self.draw() if self.draw else None

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return self.message

    def _ipython_display_(self) -> None:
        from IPython.display import display

        colour = "#009E73" if self.passed else "#D55E00"
        style = f"border-left: 4px solid {colour}; padding-left: 8px; white-space: pre-wrap"
        text = f'<pre style="{style}">{html.escape(self.message)}</pre>'
        show_output: Callable[..., object] = display  # IPython does not annotate it
        show_output({"text/plain": self.message, "text/html": text}, raw=True)
        if self.draw:
            show_output(self.picture)


def check(
    exercise: Exercise, answer: Answer, language: str = "en", only: int | None = None
) -> Verdict:
    """Run an answer and say what is wrong with it, if anything.

    Args:
        exercise: Which exercise.
        answer: What the learner wrote.
        language: Of the message.
        only: The number of the one case to run; None for all.

    Returns:
        The verdict.

    Raises:
        TypeError: If the answer cannot be called.
    """
    if not callable(answer):
        raise TypeError(f"answer must be a function or class, but got {answer!r}")
    positions = range(len(exercise.all_cases)) if only is None else [only]
    outcomes = run(exercise, [answer], positions)[0]
    # Not a plain zip: after a final outcome there are fewer.
    return grade(exercise, dict(zip(positions, outcomes, strict=False)), language)


def grade(exercise: Exercise, outcomes: Mapping[int, Outcome], language: str = "en") -> Verdict:
    """Turn the outcomes of one answer into a verdict; this part runs no learner's code.

    Args:
        exercise: Which exercise.
        outcomes: Number of each case that was run, in order, to what happened.
        language: Of the message.

    Returns:
        The verdict.
    """
    say = messages(language)
    expected = expected_of(exercise.name)
    for position, outcome in outcomes.items():
        broken = _broken(exercise, position, outcome)
        if broken:
            break
    else:
        text = say["verdict"]["passed"].format(name=exercise.name, cases=len(outcomes))
        return Verdict(exercise.name, True, "\n".join([text, *_printed(outcome, say)]))
    counterexample = Counterexample(
        position,
        exercise.all_cases[position],
        tuple(exercise.parameters),
        expected[position],
        outcome,
    )
    if outcome.kind == "raised" and "NotImplementedError" in outcome.value:
        text = say["verdict"]["stub"].format(name=exercise.name)
        return Verdict(exercise.name, False, text, counterexample, broken, untouched=True)
    mistake = _likely(exercise, outcomes, position)
    head = say["verdict"]["failed"].format(
        name=exercise.name, number=position + 1, cases=len(exercise.all_cases)
    )
    text = "\n".join([head, *_explained(exercise, counterexample, broken, mistake, language)])
    draw = None
    if exercise.picture and outcome.kind == VALUE:
        draw = functools.partial(_draw, exercise, counterexample)
    return Verdict(exercise.name, False, text, counterexample, broken, mistake, draw=draw)


@functools.cache
def expected_of(name: str) -> list[Any]:
    """The oracle's result for every case of an exercise."""
    from dlkit.lab.exercises.contract import find

    exercise = find(name)
    if exercise.oracle is None:
        return [None] * len(exercise.all_cases)
    import copy

    return [exercise.oracle(*copy.deepcopy(case)) for case in exercise.all_cases]


def _broken(exercise: Exercise, position: int, outcome: Outcome) -> str:
    """What is wrong with an outcome: a property, "value", the kind of failure, or nothing."""
    expected = expected_of(exercise.name)[position]
    if isinstance(expected, Raises):
        right = outcome.kind == "raised" and expected.error.__name__ in outcome.value
        return "" if right else VALUE if outcome.kind in (VALUE, "raised") else outcome.kind
    if outcome.kind != VALUE:
        return outcome.kind
    for key, holds in exercise.properties.items():
        try:
            if not holds(exercise.all_cases[position], outcome.value):
                return key
        except Exception:  # the result is of another form than the property can read
            return key
    if exercise.oracle is not None and not exercise.same(expected, outcome.value):
        return VALUE
    return ""


@functools.cache
def known_outcomes(name: str) -> list[tuple[str, list[Outcome]]]:
    """Run the wrong answers that an exercise knows, all in one child: name and outcomes of each."""
    from dlkit.lab.exercises.contract import find

    exercise = find(name)
    outcomes = run(exercise, exercise.mistakes, range(len(exercise.all_cases)))
    return [(mistake_name(m), o) for m, o in zip(exercise.mistakes, outcomes, strict=True)]


def _likely(exercise: Exercise, outcomes: Mapping[int, Outcome], position: int) -> str:
    """The known mistake that does the same on this case, and on most others that fail."""
    best, most = "", 0
    for key, known in known_outcomes(exercise.name):
        if position >= len(known) or not _alike(known[position], outcomes[position]):
            continue
        agreeing = sum(n < len(known) and _alike(known[n], o) for n, o in outcomes.items())
        if agreeing > most:
            best, most = key, agreeing
    return best


def _alike(first: Outcome, second: Outcome) -> bool:
    return first.kind == second.kind and same(first.value, second.value)


def _explained(
    exercise: Exercise, wrong: Counterexample, broken: str, mistake: str, language: str
) -> list[str]:
    say, texts = messages(language), exercise.texts(language)
    outcome, words = wrong.outcome, say["verdict"]
    lines = {"input": ", ".join(f"{name}={show(v)}" for name, v in wrong.arguments.items())}
    if isinstance(wrong.expected, Raises):
        lines["expected"] = words["raises"].format(error=wrong.expected.error.__name__)
    elif exercise.oracle is not None:
        lines["expected"] = show(wrong.expected)
    if outcome.kind == VALUE:
        lines["got"] = show(outcome.value)
        if isinstance(wrong.expected, Raises):
            lines["got"] = words["raised_nothing"].format(value=show(outcome.value))
        lines["broken"] = texts.properties.get(broken, words["value"])
    else:
        detail = {"text": outcome.text, "value": show(outcome.value)}
        lines["got"] = say["outcome"][outcome.kind].format(**detail).strip()
        lines["broken"] = texts.properties.get(broken, say["outcome"][f"{outcome.kind}_broken"])
    if mistake:
        lines["likely"] = texts.mistakes[mistake]
    width = max(len(words[key]) for key in lines) + 2
    shown = [_indented(words[key], text, width) for key, text in lines.items()]
    return [*shown, *_printed(outcome, say)]


def _indented(label: str, text: str, width: int) -> str:
    return f"  {label:<{width}}" + text.strip().replace("\n", "\n" + " " * (width + 2))


def _printed(outcome: Outcome, say: dict[str, dict[str, str]]) -> list[str]:
    if not outcome.printed:
        return []
    kept = outcome.printed[:SHOWN_PRINTED]
    if len(kept) < outcome.printed_bytes:
        label = say["verdict"]["printed_much"].format(kept=len(kept), size=outcome.printed_bytes)
        return [f"  {label}", kept]
    return [_indented(say["verdict"]["printed"], kept, 10)]


def _draw(exercise: Exercise, wrong: Counterexample) -> Picture:
    from dlkit.plots.exercises import index_strips, target_and_yours

    if exercise.picture == "strip":
        return index_strips(wrong.expected, wrong.got)
    return target_and_yours(wrong.expected, wrong.got)
