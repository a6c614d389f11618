"""Pictures of shuffling: where samples go in an epoch, and what the batches then look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from dlkit.mixing import mixing
from dlkit.plots.style import INK, LIGHT, MUTED, PALETTE, Picture, colour, new_figure, tidy

CLASSES = (*PALETTE, *LIGHT)  # a colour for each


def displacements(orders: Mapping[str, Sequence[int]]) -> Picture:
    """Draw, for each order, which index is shown at which position of the epoch.

    On the diagonal nothing has moved; an even cloud is a full shuffle; a band along the diagonal
    is a shuffle buffer; squares along any line are blocks that were moved as a whole.

    Args:
        orders: Title to indices in the order of the epoch.

    Returns:
        A figure with a panel for each order; the caption gives its mixing (0 none, 1 full).

    Raises:
        ValueError: If there is no order.

    >>> displacements({"none": range(100)}).caption
    'mixing: none 0.00'
    """
    if not orders:
        raise ValueError("orders must hold at least one order, got none")
    scores = {title: mixing(order) for title, order in orders.items()}
    caption = "mixing: " + ", ".join(f"{title} {score:.2f}" for title, score in scores.items())
    side = 4.0 if len(orders) == 1 else 2.6
    width, height = 0.65 + side * len(orders), 0.75 + side
    figure = new_figure(width, height, caption=caption, fixed=True)
    for panel, (title, order) in enumerate(orders.items()):
        place = (0.75 + panel * side, 0.55, side - 0.25, side - 0.25)
        axes = figure.add_axes(tuple(np.divide(place, (width, height, width, height)).tolist()))
        indices = np.asarray(list(order))
        size = max(2.0, min(9.0, 1500 / max(len(indices), 1)))
        tidy(axes, title=f"{title}\nmixing {scores[title]:.2f}", xlabel="position in the epoch")
        axes.plot([0, len(indices)], [0, len(indices)], color=MUTED, linewidth=0.8, zorder=1)
        axes.scatter(np.arange(len(indices)), indices, s=size, color=colour(0), linewidths=0)
        if panel:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel("index in the dataset", color=INK)
    return figure


def batch_classes(shares: Mapping[str, NDArray[np.float64]], names: Sequence[str]) -> Picture:
    """Draw the classes of each batch as stacked bars, one panel for each way to sample.

    Args:
        shares: Title to shares of shape [batches, classes], rows adding up to 1.
        names: Name of each class.

    Returns:
        A figure; the caption gives how far the share of the last class ranges over batches.

    Raises:
        ValueError: If there is nothing to draw or a row has another number of classes.

    >>> batch_classes({"plain": np.array([[0.5, 0.5], [1.0, 0.0]])}, ["a", "b"]).caption
    "share of 'b' in a batch: plain 0% to 50%"
    """
    if not shares or any(table.shape[1:] != (len(names),) for table in shares.values()):
        shapes = {title: table.shape for title, table in shares.items()}
        raise ValueError(f"shares must have shape [batches, {len(names)}], got {shapes}")
    ranges = (f"{t} {s[:, -1].min():.0%} to {s[:, -1].max():.0%}" for t, s in shares.items())
    caption = f"share of {names[-1]!r} in a batch: " + ", ".join(ranges)
    figure = new_figure(0.9 + 2.7 * len(shares), 2.9, caption=caption)
    panels = figure.subplots(1, len(shares), squeeze=False, sharey=True)[0]
    for axes, (title, table) in zip(panels, shares.items(), strict=True):
        tidy(axes, title=title, xlabel="batch")
        floor = np.zeros(len(table))
        edge = {"edgecolor": "white", "linewidth": 0.6}
        for number, name in enumerate(names):
            shade = CLASSES[number % len(CLASSES)]
            axes.bar(
                range(len(table)), table[:, number], 1.0, floor, color=shade, label=name, **edge
            )
            floor += table[:, number]
        axes.set_xlim(-0.5, len(table) - 0.5)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    panels[0].set_ylabel("share of the batch", color=INK)
    handles, labels = panels[0].get_legend_handles_labels()
    legend = figure.legend(
        handles[::-1], labels[::-1], loc="outside right center", frameon=False, fontsize=9
    )
    legend.set_title("class")
    return figure


def accuracy_by_order(curves: Mapping[str, Sequence[float]], chance: float) -> Picture:
    """Draw test accuracy against epochs for the same model trained on different orders.

    Args:
        curves: Title to accuracy in 0..1 after each epoch.
        chance: Accuracy of guessing, in 0..1.

    Returns:
        A figure; the caption says how many epochs and orders it compares.

    Raises:
        ValueError: If there is no curve.

    >>> accuracy_by_order({"sorted": [0.1, 0.1], "shuffled": [0.8, 0.9]}, 0.1).caption
    'test accuracy over 2 epochs of 2 orders: sorted, shuffled; guessing gives 10%'
    """
    if not curves:
        raise ValueError("curves must hold at least one curve, got none")
    epochs = max(len(curve) for curve in curves.values())
    caption = f"test accuracy over {epochs} epochs of {len(curves)} orders: {', '.join(curves)}"
    figure = new_figure(7, 3, caption=f"{caption}; guessing gives {chance:.0%}")
    axes = tidy(figure.add_subplot(), xlabel="epochs trained", ylabel="test accuracy", grid="y")
    for number, (title, curve) in enumerate(curves.items()):
        steps = range(1, len(curve) + 1)
        axes.plot(steps, curve, "os^Dv"[number % 5] + "-", color=colour(number), label=title)
    axes.axhline(chance, color=MUTED, linestyle=":", label="guessing")
    axes.set_ylim(0, 1.02)
    axes.set_xticks(range(1, epochs + 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    return figure
