"""Pictures of workers: which one fetches which batch when, and what that gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from dlkit.plots.style import (
    FAINT,
    INK,
    MUTED,
    STAGE_COLOURS,
    Picture,
    colour,
    new_figure,
    readable_on,
    tidy,
)
from dlkit.workers.simulated import Journey

LEFT, RIGHT, BELOW, ABOVE, ROW = 0.95, 0.25, 0.55, 0.45, 0.5  # inches
BAR = 0.62  # share of a row


def waited(journeys: Sequence[Journey]) -> float:
    """Return the seconds that the training loop stood still, waiting for batches.

    Args:
        journeys: Batches in the order in which they were delivered.

    >>> waited([Journey(0, 0, 0.0, 0.0, 2.0, 2.0, 3.0), Journey(1, 1, 3.0, 0.0, 2.0, 3.0, 4.0)])
    2.0
    """
    return sum(journey.delivered - journey.asked for journey in journeys)


def most_held(journeys: Sequence[Journey]) -> int:
    """Return how many batches lay ready at once, fetched and not delivered.

    Args:
        journeys: Batches in any order.

    >>> most_held([Journey(0, 0, 0.0, 0.0, 5.0, 5.0, 5.0), Journey(1, 1, 5.0, 0.0, 1.0, 5.0, 5.0)])
    1
    """
    # One that is delivered the moment it is ready was never held: departures go first.
    held_back = [journey for journey in journeys if _lay_ready(journey)]
    events = [(j.delivered, -1) for j in held_back] + [(j.ready, +1) for j in held_back]
    held = most = 0
    for _, change in sorted(events):
        held += change
        most = max(most, held)
    return most


def _lay_ready(journey: Journey) -> bool:
    # More than a rounding error: sums of the same times in another order differ by that.
    return journey.delivered - journey.ready > 1e-9


def timeline(journeys: Sequence[Journey]) -> Picture:
    """Draw a row for each worker and one for the training loop, with the batches on a time axis.

    Numbers are batches. A line leads from the end of fetching to the start of computing where a
    batch lay ready: it waited for its turn, or for the training loop.

    Args:
        journeys: Batches in the order in which they were delivered.

    Returns:
        A figure; its caption gives the order of delivery, the time of the epoch and the waiting.

    Raises:
        ValueError: If there is no batch.

    >>> from dlkit.workers.simulated import simulate
    >>> timeline(simulate([0.03, 0.01], workers=2, step=0.01)).caption
    'delivered: 0 1; the epoch takes 50 ms, of which training waits 30; most batches held ready: 1'
    """
    if not journeys:
        raise ValueError("journeys must hold at least one batch, got none")
    workers = [journey.worker for journey in journeys if journey.worker is not None]
    rows = max(workers, default=-1) + 2  # the last one is the training loop's
    end = max(journey.used for journey in journeys)
    lost = waited(journeys)
    caption = (
        f"delivered: {' '.join(str(journey.number) for journey in journeys)}; "
        f"the epoch takes {end * 1e3:.0f} ms, of which training waits {lost * 1e3:.0f}; "
        f"most batches held ready: {most_held(journeys)}"
    )
    width, height = 9.0, BELOW + ABOVE + ROW * rows
    figure = new_figure(width, height, caption=caption, fixed=True)
    box = (LEFT / width, BELOW / height, 1 - (LEFT + RIGHT) / width, ROW * rows / height)
    axes = tidy(figure.add_axes(box), xlabel="milliseconds")
    axes.set_xlim(0, end * 1e3 * 1.01)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_yticks(range(rows), [*(f"worker {n}" for n in range(rows - 1)), "training"])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    stages = _bars(journeys, training=rows - 1)
    for stage, bars in stages.items():
        shade = STAGE_COLOURS[stage]
        # One collection for all bars of a stage: a hundred patches would be slow to draw.
        shapes = [bar.corners() for bar in bars]
        axes.add_collection(PolyCollection(shapes, facecolors=shade, edgecolors="white", zorder=3))
        for bar in bars:
            if stage != "wait" and bar.end - bar.start > 0.018 * end:
                _write_number(axes, bar, readable_on(shade))
    axes.add_collection(
        LineCollection(_held_back(journeys, rows - 1), colors=MUTED, linewidths=0.9)
    )
    names = ("fetch", "compute", "wait") if workers else ("fetch", "compute")
    handles = [Patch(color=STAGE_COLOURS[name], label=name) for name in names]
    axes.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=3,
        frameon=False,
        fontsize=9,
    )
    return figure


@dataclass(frozen=True, slots=True)
class _Bar:
    """One stage of one batch, in seconds."""

    row: int
    start: float
    end: float
    number: int

    def corners(self) -> list[tuple[float, float]]:
        left, right = self.start * 1e3, self.end * 1e3
        top, bottom = self.row - BAR / 2, self.row + BAR / 2
        return [(left, top), (left, bottom), (right, bottom), (right, top)]


def _bars(journeys: Sequence[Journey], training: int) -> dict[str, list[_Bar]]:
    """All bars by stage; `training` is the training loop's row, where nobody else fetches."""
    stages: dict[str, list[_Bar]] = {"fetch": [], "compute": [], "wait": []}
    for j in journeys:
        row = training if j.worker is None else j.worker
        stages["fetch"].append(_Bar(row, j.started, j.ready, j.number))
        stages["compute"].append(_Bar(training, j.delivered, j.used, j.number))
        if j.worker is not None:
            stages["wait"].append(_Bar(training, j.asked, j.delivered, j.number))
    return {stage: [b for b in bars if b.end > b.start] for stage, bars in stages.items()}


