"""Pictures of preprocessing: what a transform does to images, what it costs, what it is worth."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.ticker import FuncFormatter
from torch import Tensor

from dlkit.plots.style import INK, PALETTE, Picture, colour, new_figure, tidy
from dlkit.transforms.cost import TransformCost


def version_grid(rows: Sequence[Sequence[Tensor]]) -> Picture:
    """Draw each row's first image as the original, and its versions beside it.

    Args:
        rows: Images `[C, H, W]` of one or three channels; floats from 0 to 1 or bytes. What lies
            outside is cut off for the picture.

    Returns:
        A figure; its caption counts samples, versions, and the versions that equal their original.

    Raises:
        ValueError: If there is no row, or an image is no `[C, H, W]`.

    >>> image = torch.zeros(1, 8, 8)
    >>> version_grid([[image, image, image + 0.5]]).caption
    '1 sample, 2 versions of each; 1 of 2 versions equal their original'
    """
    if not rows or not all(rows):
        raise ValueError("rows must hold at least one image each")
    columns = max(map(len, rows))
    same = sum(_equal(row[0], version) for row in rows for version in row[1:])
    total = sum(len(row) - 1 for row in rows)
    caption = (
        f"{_count(len(rows), 'sample')}, {_count(columns - 1, 'version')} of each; "
        f"{same} of {total} versions equal their original"
    )
    figure = new_figure(1.05 * columns + 0.3, 1.05 * len(rows) + 0.35, caption=caption)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes_row, row in zip(grid, rows, strict=True):
        for axes in axes_row:
            axes.set_axis_off()
        for axes, image in zip(axes_row, row, strict=False):
            axes.imshow(_pixels(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    grid[0][0].set_title("original", fontsize=9, color=INK, loc="left")
    if columns > 1:
        grid[0][1].set_title("transformed", fontsize=9, color=INK, loc="left")
    return figure


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def _pixels(image: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"images must be [1 or 3, H, W], got shape {list(image.shape)}")
    values = image.detach().cpu().double()
    values = values if image.is_floating_point() else values / 255
    pixels = values.clamp(0, 1).permute(1, 2, 0).numpy()
    return pixels[:, :, 0] if image.shape[0] == 1 else pixels


def cost_bars(costs: Sequence[TransformCost]) -> Picture:
    """Draw what each step of a pipeline takes for one sample.

    Args:
        costs: From `measure_costs`.

    Returns:
        A figure; its caption gives the microseconds of each step.

    Raises:
        ValueError: If there is no step.

    >>> cost_bars([TransformCost("Resize", 3e-5, 0.75), TransformCost("Flip", 1e-5, 0.25)]).caption
    'microseconds per sample: Resize 30 (75 %), Flip 10 (25 %)'
    """
    if not costs:
        raise ValueError("costs must hold at least one step, got none")
    parts = [f"{c.name} {c.seconds * 1e6:.3g} ({100 * c.share:.0f} %)" for c in costs]
    caption = f"microseconds per sample: {', '.join(parts)}"
    figure = new_figure(7.5, 0.9 + 0.36 * len(costs), caption=caption)
    axes = figure.add_subplot()
    places = np.arange(len(costs))
    bars = axes.barh(places, [cost.seconds * 1e6 for cost in costs], color=PALETTE[0], height=0.62)
    labels = [f"{cost.seconds * 1e6:.3g} µs, {100 * cost.share:.0f} %" for cost in costs]
    for label in axes.bar_label(bars, labels, padding=4, fontsize=9, color=INK):
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})  # hides the grid
    axes.set_yticks(places, [cost.name for cost in costs])
    axes.invert_yaxis()
    axes.margins(x=0.22)
    dearest = max(costs, key=lambda cost: cost.seconds)
    title = f"{dearest.name} takes {100 * dearest.share:.0f} % of the pipeline"
    tidy(axes, title=title, xlabel="microseconds per sample", grid="x")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    return figure


def accuracy_bars(accuracies: Mapping[str, Sequence[float]]) -> Picture:
    """Draw the mean accuracy of several runs of each setting, with one standard deviation.

    Args:
        accuracies: For each setting the accuracies of its runs, from 0 to 1. The first setting is
            the one that the others are compared with.

    Returns:
        A figure; its caption gives mean and standard deviation of each setting.

    Raises:
        ValueError: If there is no setting, one without runs, or an accuracy outside 0 to 1.

    >>> accuracy_bars({"plain": [0.8, 0.9], "augmented": [0.9, 0.9]}).caption
    'test accuracy, mean and standard deviation: plain 85.0 % (7.1), augmented 90.0 % (0.0)'
    """
    if not accuracies or not all(len(runs) for runs in accuracies.values()):
        raise ValueError("accuracies must hold at least one run for each setting")
    for name, runs in accuracies.items():
        if not all(0 <= run <= 1 for run in runs):
            raise ValueError(f"accuracies must be from 0 to 1, but {name!r} has {list(runs)}")
    points = {name: [100 * run for run in runs] for name, runs in accuracies.items()}
    means = {name: statistics.fmean(runs) for name, runs in points.items()}
    spreads = {
        name: statistics.stdev(runs) if len(runs) > 1 else 0.0 for name, runs in points.items()
    }
    told = ", ".join(f"{name} {means[name]:.1f} % ({spreads[name]:.1f})" for name in points)
    caption = f"test accuracy, mean and standard deviation: {told}"
    figure = new_figure(7.5, 1.2 + 0.55 * len(points), caption=caption)
    axes = figure.add_subplot()
    for place, (name, runs) in enumerate(points.items()):
        ink = colour(place)
        axes.plot(runs, [place] * len(runs), "o", color=ink, ms=5, alpha=0.45, mec="none")
        axes.errorbar(
            means[name], place + 0.24, xerr=spreads[name], fmt="s", color=ink, capsize=4, lw=2, ms=6
        )
        axes.annotate(
            f"{means[name]:.1f} %",
            (means[name], place + 0.24),
            xytext=(0, -7),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=9,
            color=INK,
        )
    axes.set_yticks(range(len(points)), list(points))
    axes.set_ylim(len(points) - 0.25, -0.4)
    axes.margins(x=0.08)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    xlabel = "accuracy on the test images (dot: one run; square and bar: mean, standard deviation)"
    tidy(axes, title=_finding(means), xlabel=xlabel, grid="x")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    return figure


def _finding(means: Mapping[str, float]) -> str:
    """Say how the others compare with the first."""
    (first, base), *others = means.items()
    if not others:
        return f"{first}: {base:.1f} %"
    parts = [f"{name} {mean - base:+.1f}".replace("-", "\u2212") for name, mean in others]
    return f"Percentage points against {first}: {'; '.join(parts)}"
