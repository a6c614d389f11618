"""What an exercise consists of, and where it is found."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import random
import re
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlkit.lab.exercises.values import same

HERE = Path(__file__).parent
TOPICS = (
    "batching",
    "shuffling",
    "sharding",
    "workers",
    "storage",
    "distributed",
    "realtime",
    "training",
    "deeplearning",
    "problems",
)
HUNTS = "hunts"  # the folder of the bug hunts, which start from broken code
Case = tuple[Any, ...]
Answer = Callable[..., Any]


@dataclass(frozen=True)
class Raises:
    """What an oracle returns where a right answer raises."""

    error: type[BaseException]


@dataclass(frozen=True)
class Symptom:
    """What broken code may do; one of several is what it does.

    Args:
        text: The claim.
        right: Whether it is so.
    """

    text: str
    right: bool


@dataclass(frozen=True)
class Texts:
    """What a learner reads, in one language.

    Args:
        title: A few words.
        statement: The task, in Markdown.
        hints: Three, from vague to concrete.
        properties: What each property says, as a fact that should hold.
        mistakes: What to tell whoever made the mistake.
        symptoms: Of a bug hunt: what its code may do.
    """

    title: str
    statement: str
    hints: tuple[str, ...]
    properties: Mapping[str, str]
    mistakes: Mapping[str, str]
    symptoms: tuple[Symptom, ...] = ()


@dataclass(frozen=True)
class Exercise:
    """One exercise, without its texts.

    Args:
        level: 1 (one idea), 2 (two or three) or 3 (an interview's last question).
        reference: A right answer, named like the exercise.
        alternatives: Right answers in other styles.
        mistakes: Wrong answers, one plausible bug each.
        cases: Called with a generator; yields arguments, plain data only, the smallest first.
        oracle: What is expected for a case; None where properties say it all.
        properties: Facts about ``(case, got)``, most telling first.
        drive: Turns an answer and a case into what is observed; None to call the answer.
        same: Whether ``(expected, got)`` agree.
        picture: "strip" for batches of indices, "target" for arrays, "" where text says it all.
        seconds: CPU seconds that one case may take.
        mutates: Whether the answer may change its arguments.
        broken: Of a bug hunt: the code to repair, which is shown in place of an empty function.
    """

    level: int
    reference: Answer
    alternatives: Sequence[Answer]
    mistakes: Sequence[Answer]
    cases: Callable[[random.Random], Iterable[Case]]
    oracle: Callable[..., Any] | None = None
    properties: Mapping[str, Callable[[Case, Any], bool]] = field(default_factory=dict)
    drive: Callable[..., Any] | None = None
    same: Callable[[Any, Any], bool] = same
    picture: str = ""
    seconds: float = 3.0
    mutates: bool = False
    broken: Answer | None = None

    @property
    def name(self) -> str:
        """The exercise's name: that of its module."""
        return self.module.rpartition(".")[2]

    @property
    def topic(self) -> str:
        """The topic: the folder of its module."""
        return self.module.split(".")[-2]

    @property
    def module(self) -> str:
        """The module that holds the reference."""
        return str(self.reference.__module__)

    @functools.cached_property
    def all_cases(self) -> list[Case]:
        """All cases, the same in every run."""
        return list(self.cases(random.Random(f"dlkit {self.name}")))

    @property
    def parameters(self) -> list[str]:
        """The name of each element of a case."""
        if self.drive is not None:
            return list(inspect.signature(self.drive).parameters)[1:]
        return list(inspect.signature(self.reference).parameters)

    def texts(self, language: str = "en") -> Texts:
        """Return the texts, in English where the language has none."""
        return _texts(self.topic, self.name, language)

    @property
    def stub(self) -> str:
        """The code that a learner starts from: imports, signature, and nothing yet, or a bug."""
        if self.broken is None:
            return _imports(self) + _source(self.reference, hollow=True)
        code = _with_what_it_uses(self, self.broken)
        name = rf"^(def|class) {self.broken.__name__}\b"
        return re.sub(name, rf"\1 {self.reference.__name__}", code, count=1, flags=re.M)

    @property
    def solution(self) -> str:
        """The reference's code, complete with its imports."""
        if self.broken is None:
            return _imports(self) + _source(self.reference)
        return _with_what_it_uses(self, self.reference)


def mistake_name(answer: Answer) -> str:
    """Return the key of a wrong answer's text: its name without leading underscores."""
    return answer.__name__.lstrip("_")


def _source(answer: Answer, hollow: bool = False) -> str:
    source = textwrap.dedent(inspect.getsource(answer))
    if not hollow:
        return source
    node = ast.parse(source).body[0]
    unsolved = ast.parse("raise NotImplementedError").body
    if isinstance(node, ast.ClassDef):
        methods = [n for n in node.body if isinstance(n, ast.FunctionDef) and _is_public(n.name)]
        for method in methods:
            method.body = unsolved
        node.body = [*methods]
    elif isinstance(node, ast.FunctionDef):
        node.body = unsolved
    return ast.unparse(node) + "\n"


def _is_public(name: str) -> bool:
    return name.startswith("__") or not name.startswith("_")


def _with_what_it_uses(exercise: Exercise, answer: Answer) -> str:
    """The code of an answer after the imports and the module's own names that it uses."""
    source = inspect.getsource(importlib.import_module(exercise.module))
    tree, lines = ast.parse(source), source.splitlines()
    defined = {name: node for node in tree.body for name in _defines(node)}
    wanted = [answer.__name__]
    for name in wanted:  # grows while it is walked
        used = {n.id for n in ast.walk(defined[name]) if type(n) is ast.Name}
        wanted += [n for n in defined if n in used and n not in wanted]
    parts = [
        "\n".join(lines[node.lineno - 1 : node.end_lineno]) + "\n"
        for name, node in defined.items()
        if name in wanted
    ]
    used = {n.id for name in wanted for n in ast.walk(defined[name]) if type(n) is ast.Name}
    code = _imports(exercise, used) + "\n\n".join(parts)
    # Without what our own tools read in comments.
    return re.sub(r"  # (type: ignore|noqa).*$", "", code, flags=re.M)


def _defines(node: ast.stmt) -> list[str]:
    """The name that a statement of a module gives to a function, a class or a type."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _imports(exercise: Exercise, used: set[str] | None = None) -> str:
    """The import lines of the exercise's module that bring the names used; by the reference."""
    module = importlib.import_module(exercise.module)
    if used is None:
        source = _source(exercise.reference)
        used = {n.id for n in ast.walk(ast.parse(source)) if type(n) is ast.Name}
    lines = []
    for node in ast.parse(inspect.getsource(module)).body:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        wanted = [a for a in node.names if (a.asname or a.name).split(".")[0] in used]
        if wanted:
            node.names = wanted
            lines.append(ast.unparse(node))
    return "\n".join(lines) + "\n\n\n" if lines else ""


@functools.cache
def _texts(topic: str, name: str, language: str) -> Texts:
    path = HERE / topic / f"{name}.{language}.toml"
    if not path.exists():
        path = HERE / topic / f"{name}.en.toml"
    read = tomllib.loads(path.read_text(encoding="utf-8"))
    symptoms = [Symptom(**symptom) for symptom in read.get("symptoms", ())]
    # The files have the right symptom first; asked like that, its place would give it away.
    random.Random(f"the choices of {name}").shuffle(symptoms)
    return Texts(
        title=read["title"],
        statement=read["statement"].strip(),
        hints=tuple(read["hints"]),
        properties=read.get("properties", {}),
        mistakes=read["mistakes"],
        symptoms=tuple(symptoms),
    )


@functools.cache
def _folders() -> dict[str, str]:
    """Name of each exercise to its topic, without importing any."""
    paths = [p for topic in (*TOPICS, HUNTS) for p in sorted((HERE / topic).glob("*.en.toml"))]
    return {path.name.removesuffix(".en.toml"): path.parent.name for path in paths}


def names(topic: str | None = None) -> list[str]:
    """Return the names of all coding exercises, by topic; those of the bug hunts when asked.

    Args:
        topic: Only this one, or "hunts".

    Raises:
        ValueError: If there is no such topic.
    """
    if topic is not None and topic not in (*TOPICS, HUNTS):
        raise ValueError(f"topic must be one of {(*TOPICS, HUNTS)}, but got {topic!r}")
    wanted = TOPICS if topic is None else (topic,)
    return [name for name, folder in _folders().items() if folder in wanted]


def find(name: str) -> Exercise:
    """Return an exercise by its name.

    Raises:
        ValueError: If there is none, with the names that come close.
    """
    if name not in _folders():
        import difflib

        close = difflib.get_close_matches(str(name), _folders(), 3, 0.4) or list(_folders())
        raise ValueError(f"name must be that of an exercise, such as {close}, but got {name!r}")
    module = importlib.import_module(f"dlkit.lab.exercises.{_folders()[name]}.{name}")
    found: Exercise = module.EXERCISE
    return found