def _write_number(axes: Axes, bar: _Bar, ink: str) -> None:
    middle = (bar.start + bar.end) / 2 * 1e3
    axes.text(
        middle, bar.row, str(bar.number), ha="center", va="center_baseline", color=ink, zorder=4
    )


def _held_back(journeys: Sequence[Journey], training: int) -> list[list[tuple[float, float]]]:
    """Lines from a worker's bar down to the training loop's, for batches that lay ready."""
    return [
        [(j.ready * 1e3, j.worker + BAR / 2), (j.delivered * 1e3, training - BAR / 2)]
        for j in journeys
        if j.worker is not None and _lay_ready(j)
    ]


def speedups(rates: Mapping[str, Mapping[str, float]]) -> Picture:
    """Draw how much faster each way of fetching is than the first one, for each kind of work.

    Args:
        rates: Kind of work to way of fetching to samples per second; the first way is the
            baseline, and all kinds have the same ways.

    Returns:
        A figure with a group of bars for each kind. Its caption holds no measured number, so that
        it is the same on every machine.

    Raises:
        ValueError: If there is nothing to draw, or the ways differ.

    >>> speedups({"waiting": {"none": 100.0, "threads": 200.0}}).caption
    'speed relative to none, for 1 kind of work (waiting) and 1 other way (threads)'
    """
    ways = list(next(iter(rates.values()), {}))
    if len(ways) < 2 or any(list(row) != ways for row in rates.values()):
        raise ValueError(
            "rates must give the same ways, two or more, for each kind of work, "
            f"got { {kind: list(row) for kind, row in rates.items()} }"
        )
    kinds, others = list(rates), ways[1:]
    caption = (
        f"speed relative to {ways[0]}, for {len(kinds)} kind{'s' * (len(kinds) > 1)} of work "
        f"({', '.join(kinds)}) and {len(others)} other way{'s' * (len(others) > 1)} "
        f"({', '.join(others)})"
    )
    figure = new_figure(8, 2.9, caption=caption)
    axes = tidy(figure.add_subplot(), ylabel=f"times as fast as {ways[0]}")
    width = 0.8 / len(others)
    for place, way in enumerate(others):
        gains = [rates[kind][way] / rates[kind][ways[0]] for kind in kinds]
        centres = [row + (place - (len(others) - 1) / 2) * width for row in range(len(kinds))]
        axes.bar(centres, gains, width * 0.9, color=colour(place), label=way)
        # At the foot, where they stand in a row and the line of the baseline crosses none.
        feet, ink = axes.get_xaxis_transform(), readable_on(colour(place))
        for centre, gain in zip(centres, gains, strict=True):
            axes.text(centre, 0.03, f"{gain:.1f}", ha="center", color=ink, transform=feet)
    axes.axhline(1, color=INK, linewidth=1)
    axes.set_xticks(range(len(kinds)), kinds)
    axes.tick_params(axis="x", length=0, labelsize=10, labelcolor=INK)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.grid(visible=True, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    return figure
