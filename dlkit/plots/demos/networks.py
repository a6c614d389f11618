"""Pictures of what stands inside a net: surfaces, filters, and gradients on their way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from dlkit.plots.style import FAINT, INK, MUTED, PALETTE, Picture, new_figure, tidy

CLASSES = (PALETTE[0], PALETTE[5])
MARKERS = ("o", "s")
# From one class's colour over white to the other's: where it is white, the model does not know.
TWO_CLASSES = LinearSegmentedColormap.from_list("classes", [CLASSES[0], "#FFFFFF", CLASSES[1]])


def two_spirals(
    points: ArrayLike,
    labels: ArrayLike,
    surfaces: Mapping[str, ArrayLike],
    side: float,
    hidden: ArrayLike,
    line: Sequence[float],
    accuracy: Mapping[str, float],
) -> Picture:
    """Draw what models make of the plane, and the plane as the last hidden layer has it.

    Args:
        points: ``[n, 2]``.
        labels: ``[n]``, 0 or 1.
        surfaces: For each model the probability of class 1 on a square grid.
        side: The grid reaches from -side to side.
        hidden: ``[n, 2]``, the points in the last hidden layer.
        line: a, b and c of the line a x + b y + c = 0 there.
        accuracy: Of each model.

    Returns:
        One panel for each surface, and one for the hidden layer.

    >>> two_spirals([[0, 0], [1, 1]], [0, 1], {"linear": [[0.4, 0.6]] * 2}, 2.0,
    ...             [[0, 0], [1, 1]], [1, 1, -1], {"linear": 0.5}).caption
    'share right: linear 50%'
    """
    caption = "share right: " + ", ".join(f"{name} {a:.0%}" for name, a in accuracy.items())
    figure = new_figure(3.4 * (len(surfaces) + 1), 3.5, caption=caption)
    panels: list[Axes] = list(figure.subplots(1, len(surfaces) + 1, squeeze=False)[0])
    for axes, (name, surface) in zip(panels, surfaces.items(), strict=False):
        tidy(axes, title=f"{name}: {accuracy[name]:.0%} right", xlabel="x", ylabel="y")
        extent = (-side, side, -side, side)
        axes.imshow(
            np.asarray(surface), cmap=TWO_CLASSES, vmin=0, vmax=1, extent=extent, origin="lower",
            alpha=0.55, interpolation="bilinear",
        )  # fmt: skip
        _classes(axes, np.asarray(points), np.asarray(labels))
        axes.set(xlim=(-side, side), ylim=(-side, side), aspect="equal")
    last = tidy(panels[-1], title="the last hidden layer's view", xlabel="unit 1", ylabel="unit 2")
    a, b, c = line
    across = np.linspace(-1.15, 1.15, 2)
    if abs(b) >= abs(a):
        last.plot(across, -(a * across + c) / b, color=INK, linewidth=1.5)
    else:
        last.plot(-(b * across + c) / a, across, color=INK, linewidth=1.5)
    _classes(last, np.asarray(hidden), np.asarray(labels))
    last.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal")
    return figure


def _classes(axes: Axes, points: Any, labels: Any) -> None:
    for label in (0, 1):
        xy = points[labels == label]
        axes.scatter(
            xy[:, 0], xy[:, 1], s=12, color=CLASSES[label], marker=MARKERS[label],
            edgecolor="white", linewidth=0.4, zorder=3,
        )  # fmt: skip


def filters_and_maps(
    filters: ArrayLike,
    image: ArrayLike,
    maps: ArrayLike,
    shifts: Sequence[int],
    accuracy: Mapping[str, Sequence[float]],
) -> Picture:
    """Draw learned filters, what each answers to an image, and accuracy over the shift.

    Args:
        filters: ``[k, h, w]``.
        image: ``[height, width]``.
        maps: ``[k, height, width]``, after ReLU.
        shifts: In pixels.
        accuracy: Of each net at each shift.

    Returns:
        The picture; its caption has the accuracies without a shift and at the largest.

    >>> filters_and_maps([[[1, -1]]], [[0, 1]], [[[0, 1]]], [0, 2], {"dense": [0.9, 0.4]}).caption
    '1 filters; share right at shifts of 0 and 2 pixels: dense 90% and 40%'
    """
    kernels, answers = np.asarray(filters, dtype=float), np.asarray(maps, dtype=float)
    ends = ", ".join(f"{name} {a[0]:.0%} and {a[-1]:.0%}" for name, a in accuracy.items())
    caption = (
        f"{len(kernels)} filters; share right at shifts of {shifts[0]} and {shifts[-1]} pixels: "
    )
    figure = new_figure(11.0, 2.9, caption=caption + ends)
    parts: Any = figure.subfigures(1, 2, width_ratios=(2.1, 1.0))
    left, right = parts
    grid = left.subplots(2, len(kernels) + 1, squeeze=False)
    _bare(grid[0, 0]).set_title("the digit", fontsize=10, color=INK)
    grid[0, 0].imshow(np.asarray(image), cmap="gray_r")
    _bare(grid[1, 0]).text(
        0.5, 0.5, "its maps:", ha="center", va="center", fontsize=10, color=INK,
        transform=grid[1, 0].transAxes,
    )  # fmt: skip
    for place, (kernel, answer) in enumerate(zip(kernels, answers, strict=True), start=1):
        widest = float(np.abs(kernel).max()) or 1.0
        _bare(grid[0, place]).imshow(kernel, cmap="RdBu_r", vmin=-widest, vmax=widest)
        grid[0, place].set_title(f"{place}", fontsize=10, color=MUTED)
        _bare(grid[1, place]).imshow(answer, cmap="gray_r", vmin=0, vmax=float(answers.max()) or 1)
    axes = tidy(
        right.subplots(), title="Digits that are not in the middle", xlabel="shift in pixels",
        ylabel="share right", grid="y",
    )  # fmt: skip
    for place, (name, values) in enumerate(accuracy.items()):
        axes.plot(shifts, values, color=PALETTE[place], marker="os^"[place % 3], label=name)
    axes.set(ylim=(0, 1.03), xticks=list(shifts))
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower left")
    return figure


def _bare(axes: Axes) -> Axes:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def gradient_flow(
    values: Sequence[Sequence[float]],
    gradients: Sequence[Sequence[float]],
    weight_gradients: Sequence[Sequence[Sequence[float]]],
    norms: Mapping[float, Sequence[float]],
) -> Picture:
    """Draw a small net with values forward and gradients back, and gradients in a deep net.

    Args:
        values: Of the units, layer by layer.
        gradients: The loss's gradient by each of them.
        weight_gradients: Between layers ``[to][from]``; edges are as wide as these are large.
        norms: For each scale of the weights the gradient's norm at every layer, the first first,
            relative to the last.

    Returns:
        Two panels; the caption has what is left of each gradient at the first layer.

    >>> gradient_flow([[1.0], [0.5]], [[0.2], [0.4]], [[[0.4]]], {1.0: [0.01, 1.0]}).caption
    'gradient left after 1 layers: 0.01 at weight scale 1.0'
    """
    layers = len(next(iter(norms.values()))) - 1
    left = ", ".join(f"{n[0]:.1g} at weight scale {scale}" for scale, n in norms.items())
    figure = new_figure(10.5, 3.6, caption=f"gradient left after {layers} layers: {left}")
    net, deep = figure.subplots(1, 2, width_ratios=(1.15, 1.0))
    _net(net, values, gradients, weight_gradients)
    tidy(deep, title="Gradients in a deep net", xlabel="layer", grid="y")
    deep.set_ylabel("norm, relative to the last layer's", fontsize=10, color=INK)
    for place, (scale, series) in enumerate(norms.items()):
        style = ("--", "-", ":")[place % 3]
        deep.plot(range(len(series)), series, color=PALETTE[place], linestyle=style, linewidth=2.2)
        deep.annotate(
            f"weights x {scale:g}", (0, series[0]), xytext=(6, -3 if series[0] < 1 else 4),
            textcoords="offset points", fontsize=9, color=INK,
        )  # fmt: skip
    deep.set_yscale("log")
    deep.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _net(
    axes: Axes,
    values: Sequence[Sequence[float]],
    gradients: Sequence[Sequence[float]],
    weight_gradients: Sequence[Sequence[Sequence[float]]],
) -> None:
    tidy(axes, title="Values go forward, gradients come back")
    _bare(axes)
    places = [
        [(2.0 * layer, (len(units) - 1) / 2 - unit) for unit in range(len(units))]
        for layer, units in enumerate(values)
    ]
    widest = max(abs(w) for layer in weight_gradients for row in layer for w in row) or 1.0
    for layer, rows in enumerate(weight_gradients):
        for to, row in enumerate(rows):
            for start, gradient in enumerate(row):
                (x0, y0), (x1, y1) = places[layer][start], places[layer + 1][to]
                width = 0.6 + 5 * abs(gradient) / widest
                axes.plot([x0, x1], [y0, y1], color=FAINT, linewidth=width, zorder=1)
    for units, backs, spots in zip(values, gradients, places, strict=True):
        for value, back, (x, y) in zip(units, backs, spots, strict=True):
            axes.scatter(x, y, s=1500, color="white", edgecolor=MUTED, zorder=2)
            axes.text(
                x, y + 0.1, f"{value:.2f}", ha="center", va="center", fontsize=9, color=PALETTE[0]
            )
            axes.text(
                x, y - 0.14, f"{back:+.2f}", ha="center", va="center", fontsize=9, color=PALETTE[5]
            )
    lowest = min(y for spots in places for _, y in spots)
    legend = (
        ("value", PALETTE[0]),
        ("the loss's gradient by it", PALETTE[5]),
        ("edges: as wide as the gradient by the weight", MUTED),
    )
    for line, (text, ink) in enumerate(legend):
        axes.text(-0.5, lowest - 0.6 - 0.24 * line, text, color=ink, fontsize=9)
    axes.set(xlim=(-0.6, places[-1][0][0] + 0.6), ylim=(lowest - 1.2, -lowest + 0.5))
