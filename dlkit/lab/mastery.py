"""What a learner has mastered, topic by topic, as a widget over their progress."""

from __future__ import annotations

import ipywidgets

from dlkit.lab.exercises.progress import Progress
from dlkit.lab.explorer import Explorer
from dlkit.plots.exercises import mastery_bars
from dlkit.plots.style import Picture


class ProgressView(Explorer):
    """Bars of solved exercises by topic; a button reads the progress again.

    Args:
        progress: Whose; the user's own when None.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ProgressView(Progress(folder)).text.value[:9]
    '0 of 61 e'
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress if progress is not None else Progress()
        button = ipywidgets.ToggleButton(description="Read again")
        super().__init__({"again": button})

    def draw(self, again: bool) -> Picture:  # type: ignore[override]
        """Draw the progress as it is now; either position of the button means the same."""
        return mastery_bars(self.progress.mastery())
