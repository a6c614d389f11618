"""Pictures of batching: which index goes into which batch, and what the batch size costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from dlkit.plots.style import (
    ALERT,
    FAINT,
    INK,
    MUTED,
    Picture,
    colour,
    new_figure,
    readable_on,
    tidy,
)

NUMBERED = 80  # more cells than this are too small for a number in each
LEGEND = 6  # more batches than this are not all named


def _columns(size: int) -> int:
    """Cells a row: few long rows, so that a batch is a stripe and the picture stays flat."""
    for columns in (10, 20, 25):
        if size <= columns * 4:
            return min(size, columns)
    return 50


def index_strip(batches: Sequence[Sequence[int]], size: int) -> Picture:
    """Draw the dataset as cells, one for each index, coloured by the batch that shows it.

    Cells run from left to right and from top to bottom. Indices that no batch shows are crossed
    out; a last batch that is smaller than the first has a thick frame.

    Args:
        batches: Lists of indices in 0..size - 1, as a batch sampler yields them.
        size: Number of samples in the dataset, 1 or more.

    Returns:
        A figure; its caption counts batches, their sizes and the samples left out.

    Raises:
        ValueError: If ``size`` is not positive or an index lies outside the dataset.

    >>> index_strip([[0, 1, 2], [3, 4, 5]], 8).caption
    '8 samples in 2 batches of 3; samples in no batch: 2 (6, 7)'
    """
    owner = _owners(batches, size)
    columns = _columns(size)
    rows = math.ceil(size / columns)
    height = 0.55 + min(0.34 * rows, 3.4)
    figure = new_figure(8.5, height, caption=_strip_caption(batches, owner), fixed=True)
    axes = figure.add_axes((0.07, 0.06 / height, 0.92, 1 - 0.41 / height))
    shades = np.ones((rows * columns, 3))
    shades[:size] = [to_rgb(colour(batch) if batch >= 0 else FAINT) for batch in owner]
    axes.imshow(shades.reshape(rows, columns, 3), aspect="auto", interpolation="nearest")
    width = 2.0 if size <= NUMBERED else 0.8
    axes.vlines(np.arange(columns + 1) - 0.5, -0.5, rows - 0.5, color="white", linewidth=width)
    axes.hlines(np.arange(rows + 1) - 0.5, -0.5, columns - 0.5, color="white", linewidth=width)
    axes.set_xticks([])
    axes.set_yticks(range(rows), [str(row * columns) for row in range(rows)], fontsize=8)
    axes.tick_params(length=0, colors=MUTED)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("index", fontsize=9, color=INK)
    _mark_cells(axes, batches, owner, columns)
    axes.legend(
        handles=_legend(batches, owner),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=LEGEND + 3,
        frameon=False,
        fontsize=8.5,
        handlelength=1,
        columnspacing=1,
        borderaxespad=0.2,
    )
    return figure


def _owners(batches: Sequence[Sequence[int]], size: int) -> NDArray[np.int64]:
    """The number of the batch that shows each index, -1 for none."""
    if size < 1:
        raise ValueError(f"size must be 1 or more, got {size!r}")
    owner = np.full(size, -1)
    for number, batch in enumerate(batches):
        for index in batch:
            if not 0 <= index < size:
                raise ValueError(f"batches must hold indices in 0..{size - 1}, got {index!r}")
            owner[index] = number
    return owner


def _strip_caption(batches: Sequence[Sequence[int]], owner: NDArray[np.int64]) -> str:
    sizes = [len(batch) for batch in batches]
    left_out = np.flatnonzero(owner < 0).tolist()
    caption = f"{len(owner)} samples in {len(sizes)} batches"
    if sizes:
        caption += f" of {sizes[0]}"
    if sizes and sizes[-1] != sizes[0]:
        caption += f", the last of {sizes[-1]}"
    caption += f"; samples in no batch: {len(left_out)}"
    if left_out:
        shown = ", ".join(str(index) for index in left_out[:5])
        caption += f" ({shown}{', ...' if len(left_out) > 5 else ''})"
    return caption


def _mark_cells(
    axes: Axes, batches: Sequence[Sequence[int]], owner: NDArray[np.int64], columns: int
) -> None:
    """Number the cells while there is room, cross out unseen ones, frame a smaller last batch."""
    y, x = np.divmod(np.arange(len(owner)), columns)
    # One collection of lines instead of a line for each cell: a slider must not wait for them.
    unseen = [
        ((x[k] - 0.4, y[k] + 0.35), (x[k] + 0.4, y[k] - 0.35)) for k in np.where(owner < 0)[0]
    ]
    axes.add_collection(LineCollection(unseen, colors=ALERT, linewidths=1.6), autolim=False)
    if len(batches) and len(batches[-1]) < len(batches[0]):
        corner = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]) * (0.46, 0.44)
        frames = [np.add(corner, (x[index], y[index])) for index in batches[-1]]
        axes.add_collection(LineCollection(frames, colors=INK, linewidths=2), autolim=False)
    if len(owner) <= NUMBERED:
        inks = [INK, *(readable_on(colour(batch)) for batch in range(owner.max() + 1))]
        for index, batch in enumerate(owner.tolist()):
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8.5}
            axes.text(x[index], y[index], str(index), color=inks[batch + 1], **style)


def _legend(batches: Sequence[Sequence[int]], owner: NDArray[np.int64]) -> list[Patch]:
    count = len(batches)
    handles = [Patch(color=colour(k), label=f"batch {k}") for k in range(min(count, LEGEND))]
    if count > LEGEND:
        handles[-1] = Patch(color="white", label="...")
        handles.append(Patch(color=colour(count - 1), label=f"batch {count - 1}"))
    if (owner < 0).any():
        handles.append(Patch(fc=FAINT, ec=ALERT, hatch="//", label="in no batch"))
    return handles


def steps_per_epoch(size: int, batch_sizes: Sequence[int]) -> Picture:
    """Draw the optimizer's steps in an epoch, and what ``drop_last`` leaves out, by batch size.

    Args:
        size: Number of samples in the dataset.
        batch_sizes: Batch sizes to show, ascending.

    Returns:
        A figure with two panels.

    Raises:
        ValueError: If a batch size is not positive or there is none.

    >>> steps_per_epoch(100, [32, 64]).caption
    '100 samples: 4 steps at batch size 32 (drop_last leaves out 4), 2 at 64 (36)'
    """
    if not batch_sizes or min(batch_sizes) < 1:
        raise ValueError(f"batch_sizes must be 1 or more, got {list(batch_sizes)!r}")
    steps = [math.ceil(size / batch) for batch in batch_sizes]
    dropped = [size % batch for batch in batch_sizes]
    first, last = batch_sizes[0], batch_sizes[-1]
    caption = f"{size} samples: {steps[0]} steps at batch size {first} (drop_last leaves out "
    caption += f"{dropped[0]}), {steps[-1]} at {last} ({dropped[-1]})"
    figure = new_figure(8.5, 2.8, caption=caption)
    left, right = figure.subplots(1, 2)
    tidy(left, title="steps per epoch", xlabel="batch size", grid="y")
    tidy(right, title="samples left out by drop_last", xlabel="batch size", grid="y")
    names = [str(batch) for batch in batch_sizes]
    for axes, values, shade in ((left, steps, colour(0)), (right, dropped, ALERT)):
        bars = axes.bar(names, values, color=shade, width=0.7)
        axes.bar_label(bars, fontsize=8.5, color=INK)
        axes.margins(y=0.15)
    return figure


def batch_size_costs(
    batch_sizes: Sequence[int],
    throughput: Sequence[float],
    megabytes: Sequence[float],
    gradient_noise: Sequence[float],
) -> Picture:
    """Draw the three things that a batch size trades: speed, memory and noise of the gradient.

    Args:
        batch_sizes: Batch sizes, ascending.
        throughput: Samples per second at each.
        megabytes: Size of one batch at each, in MB.
        gradient_noise: Relative deviation of one batch's gradient from the full gradient.

    Returns:
        A figure with three panels over the same logarithmic axis.

    Raises:
        ValueError: If the four have different lengths.

    >>> batch_size_costs([1, 64], [1e3, 4e4], [0.1, 6.4], [8.0, 1.0]).caption
    'from batch size 1 to 64: memory of a batch x64, gradient noise x0.12'
    """
    columns = (batch_sizes, throughput, megabytes, gradient_noise)
    if len({len(column) for column in columns}) != 1 or not batch_sizes:
        raise ValueError(f"all four need the same length, got {[len(c) for c in columns]}")
    caption = f"from batch size {batch_sizes[0]} to {batch_sizes[-1]}: memory of a batch "
    caption += f"x{megabytes[-1] / megabytes[0]:.3g}, gradient noise "
    caption += f"x{gradient_noise[-1] / gradient_noise[0]:.2g}"
    figure = new_figure(10, 2.9, caption=caption)
    panels = (
        ("throughput levels off", "samples/s", throughput, colour(0)),
        ("memory grows in proportion", "MB per batch", megabytes, colour(1)),
        ("gradient noise falls ever slower", "relative noise", gradient_noise, colour(2)),
    )
    for axes, (title, label, values, shade) in zip(figure.subplots(1, 3), panels, strict=True):
        tidy(axes, title=title, xlabel="batch size", ylabel=label, grid="both")
        axes.plot(batch_sizes, values, "o-", color=shade)
        axes.set_xscale("log", base=2)
        axes.set_xticks(batch_sizes[::2], [str(batch) for batch in batch_sizes[::2]])
        axes.minorticks_off()
        if values is throughput:
            axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        if values is megabytes:
            axes.set_yscale("log")  # a straight line: twice the batch, twice the memory
    return figure


def padded_batches(masks: Mapping[str, NDArray[Any]]) -> Picture:
    """Draw padded batches: a row for each sequence, colour where it has values, grey padding.

    Args:
        masks: Title to mask of shape [batch, longest], True where there is a value.

    Returns:
        A figure with a panel for each mask; the caption gives the share of padding.

    Raises:
        ValueError: If there is no mask or one is not two-dimensional.

    >>> padded_batches({"unsorted": np.array([[True, False], [True, True]])}).caption
    'share of padding: unsorted 25%'
    """
    arrays = {title: np.asarray(mask, dtype=bool) for title, mask in masks.items()}
    if not arrays or any(mask.ndim != 2 or not mask.size for mask in arrays.values()):
        shapes = {title: mask.shape for title, mask in arrays.items()}
        raise ValueError(f"masks must each have shape [batch, longest], got {shapes}")
    waste = {title: 1 - mask.mean() for title, mask in arrays.items()}
    caption = "share of padding: " + ", ".join(f"{t} {share:.0%}" for t, share in waste.items())
    figure = new_figure(4.2 * len(arrays) + 0.3, 2.6, caption=caption)
    longest = max(mask.shape[1] for mask in arrays.values())
    panels = figure.subplots(1, len(arrays), squeeze=False)[0]
    for axes, (title, mask) in zip(panels, arrays.items(), strict=True):
        shades = np.where(mask[..., None], to_rgb(colour(0)), to_rgb(FAINT))
        axes.imshow(shades, aspect="auto", interpolation="nearest")
        axes.set_xlim(-0.5, longest - 0.5)
        axes.set_yticks(range(len(mask)) if len(mask) <= 12 else [0, len(mask) - 1])
        axes.set_yticks(np.arange(len(mask) + 1) - 0.5, minor=True)
        axes.grid(which="minor", axis="y", color="white", linewidth=2)
        axes.tick_params(which="minor", length=0)
        tidy(axes, title=f"{title}: {waste[title]:.0%} padding", xlabel="position")
    panels[0].set_ylabel("sequence", color=INK)
    return figure
