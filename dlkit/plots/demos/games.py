"""Pictures of two games: a forger against a detective, and a walk along a cliff."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike

from dlkit.plots.style import INK, MUTED, PALETTE, Picture, new_figure, tidy

BELIEVED = LinearSegmentedColormap.from_list("believed", ["#8C8C8C", "#FFFFFF"])
ARROWS = ((0, -0.28), (0.28, 0), (0, 0.28), (-0.28, 0))  # up, right, down, left; y grows downwards
SMOOTH = 20

Panel = tuple[int, Any, Any, float, int]


def forged_points(real: ArrayLike, panels: Sequence[Panel], side: float, heaps: int) -> Picture:
    """Draw real and generated points over the discriminator's surface, at several moments.

    Args:
        real: ``[n, 2]``.
        panels: For each moment its step, generated points ``[n, 2]``, the surface on a square
            grid, the share of generated points near a heap, and how many heaps they cover.
        side: The grid reaches from -side to side.
        heaps: How many there are.

    Returns:
        One panel for each moment, in one scale from "generated" to "real".

    >>> forged_points([[0, 0]], [(9, [[1, 1]], [[0.5, 0.5]] * 2, 0.25, 1)], 2.0, 5).caption
    'share of generated points near real ones: step 9: 25% in 1 of 5 heaps'
    """
    words = [f"step {step}: {near:.0%} in {n} of {heaps} heaps" for step, _, _, near, n in panels]
    caption = "share of generated points near real ones: " + "; ".join(words)
    figure = new_figure(3.5 * len(panels) + 0.6, 3.7, caption=caption)
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    points = np.asarray(real)
    extent = (-side, side, -side, side)
    for axes, (step, made, surface, near, found) in zip(row, panels, strict=True):
        tidy(axes, title=f"step {step}: {near:.0%} near, {found} of {heaps} heaps", xlabel="x")
        shown = axes.imshow(
            np.asarray(surface), cmap=BELIEVED, vmin=0, vmax=1, extent=extent, origin="lower",
            interpolation="bilinear",
        )  # fmt: skip
        axes.scatter(points[:, 0], points[:, 1], s=9, color=PALETTE[0], label="real")
        drawn = np.asarray(made)
        axes.scatter(
            drawn[:, 0], drawn[:, 1], s=14, color=PALETTE[5], marker="x", linewidth=0.9,
            label="generated",
        )  # fmt: skip
        axes.set(xlim=(-side, side), ylim=(-side, side), aspect="equal")
    row[0].set_ylabel("y", fontsize=10, color=INK)
    row[0].legend(fontsize=8, labelcolor=INK, loc="upper right", framealpha=0.9)
    bar = figure.colorbar(shown, ax=list(row), fraction=0.025, ticks=[0, 0.5, 1])
    bar.set_label("discriminator: real?", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, colors=MUTED)
    return figure


def walked_grid(
    values: ArrayLike,
    actions: ArrayLike,
    path: Sequence[tuple[int, int]],
    cliff: Sequence[tuple[int, int]],
    returns: Sequence[float],
) -> Picture:
    """Draw learned values, best actions and the path on a grid, and the returns of the episodes.

    Args:
        values: ``[rows, columns]``.
        actions: ``[rows, columns]``, 0 to 3 for up, right, down, left.
        path: Fields (row, column) from the start to the goal.
        cliff: Fields that one falls from.
        returns: One for each episode.

    Returns:
        Two panels; the caption has the length of the path.

    >>> walked_grid([[-1, 0]], [[1, 0]], [(0, 0), (0, 1)], [], [-3, -1]).caption
    'the best actions lead from start to goal in 1 steps; returns from -3 to -1'
    """
    worth, best = np.asarray(values, dtype=float), np.asarray(actions)
    caption = (
        f"the best actions lead from start to goal in {len(path) - 1} steps; "
        f"returns from {min(returns):.0f} to {max(returns):.0f}"
    )
    figure = new_figure(11.0, 3.3, caption=caption)
    grid, course = figure.subplots(1, 2, width_ratios=(1.7, 1.0))
    _grid(grid, worth, best, path, cliff)
    tidy(course, title="Sum of rewards", xlabel="episode", ylabel="return", grid="y")
    course.plot(returns, color=PALETTE[4], linewidth=0.6, label="each episode")
    if len(returns) > SMOOTH:
        means = np.convolve(returns, np.ones(SMOOTH) / SMOOTH, mode="valid")
        at = np.arange(len(means)) + SMOOTH - 1
        course.plot(at, means, color=PALETTE[0], linewidth=2, label=f"mean of the last {SMOOTH}")
    best_return = 1 - len(path)
    course.axhline(best_return, color=INK, linestyle="--", linewidth=1, label="the learned path")
    # From -13 to -1000: a plain axis would show the first episodes and nothing else.
    course.set_yscale("symlog", linthresh=10)
    course.set(ylim=(min(returns) * 1.3, -8), yticks=[-1000, -300, -100, -30, -13])
    course.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    course.minorticks_off()
    course.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower right")
    return figure


def _grid(
    axes: Axes,
    worth: Any,
    best: Any,
    path: Sequence[tuple[int, int]],
    cliff: Sequence[tuple[int, int]],
) -> None:
    rows, columns = worth.shape
    tidy(axes, title="Learned: the value of each field, the best action, and the path")
    has_value = np.ones(worth.shape, dtype=bool)
    for field in cliff:
        has_value[field] = False
    shown = axes.imshow(np.where(has_value, worth, np.nan), cmap="cividis")
    for row, column in cliff:
        corner = (column - 0.5, row - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor="#EEEEEE", edgecolor=MUTED, hatch="////"))
    for row in range(rows):
        for column in range(columns):
            if (row, column) in cliff or (row, column) == path[-1]:
                continue
            x, y = ARROWS[best[row, column]]
            axes.annotate(
                "", (column + x, row + y), (column - x, row - y),
                arrowprops={"arrowstyle": "->", "color": "white", "linewidth": 1.1},
            )  # fmt: skip
    axes.plot(
        [column for _, column in path], [row for row, _ in path], color=PALETTE[5], linewidth=3,
        alpha=0.8,
    )  # fmt: skip
    for name, (row, column) in (("start", path[0]), ("goal", path[-1])):
        axes.text(
            column, row + 0.33, name, ha="center", va="center", fontsize=8, color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    figure: Any = axes.figure
    bar = figure.colorbar(shown, ax=axes, fraction=0.02, pad=0.01)
    bar.ax.tick_params(labelsize=8, colors=MUTED)
