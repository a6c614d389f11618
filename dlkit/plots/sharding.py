"""Pictures of sharding: which rank gets which sample in which step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from dlkit.plots.style import (
    ALERT,
    FAINT,
    INK,
    LIGHT,
    PALETTE,
    Picture,
    colour,
    new_figure,
    readable_on,
    tidy,
)
from dlkit.samplers import ShardPlan

NUMBERED = 56  # more numbers than this take longer to draw than a slider may
NARROW = 32  # in rows of more cells a number is wider than its cell
WIDTH, LEFT, RIGHT, ROW, ABOVE, BELOW = 9.0, 0.95, 0.15, 0.34, 0.32, 0.5  # inches
LEGEND = 0.34  # inches
GAP = 0.5  # between steps, in cells
# Without vermilion, which marks what is wrong: a class must not look like a mistake.
CLASSES = (*(shade for shade in PALETTE if shade != ALERT), *LIGHT)


def sharding_map(
    plans: ShardPlan | Mapping[str, ShardPlan], labels: Sequence[int] | None = None
) -> Picture:
    """Draw a row of samples for each rank, step by step; one panel for each plan.

    A sample that has come before in the epoch has a thick frame. Samples that no rank gets stand in
    a row of their own, struck through. Empty places are faint.

    Args:
        plans: what ranks get, or titles to several of them, such as epochs or mistakes.
        labels: The class of each sample, for its colour; by default the colour tells its place in
            the dataset, from dark to light.

    Returns:
        A figure; its caption gives the numbers of each plan.

    Raises:
        ValueError: If there is no plan, or a plan has another number of samples than ``labels``.

    >>> from dlkit.samplers import shard_plan
    >>> sharding_map(shard_plan(7, 2, 2, shuffle=False)).caption
    '7 samples on 2 ranks in 2 steps of up to 4; repeated: 1 (0); in no batch: 0'
    """
    named = {"": plans} if isinstance(plans, ShardPlan) else dict(plans)
    if not named:
        raise ValueError("plans must hold at least one plan, got none")
    for plan in named.values():
        if labels is not None and len(labels) != plan.samples:
            raise ValueError(f"labels must name {plan.samples} classes, got {len(labels)}")
    caption = "; ".join(
        f"{name}: {p.summary()}" if name else p.summary() for name, p in named.items()
    )
    heights = [ABOVE + BELOW + ROW * _rows(plan) for plan in named.values()]
    height = sum(heights) + LEGEND
    figure = new_figure(WIDTH, height, caption=caption, fixed=True)
    top = height - LEGEND
    for (name, plan), tall in zip(named.items(), heights, strict=True):
        box = (LEFT / WIDTH, (top - tall + BELOW) / height)
        size = (1 - (LEFT + RIGHT) / WIDTH, (tall - BELOW - ABOVE) / height)
        axes = tidy(figure.add_axes((*box, *size)), xlabel="step")
        finding = _finding(plan)
        axes.set_title(
            f"{name}: {finding}" if name else finding, loc="left", fontsize=11, color=INK
        )
        _draw_plan(axes, plan, labels)
        top -= tall
    _legend(figure, named.values(), labels, height)
    return figure


def _rows(plan: ShardPlan) -> float:
    """Rows of cells: the ranks, and those in no batch, a little apart."""
    return len(plan.indices) + (0.3 + _dropped_rows(plan) if len(plan.dropped) else 0)


def _dropped_rows(plan: ShardPlan) -> int:
    return -(-len(plan.dropped) // _columns(plan))


def _columns(plan: ShardPlan) -> int:
    _, steps, batch = plan.indices.shape
    return max(int(steps * batch), 8)


def _finding(plan: ShardPlan) -> str:
    """The title: what one should see."""
    again, left = int(plan.repeated.sum()), len(plan.dropped)
    if not again and not left:
        return f"each of {plan.samples} samples comes once"
    found = []
    if again:
        found.append(f"{again} of {int((plan.indices >= 0).sum())} places show a sample again")
    if left:
        found.append(f"{left} of {plan.samples} samples are in no batch")
    return ", ".join(found)


def _draw_plan(axes: Axes, plan: ShardPlan, labels: Sequence[int] | None) -> None:
    ranks, steps, batch = plan.indices.shape
    width = max(steps * (batch + GAP) - GAP, 8.0)
    rows = _rows(plan)
    axes.set_xlim(-0.1, width + 0.1)
    axes.set_ylim(rows - 0.5 + 0.05, -0.55)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    rank, step, place = np.nonzero(plan.indices >= 0)
    corner = np.stack([step * (batch + GAP) + place, rank - 0.5], axis=1)
    shown = plan.indices[rank, step, place]
    again = plan.repeated[rank, step, place]
    empty = np.nonzero(plan.indices < 0)
    blank = np.stack([empty[1] * (batch + GAP) + empty[2], empty[0] - 0.5], axis=1)
    numbers = len(shown) + len(plan.dropped) <= NUMBERED and _columns(plan) <= NARROW
    _cells(axes, blank, ["#F4F4F4"] * len(blank))
    _cells(axes, corner, _shades(shown, plan, labels), shown if numbers else None)
    _cells(axes, corner[again], ["none"] * int(again.sum()), edge=ALERT, inset=0.1)
    ticks: list[float] = [*range(ranks)]
    names = [f"rank {r}" for r in range(ranks)]
    if len(plan.dropped):
        columns = _columns(plan)
        number = np.arange(len(plan.dropped))
        left = np.stack([number % columns, ranks + 0.3 - 0.5 + number // columns], axis=1)
        left = left.astype(float)
        _cells(axes, left, _shades(plan.dropped, plan, labels), plan.dropped if numbers else None)
        strokes = left[:, None, :] + np.array([(0.08, 0.92), (0.92, 0.08)])
        axes.add_collection(LineCollection(list(strokes), colors=ALERT, linewidths=1.4, zorder=5))
        ticks.append(ranks + 0.3)
        names.append("in no batch")
    axes.set_yticks(ticks, names, fontsize=9)
    shown_steps = range(0, steps, max(1, steps // 20))
    axes.set_xticks([s * (batch + GAP) + batch / 2 for s in shown_steps], map(str, shown_steps))
    axes.tick_params(axis="y", labelcolor=INK)


def _cells(
    axes: Axes,
    corners: NDArray[Any],
    shades: Sequence[str],
    numbers: NDArray[np.int64] | None = None,
    edge: str = "white",
    inset: float = 0.02,
) -> None:
    """Draw unit squares as one collection: single patches would take too long for a slider."""
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * (1 - 2 * inset) + inset
    thick = 2.2 if edge != "white" else 0.8
    axes.add_collection(
        PolyCollection(
            list(corners[:, None, :] + square[None]),
            facecolors=list(shades),
            edgecolors=edge,
            linewidths=thick,
            zorder=3 if edge != "white" else 2,
        )
    )
    for (x, y), number, shade in zip(
        corners, numbers if numbers is not None else (), shades, strict=numbers is not None
    ):
        ink = readable_on(shade)
        axes.text(x + 0.5, y + 0.5, str(number), ha="center", va="center", fontsize=7.5, color=ink,
                  zorder=4)  # fmt: skip


def _shades(indices: NDArray[np.int64], plan: ShardPlan, labels: Sequence[int] | None) -> list[str]:
    if labels is not None:
        return [CLASSES[labels[index] % len(CLASSES)] for index in indices]
    scale = matplotlib.colormaps["cividis"]
    return [to_hex(scale(index / max(plan.samples - 1, 1))) for index in indices]


def _legend(figure: Figure, plans: Any, labels: Sequence[int] | None, height: float) -> None:
    handles: list[Any] = []
    if labels is not None:
        handles += [
            Patch(color=CLASSES[label % len(CLASSES)], label=f"class {label}")
            for label in sorted(set(labels))[:10]
        ]
    else:
        scale = matplotlib.colormaps["cividis"]
        handles += [Patch(color=scale(0.0), label="first sample of the dataset")]
        handles += [Patch(color=scale(1.0), label="last")]
    if any(plan.repeated.any() for plan in plans):
        handles.append(Patch(facecolor="none", edgecolor=ALERT, linewidth=2, label="comes again"))
    if any((plan.indices < 0).any() for plan in plans):
        handles.append(Patch(facecolor="#F4F4F4", edgecolor=FAINT, label="no sample"))
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(LEFT / WIDTH, 1 - 0.03 / height),
        ncols=12,
        frameon=False,
        fontsize=8.5,
        handlelength=1,
        columnspacing=1,
        borderaxespad=0.1,
    )


def seen_samples(curves: Mapping[str, Sequence[float]]) -> Picture:
    """Draw which share of the dataset has been seen after each epoch.

    Args:
        curves: Title to shares in 0..1, one for each epoch.

    Returns:
        A figure; its caption gives the last share of each curve.

    Raises:
        ValueError: If there is no curve.

    >>> seen_samples({"fixed": [0.5, 0.5], "set_epoch": [0.5, 0.8]}).caption
    'seen after 2 epochs: fixed 50.0%, set_epoch 80.0%'
    """
    if not curves:
        raise ValueError("curves must hold at least one curve, got none")
    epochs = max(map(len, curves.values()))
    ends = ", ".join(f"{name} {curve[-1]:.1%}" for name, curve in curves.items())
    figure = new_figure(7, 2.6, caption=f"seen after {epochs} epochs: {ends}")
    best = max(curves, key=lambda name: curves[name][-1])
    title = f"{best}: {curves[best][-1]:.1%} of the samples seen after {epochs} epochs"
    axes = figure.add_subplot()
    tidy(axes, title=title, xlabel="epochs", ylabel="samples seen", grid="y")
    for number, (name, curve) in enumerate(curves.items()):
        marker = "os^D"[number % 4] + "-"
        axes.plot(range(1, len(curve) + 1), np.asarray(curve) * 100, marker, color=colour(number))
        axes.annotate(
            name, (len(curve), curve[-1] * 100), (8, 0), textcoords="offset points", va="center",
            color=colour(number), fontsize=9,
        )  # fmt: skip
    axes.set_xticks(range(1, epochs + 1))
    axes.yaxis.set_major_formatter("{x:.0f}%")
    return figure
