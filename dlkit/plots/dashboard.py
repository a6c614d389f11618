"""A picture that follows a live system without taking the processor from it.

    axes, titles, numbers at the scales    drawn when a scale changes, and kept as pixels
    lines                                  drawn on them for each reading

Drawing holds the GIL, which the system that is shown needs too. A figure made anew for each
reading takes it for a large part of a second; lines on kept pixels take a few milliseconds. The
technique is matplotlib's "blitting".
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from dlkit.plots.style import ALERT, new_figure, tidy

Reading = TypeVar("Reading")

LEFTS, BOTTOMS, WIDTH, HEIGHT = (0.07, 0.56), (0.58, 0.13), 0.42, 0.31  # shares of the figure


@dataclass(frozen=True)
class Line(Generic[Reading]):
    """A line of a panel.

    Attributes:
        value: from a reading to the number that is drawn; NaN leaves a gap.
        colour: any matplotlib colour.
        style: matplotlib's line style.
        options: further options of matplotlib's `Line2D`.
    """

    value: Callable[[Reading], float]
    colour: str
    style: str = "-"
    options: Any = None


@dataclass(frozen=True)
class Panel(Generic[Reading]):
    """One axis of the picture.

    Attributes:
        title: what the lines are, with their unit.
        lines: what is drawn.
        limit: a value that should not be exceeded, drawn across; None for none.
        top: the upper end of the scale; None lets it follow the values.
    """

    title: str
    lines: Sequence[Line[Reading]]
    limit: float | None = None
    top: float | None = None


class Dashboard(Generic[Reading]):
    """Four panels above each other and side by side, over the same scale of seconds.

    Args:
        panels: The upper two, then the lower two.
        caption: From the latest reading to the sentence that says what the picture shows.
        seconds: From a reading and the latest one to its place on the scale of seconds.
        scale: The first and the last second; the last one doubles where readings go beyond it.
        xlabel: What the seconds are.

    Attributes:
        picture: The figure; `png` of `style` draws it whole, `png` here only what has changed.
        axes: Those of the panels, for what does not change.

    >>> panel = Panel("twice", [Line(lambda reading: 2.0 * reading, "black")])
    >>> board = Dashboard([panel] * 4, lambda last: f"now {last}", lambda one, last: one, (0, 10))
    >>> board.follow([1.0, 2.0, 4.5])
    >>> board.picture, [float(end) for end in board.axes[0].get_ylim()]
    (<Picture: now 4.5>, [0.0, 10.0])
    >>> board.png()[1:4]
    b'PNG'
    """

    def __init__(
        self,
        panels: Sequence[Panel[Reading]],
        caption: Callable[[Reading], str],
        seconds: Callable[[Reading, Reading], float],
        scale: tuple[float, float],
        xlabel: str = "seconds",
    ) -> None:
        self.picture = new_figure(9, 3.6, fixed=True)
        self._caption, self._seconds = caption, seconds
        self._panels = panels
        places = [(left, bottom, WIDTH, HEIGHT) for bottom in BOTTOMS for left in LEFTS]
        self.axes = [self.picture.add_axes(place) for place in places]
        self._drawn = []
        for number, (axes, panel) in enumerate(zip(self.axes, panels, strict=True)):
            tidy(axes, title=panel.title, xlabel=xlabel if number > 1 else "", grid="y")
            axes.set_xlim(*scale)
            axes.set_ylim(0, 1 if panel.top is None else panel.top)
            if panel.limit is not None:
                axes.axhline(panel.limit, color=ALERT, linewidth=1.2)
            for line in panel.lines:
                options = {"linewidth": 1.8, **(line.options or {})}
                # An animated line is no part of the pixels that are kept.
                (drawn,) = axes.plot(
                    [], [], line.style, color=line.colour, animated=True, **options
                )
                self._drawn.append((axes, drawn, drawn.get_marker()))
        self._canvas = FigureCanvasAgg(self.picture)
        self._stale = set(range(len(self.axes)))  # panels whose scale has changed
        self._kept = np.full_like(self._pixels(), 255)  # of all but the lines

    def follow(self, readings: Sequence[Reading]) -> None:
        """Show readings, in order.

        Raises:
            ValueError: If there is none.
        """
        if not readings:
            raise ValueError("readings must hold at least one, got none")
        last = readings[-1]
        self.picture.caption = self._caption(last)
        seconds = [self._seconds(one, last) for one in readings]
        lines = iter(self._drawn)
        for number, panel in enumerate(self._panels):
            largest = 0.0 if panel.limit is None else panel.limit
            for line in panel.lines:
                values = [line.value(one) for one in readings]
                largest = max([largest, *filter(math.isfinite, values)])
                _, drawn, marker = next(lines)
                drawn.set_data(seconds, values)
                drawn.set_marker("o" if len(values) == 1 else marker)  # it would not be seen
            self._fit(number, largest if panel.top is None else None, max(seconds))

    def _fit(self, number: int, largest: float | None, latest: float) -> None:
        axes = self.axes[number]
        first, last = axes.get_xlim()
        if latest > last:
            axes.set_xlim(first, first + 2 * (latest - first))
            self._stale.add(number)
        top = axes.get_ylim()[1]
        if largest is not None and (wanted := _top(largest, top)) != top:
            axes.set_ylim(0, wanted)
            self._stale.add(number)

    def png(self) -> bytes:
        """Draw the lines, and of the rest what has changed its scale; return the PNG file."""
        pixels = self._pixels()
        pixels[:] = self._kept
        if self._stale:
            renderer = self._canvas.get_renderer()  # type: ignore[no-untyped-call]
            for number in sorted(self._stale):
                pixels[self._quarter(number)] = 255
                self.axes[number].draw(renderer)
            self._stale.clear()
            self._kept = pixels.copy()
        for axes, drawn, _ in self._drawn:
            axes.draw_artist(drawn)
        buffer = io.BytesIO()
        Image.fromarray(pixels).convert("RGB").save(buffer, "png", compress_level=1)
        return buffer.getvalue()

    def _pixels(self) -> npt.NDArray[np.uint8]:
        """The canvas itself, `[height, width, 4]`; what is written here is drawn."""
        self._canvas.get_renderer()  # type: ignore[no-untyped-call]
        return np.asarray(self._canvas.buffer_rgba())  # type: ignore[no-untyped-call]

    def _quarter(self, number: int) -> tuple[slice, slice]:
        """Where a panel lies on the canvas, with its title and the numbers at its scales."""
        height, width, _ = self._kept.shape
        middle, half = round(0.49 * height), width // 2
        rows = slice(0, middle) if number < 2 else slice(middle, height)
        return rows, slice(0, half) if number % 2 == 0 else slice(half, width)


def _top(largest: float, present: float) -> float:
    """Return the end of a scale, which stays as it is while the values fill a quarter of it.

    >>> _top(30, 50), _top(51, 50), _top(10, 50), _top(0, 50)
    (50, 100.0, 20.0, 1.0)
    """
    if present / 4 <= largest <= present:
        return present
    wanted = max(1.05 * largest, 1.0)
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= wanted)
