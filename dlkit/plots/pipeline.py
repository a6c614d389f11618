"""The whole pipeline in one picture: six stages, what goes in and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle

from dlkit.plots.style import (
    FAINT,
    INK,
    MUTED,
    STAGE_COLOURS,
    Picture,
    colour,
    new_figure,
    readable_on,
)

# An epoch of the picture's dataset starts with these four indices; each keeps its colour.
INDICES = (5, 0, 3, 2)


@dataclass(frozen=True)
class Stage:
    """One column of the picture: a stage, what it does, and what it hands on."""

    name: str
    does: str
    gives: str


PIPELINE: tuple[Stage, ...] = (
    Stage("sample", "decide which\nsamples come next", "4 indices"),
    Stage("fetch", "read them from\nthe dataset", "4 samples"),
    Stage("collate", "stack them into\none tensor", "1 batch\n[4, 1, 28, 28]"),
    Stage("transfer", "copy it to where\nthe model is", "the batch on\nthe device"),
    Stage("wait", "the model idles until\nthe batch is there", "lost time"),
    Stage("compute", "forward, backward,\noptimizer step", "loss and\nbetter weights"),
)
BOX, GAP = 1.7, 0.3


def pipeline() -> Picture:
    """Draw the way of one batch of four samples from the dataset to the optimizer's step.

    Returns:
        A figure with one box for each stage, in the order in which a batch passes them.

    >>> [stage.name for stage in PIPELINE]
    ['sample', 'fetch', 'collate', 'transfer', 'wait', 'compute']
    >>> pipeline().caption
    'the 6 stages of a batch: sample, fetch, collate, transfer, wait, compute'
    """
    names = ", ".join(stage.name for stage in PIPELINE)
    figure = new_figure(11, 3.7, caption=f"the {len(PIPELINE)} stages of a batch: {names}")
    axes = figure.add_subplot()
    axes.set_axis_off()
    for position, stage in enumerate(PIPELINE):
        _box(axes, position * (BOX + GAP), stage)
        if position:
            start = position * (BOX + GAP) - GAP
            arrow = {
                "arrowstyle": "-|>",
                "color": INK,
                "linewidth": 1.4,
                "shrinkA": 1,
                "shrinkB": 1,
            }
            axes.annotate("", (start + GAP, 1.0), (start, 1.0), arrowprops=arrow)
    _bracket(axes, 0, 3, "the data loader")
    _bracket(axes, 4, 5, "the training loop")
    _bracket(axes, 1, 2, "in worker processes, when there are any", below=True)
    axes.set_xlim(-0.1, 6 * (BOX + GAP) - GAP + 0.1)
    axes.set_ylim(-1.15, 2.75)
    axes.set_aspect("equal")
    return figure


def _box(axes: Axes, left: float, stage: Stage) -> None:
    """One stage: its name on colour, a small drawing, what it does, and below what it gives."""
    shade = STAGE_COLOURS[stage.name]
    ink = readable_on(shade)
    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch((left, 0), BOX, 2, boxstyle=style, fc="white", ec=shade, lw=1.8))
    axes.add_patch(FancyBboxPatch((left, 1.6), BOX, 0.4, boxstyle=style, fc=shade, ec=shade))
    middle = left + BOX / 2
    axes.text(middle, 1.79, stage.name, ha="center", va="center", weight="bold", color=ink)
    axes.text(middle, 0.3, stage.does, ha="center", va="center", fontsize=8.5, color=INK)
    axes.text(middle, -0.12, stage.gives, ha="center", va="top", fontsize=8.5, color=MUTED)
    _DRAWINGS[stage.name](axes, middle)


def _bracket(axes: Axes, first: int, last: int, text: str, *, below: bool = False) -> None:
    """A line over (or under) the boxes first..last with its text."""
    left, right = first * (BOX + GAP), last * (BOX + GAP) + BOX
    level, tick = (-0.72, 0.08) if below else (2.2, -0.08)
    axes.plot([left, left, right, right], [level + tick, level, level, level + tick], color=MUTED)
    axes.text(
        (left + right) / 2,
        level - 0.08 if below else level + 0.08,
        text,
        ha="center",
        va="top" if below else "bottom",
        color=INK,
    )


def _tile(axes: Axes, x: float, y: float, index: int, side: float = 0.3) -> None:
    axes.add_patch(Rectangle((x, y), side, side, fc=colour(index), ec="white", lw=1))


def _draw_sample(axes: Axes, middle: float) -> None:
    for place, index in enumerate(INDICES):
        x = middle - 0.66 + place * 0.33
        axes.add_patch(Rectangle((x, 0.9), 0.33, 0.33, fc="white", ec=MUTED))
        axes.text(
            x + 0.165,
            1.06,
            str(index),
            ha="center",
            va="center",
            fontsize=9.5,
            weight="bold",
            color=colour(index),
        )


def _draw_fetch(axes: Axes, middle: float) -> None:
    for place, index in enumerate(INDICES):
        _tile(axes, middle - 0.69 + place * 0.36, 0.92, index)


def _stack(axes: Axes, x: float, y: float) -> None:
    for place, index in enumerate(INDICES):
        _tile(axes, x + place * 0.09, y - place * 0.09, index, 0.4)


def _draw_collate(axes: Axes, middle: float) -> None:
    _stack(axes, middle - 0.33, 1.02)


def _draw_transfer(axes: Axes, middle: float) -> None:
    axes.plot([middle, middle], [0.68, 1.5], color=MUTED, linestyle=(0, (3, 2)))
    axes.text(middle - 0.42, 1.42, "host", ha="center", va="center", fontsize=7.5, color=MUTED)
    axes.text(middle + 0.42, 1.42, "device", ha="center", va="center", fontsize=7.5, color=MUTED)
    _stack(axes, middle + 0.1, 0.93)
    for place in range(4):
        corner = (middle - 0.76 + place * 0.09, 0.93 - place * 0.09)
        axes.add_patch(Rectangle(corner, 0.4, 0.4, fc="white", ec=FAINT))


def _draw_wait(axes: Axes, middle: float) -> None:
    times = [(-0.7, 0.45, "wait"), (-0.25, 0.35, "compute"), (0.1, 0.25, "wait")]
    for start, width, name in [*times, (0.35, 0.35, "compute")]:
        box = Rectangle((middle + start, 0.98), width, 0.24, fc=STAGE_COLOURS[name], ec="white")
        axes.add_patch(box)
    axes.annotate(
        "",
        (middle + 0.75, 0.88),
        (middle - 0.72, 0.88),
        arrowprops={"arrowstyle": "->", "color": MUTED},
    )
    axes.text(middle + 0.72, 0.74, "time", ha="right", va="center", fontsize=7.5, color=MUTED)


def _draw_compute(axes: Axes, middle: float) -> None:
    layers = ((-0.6, 2), (-0.2, 3), (0.2, 3), (0.6, 1))
    nodes = [[(middle + x, 1.06 + 0.2 * (k - (n - 1) / 2)) for k in range(n)] for x, n in layers]
    for left, right in pairwise(nodes):
        for a in left:
            for b in right:
                axes.plot([a[0], b[0]], [a[1], b[1]], color=FAINT, linewidth=0.8, zorder=1)
    xs, ys = zip(*(node for layer in nodes for node in layer), strict=True)
    axes.scatter(xs, ys, s=26, color=STAGE_COLOURS["compute"], zorder=2)


_DRAWINGS = {
    "sample": _draw_sample,
    "fetch": _draw_fetch,
    "collate": _draw_collate,
    "transfer": _draw_transfer,
    "wait": _draw_wait,
    "compute": _draw_compute,
}
