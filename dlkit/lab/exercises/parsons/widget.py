"""A Parsons problem to solve by mouse or keyboard: two lists, and buttons between them.

Everything can be done with buttons, which the tab key reaches and space presses: JupyterLab keeps
the arrow keys for itself as long as no text is edited, so a list alone would need the mouse. The
text line says what a person who cannot see it must know.
"""

from __future__ import annotations

import html

import ipywidgets

from dlkit.lab.exercises.parsons.problem import Arrangement, check, find
from dlkit.lab.exercises.progress import Progress
from dlkit.lab.exercises.task import to_html

MONO = "font-family: monospace; white-space: pre-wrap"
# The title of a list above it, where it has room, and code as code looks.
STYLE = """<style>
.dlkit-parsons .widget-select { flex-direction: column; align-items: stretch }
.dlkit-parsons .widget-select > label { width: auto; text-align: left }
.dlkit-parsons .widget-select > select {
  width: 100%; font-family: var(--jp-code-font-family, monospace) }
</style>"""


class ParsonsProblem(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no annotations
    """A program in pieces, to be put into order.

    Args:
        name: Which problem.
        progress: Where answers are recorded.
        language: Of all texts.

    >>> widget = ParsonsProblem("batch_a_stream")
    >>> for line in widget.problem.lines:
    ...     widget.add(line)
    >>> widget.chosen == list(widget.problem.lines)
    True
    """

    def __init__(self, name: str, progress: Progress | None = None, language: str = "en") -> None:
        self.problem = find(name, language)
        self.progress = progress if progress is not None else Progress()
        self.chosen: list[str] = []
        self.arrangement: Arrangement | None = None
        say = self.problem.messages
        self.lines = self._list(say["lines"])
        self.program = self._list(say["program"])
        self.buttons = {
            action: ipywidgets.Button(description=say[action], layout={"width": "120px"})
            for action in ("next", "add", "remove", "pick", "up", "down", "check")
        }
        self.buttons["next"].on_click(lambda _: self._choose_next(self.lines))
        self.buttons["pick"].on_click(lambda _: self._choose_next(self.program))
        self.buttons["add"].on_click(lambda _: self.add(self._at(self.lines)))
        self.buttons["remove"].on_click(lambda _: self.remove(self._at(self.program)))
        self.buttons["up"].on_click(lambda _: self.move(self._at(self.program), -1))
        self.buttons["down"].on_click(lambda _: self.move(self._at(self.program), 1))
        self.buttons["check"].on_click(lambda _: self.check())
        self.text = ipywidgets.HTML()
        title = f"{STYLE}<b>{html.escape(self.problem.title)}</b>{to_html(self.problem.statement)}"
        buttons = ipywidgets.VBox(list(self.buttons.values()))
        lists = ipywidgets.HBox([self.lines, buttons, self.program])
        super().__init__([ipywidgets.HTML(title), lists, self.text])
        self.add_class("dlkit-parsons")
        self._say(say["start"])
        self._show()

    @property
    def left(self) -> list[str]:
        """The lines that were not chosen yet."""
        return [line for line in self.problem.shuffled if line not in self.chosen]

    def add(self, line: str | None) -> None:
        """Put a line at the end of the program."""
        if line is not None and line not in self.chosen:
            self.chosen.append(line)
            self._show(line)

    def remove(self, line: str | None) -> None:
        """Take a line out of the program."""
        if line in self.chosen:
            self.chosen.remove(line)
            self._show()

    def move(self, line: str | None, by: int) -> None:
        """Move a line of the program up (-1) or down (1)."""
        if line not in self.chosen:
            return
        place = self.chosen.index(line)
        other = min(max(place + by, 0), len(self.chosen) - 1)
        self.chosen[place], self.chosen[other] = self.chosen[other], self.chosen[place]
        self._show(line)

    def check(self) -> Arrangement:
        """Run the program as it stands and say whether it is right."""
        self.arrangement = check(self.problem, self.chosen)
        event = "solved" if self.arrangement.passed else "failed"
        self.progress.record(self.problem.name, event, kind="parsons")
        self._say(self.arrangement.message)
        if self.arrangement.line >= 0:
            self.program.index = self.arrangement.line
        return self.arrangement

    def _list(self, title: str) -> ipywidgets.Select:
        rows = len(self.problem.lines) + 1
        layout = {"width": "46%"}
        return ipywidgets.Select(rows=rows, description=title, layout=layout).add_class(
            "dlkit-code"
        )

    @staticmethod
    def _at(chooser: ipywidgets.Select) -> str | None:
        return None if chooser.index is None else chooser.options[chooser.index][1]

    @staticmethod
    def _choose_next(chooser: ipywidgets.Select) -> None:
        """Choose the line below, and after the last one the first."""
        if chooser.options:
            here = -1 if chooser.index is None else chooser.index
            chooser.index = (here + 1) % len(chooser.options)

    def _show(self, line: str | None = None) -> None:
        left = self.left
        self._fill(self.lines, left, left[0] if left else None)
        self._fill(self.program, self.chosen, line or (self.chosen[-1] if self.chosen else None))

    @staticmethod
    def _fill(chooser: ipywidgets.Select, lines: list[str], chosen: str | None) -> None:
        # A browser shows spaces at the start of an option only if they do not break.
        chooser.options = [(line.replace(" ", "\N{NO-BREAK SPACE}"), line) for line in lines]
        chooser.index = lines.index(chosen) if chosen in lines else None

    def _say(self, message: str) -> None:
        self.text.value = f'<div style="{MONO}" role="status">{html.escape(message)}</div>'

    def __repr__(self) -> str:
        done = f"{len(self.chosen)} of {len(self.problem.lines)} lines chosen"
        return f"<ParsonsProblem: {self.problem.name}, {done}>"

    def _repr_mimebundle_(self, **options: object) -> dict[str, object]:
        bundle: dict[str, object] = super()._repr_mimebundle_(**options)
        return bundle | {"text/plain": repr(self)}
