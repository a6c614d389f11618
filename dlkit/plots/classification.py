"""Pictures of what a classifier got wrong: which classes were confused, and the worst mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from dlkit.plots.style import ALERT, INK, MUTED, PALETTE, Picture, new_figure, readable_on, tidy
from dlkit.trainer.results import Mistake

_RIGHT = LinearSegmentedColormap.from_list("right", ["#FFFFFF", PALETTE[0]])
_WRONG = LinearSegmentedColormap.from_list("wrong", ["#FFFFFF", ALERT])


def confusion_matrix(counts: ArrayLike, names: Sequence[str] | None = None) -> Picture:
    """Draw how often each class was taken for each class, with all counts written.

    Args:
        counts: `[classes, classes]`; the row is the true class, the column the predicted one.
        names: Name of each class; its number by default.

    Returns:
        A figure: right predictions in blue on the diagonal, wrong ones in red, the
        most common darkest; beside each row the share that was right.

    Raises:
        ValueError: If `counts` is not square, or `names` has another length.

    >>> confusion_matrix([[5, 1], [0, 4]]).caption
    '9 of 10 right (90.00%); most often 0 was taken for 1: 1 of 6'
    """
    table = np.asarray(counts)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not table.size:
        raise ValueError(f"counts must be square [classes, classes], got shape {table.shape}")
    labels = [str(i) for i in range(len(table))] if names is None else list(names)
    if len(labels) != len(table):
        raise ValueError(f"names must name {len(table)} classes, got {len(labels)}")
    side = max(3.6, 0.5 * len(table) + 1.4)
    figure = new_figure(side + 1.0, side, caption=_confusion_caption(table, labels))
    axes = tidy(figure.add_subplot(), xlabel="predicted class", ylabel="true class")
    totals = table.sum(axis=1)
    shares = table / np.maximum(totals, 1)[:, None]
    worst = float((shares - np.diag(np.diag(shares))).max()) or 1.0
    for (row, column), count in np.ndenumerate(table):
        share = shares[row, column]
        # Errors are shaded against the most common one, else a good model's would all look white;
        # the square root lifts a single mistake among hundreds off the white of zero.
        if row == column:
            shade = to_hex(_RIGHT(math.sqrt(share)))
        else:
            shade = to_hex(_WRONG(0.7 * math.sqrt(share / worst)))
        box = (column - 0.5, row - 0.5)
        axes.add_patch(Rectangle(box, 1, 1, facecolor=shade, edgecolor="white", linewidth=1.5))
        text = readable_on(shade) if count else MUTED
        axes.text(column, row, str(count), ha="center", va="center", color=text, fontsize=10)
    for row, total in enumerate(totals):
        recall = f"{table[row, row] / total:.1%}" if total else "none"
        axes.text(len(table) - 0.3, row, recall, va="center", color=MUTED, fontsize=9)
    axes.text(len(table) - 0.3, -0.62, "right", va="bottom", color=MUTED, fontsize=9)
    axes.set(xlim=(-0.5, len(table) - 0.5), ylim=(len(table) - 0.5, -0.5), aspect="equal")
    turned = max(map(len, labels)) > 3
    axes.set_xticks(range(len(table)), labels, rotation=45 if turned else 0)
    axes.set_yticks(range(len(table)), labels)
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)
    right, total = int(np.trace(table)), int(table.sum())
    axes.set_title(f"{right} of {total} right", loc="left", fontsize=11, color=INK, pad=20)
    return figure


def _confusion_caption(table: Any, labels: Sequence[str]) -> str:
    right, total = int(np.trace(table)), int(table.sum())
    caption = f"{right} of {total} right" + (f" ({right / total:.2%})" if total else "")
    wrong = table - np.diag(np.diag(table))
    if not wrong.any():
        return caption
    row, column = divmod(int(wrong.argmax()), len(table))
    of = f"{wrong[row, column]} of {table[row].sum()}"
    return f"{caption}; most often {labels[row]} was taken for {labels[column]}: {of}"


def image_grid(images: ArrayLike, titles: Sequence[str], *, columns: int = 6) -> Picture:
    """Draw images in a grid, each under its title.

    Args:
        images: `[N, H, W]`, `[N, 1, H, W]` or `[N, 3, H, W]`; each is drawn from its own darkest
            to its own brightest value.
        titles: One for each image.
        columns: Images in a row.

    Returns:
        A figure whose caption repeats the titles.

    Raises:
        ValueError: If there is no image, or the shapes do not fit.

    >>> image_grid(np.zeros((2, 8, 8)), ["a 3", "a 5"]).caption
    '2 images: a 3; a 5'
    """
    pixels = _as_pictures(np.asarray(images), len(titles))
    rows = math.ceil(len(pixels) / columns)
    width = min(columns, len(pixels))
    number = f"{len(pixels)} image{'s' if len(pixels) > 1 else ''}"
    caption = f"{number}: " + "; ".join(title.replace("\n", ", ") for title in titles)
    lines = max(title.count("\n") + 1 for title in titles)
    figure = new_figure(1.45 * width + 0.2, (1.4 + 0.2 * lines) * rows, caption=caption)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(h_pad=0.14)  # type: ignore[call-arg]  # inches, so that no title is cut off
    grid = figure.subplots(rows, width, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, picture, title in zip(grid, pixels, titles, strict=False):
        axes.imshow(picture, cmap="gray", interpolation="nearest")
        axes.set_title(title, fontsize=9, color=INK)
    return figure


def mistakes_grid(
    images: ArrayLike, mistakes: Sequence[Mistake], names: Sequence[str] | None = None
) -> Picture:
    """Draw the samples behind a list of mistakes, with truth, prediction and certainty.

    Args:
        images: All images `[N, C, H, W]` that the mistakes' indices point into.
        mistakes: From `worst_mistakes`, the most certain first.
        names: Name of each class; its number by default.

    Returns:
        A figure whose caption lists the mistakes; with none, a figure that says so.

    >>> mistakes_grid(np.zeros((3, 1, 8, 8)), [Mistake(2, 4, 9, 0.87)]).caption
    '1 image: #2: 4, taken for 9, 87% sure'
    """
    if not mistakes:
        figure = new_figure(4.0, 1.0, caption="no mistakes")
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no mistakes", ha="center", va="center", color=INK, fontsize=12)
        return figure

    def name(label: int) -> str:
        return str(label) if names is None else names[label]

    titles = [
        f"#{mistake.index}: {name(mistake.label)}\n"
        f"taken for {name(mistake.predicted)}\n"
        f"{_percent(mistake.probability)} sure"
        for mistake in mistakes
    ]
    return image_grid(np.stack([np.asarray(images)[m.index] for m in mistakes]), titles)


def _percent(share: float) -> str:
    # Rounding must not turn "almost certain" into "certain".
    return ">99%" if 0.99 < share < 1 else f"{share:.0%}"


def _as_pictures(pixels: Any, count: int) -> Any:
    if pixels.ndim == 4 and pixels.shape[1] == 1:
        pixels = pixels[:, 0]
    elif pixels.ndim == 4 and pixels.shape[1] == 3:
        pixels = pixels.transpose(0, 2, 3, 1)
        low = pixels.min(axis=(1, 2, 3), keepdims=True)
        span = np.maximum(pixels.max(axis=(1, 2, 3), keepdims=True) - low, 1e-12)
        pixels = (pixels - low) / span  # matplotlib stretches grey images only
    elif pixels.ndim != 3:
        raise ValueError(f"images must be [N, H, W] or [N, 1 or 3, H, W], got {pixels.shape}")
    if len(pixels) != count or not count:
        raise ValueError(f"titles must name each image, got {count} for {len(pixels)} images")
    return pixels
