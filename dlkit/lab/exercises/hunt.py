"""A bug hunt in a learner's hands: diagnose broken code, see what it does, then repair it."""

from __future__ import annotations

from typing import Any

from dlkit.lab.exercises.contract import HUNTS, find, names
from dlkit.lab.exercises.grading import Verdict, check, messages
from dlkit.lab.exercises.runner import ZYGOTE
from dlkit.lab.exercises.task import Shown, Task


class Hunt(Task):
    """Broken code as it circulates, with what it may do, and a grader for the repair."""

    kind = "bug-hunt"

    def diagnose(self, symptom: int) -> Shown:
        """Say what the broken code does, before it is run.

        Args:
            symptom: The place of one of the symptoms shown, from 1.

        Returns:
            Whether that is so.

        Raises:
            ValueError: If there is no such symptom.
        """
        symptoms = self.texts.symptoms
        if symptom not in range(1, len(symptoms) + 1):
            raise ValueError(f"symptom must be from 1 to {len(symptoms)}, but got {symptom!r}")
        right = symptoms[symptom - 1].right
        self.progress.record(self.name, "answered", kind=self.kind, detail=str(int(right)))
        return Shown(messages(self.language)["hunt"]["right" if right else "wrong"])

    def see(self) -> Verdict:
        """Run the broken code and show the smallest case in which it goes wrong."""
        assert self.exercise.broken is not None
        return check(self.exercise, self.exercise.broken, self.language)

    def __repr__(self) -> str:
        say = messages(self.language)
        head = say["task"]["head"].format(
            name=self.name,
            topic=say["hunt"]["topic"],
            level=self.exercise.level,
            title=self.texts.title,
        )
        symptoms = "\n".join(
            f"- {place}: {symptom.text}" for place, symptom in enumerate(self.texts.symptoms, 1)
        )
        ask, how = say["hunt"]["ask"], say["hunt"]["how"]
        answer = self.exercise.reference.__name__
        return (
            f"{head}\n\n{self.texts.statement}\n\n```\n{self.exercise.stub}```\n\n"
            f"{ask}\n\n{symptoms}\n\n{how.format(name=answer, hints=len(self.texts.hints))}"
        )


def hunt(name: str, **options: Any) -> Hunt:
    """Return a bug hunt to work on; as a cell's last line it shows the code.

    Args:
        name: Which one; ``dlkit exercises list`` names them all.
        **options: ``progress`` and ``language``, as for ``Task``.

    Returns:
        The hunt, with ``diagnose``, ``see``, ``check``, ``hint`` and ``solution``.

    Raises:
        ValueError: If there is no such hunt.

    >>> hunt("fixed_rank").name
    'fixed_rank'
    """
    if name not in names(HUNTS):
        raise ValueError(f"name must be one of {', '.join(names(HUNTS))}, but got {name!r}")
    found = Hunt(find(name), **options)
    ZYGOTE.start()
    return found
