"""Pictures of data at rest: how fast formats are, what caches hit, what workers copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, PercentFormatter

from dlkit.plots.style import (
    FAINT,
    INK,
    MUTED,
    PALETTE,
    Picture,
    colour,
    new_figure,
    readable_on,
    tidy,
)

Rates = Mapping[str, Mapping[str, float]]


def format_rates(rates: Rates, *, measured: bool = False) -> Picture:
    """Draw samples per second of each format, a mark for each way of reading, on one log scale.

    Args:
        rates: Format to way of reading to samples per second; all formats have the same ways.
        measured: Whether the caption gives the numbers, which differ from machine to machine.

    Returns:
        A figure with a row for each format and way.

    Raises:
        ValueError: If there is nothing to draw, or the ways differ.

    >>> format_rates({"arrow": {"shuffled": 9e5}, "tar": {"shuffled": 2e4}}).caption
    'samples per second of 2 formats (arrow, tar), read in 1 way (shuffled)'
    """
    ways = list(next(iter(rates.values()), {}))
    if not ways or any(list(row) != ways for row in rates.values()):
        raise ValueError(
            "rates must give the same ways of reading for each format, "
            f"got { {name: list(row) for name, row in rates.items()} }"
        )
    caption = (
        f"samples per second of {len(rates)} format{'s' * (len(rates) > 1)} "
        f"({', '.join(rates)}), read in {len(ways)} way{'s' * (len(ways) > 1)} ({', '.join(ways)})"
    )
    if measured:
        rows = (f"{name} {_rate(max(row.values()))}" for name, row in rates.items())
        caption = f"best samples per second ({', '.join(ways)}): {', '.join(rows)}"
    figure = new_figure(8, 0.9 + 0.42 * len(rates) * max(1, len(ways) / 1.6), caption=caption)
    axes = tidy(figure.add_subplot(), xlabel="samples per second (log scale)", grid="x")
    height = 0.8 / len(ways)
    lowest = min(rate for row in rates.values() for rate in row.values())
    left = lowest / 4
    for place, way in enumerate(ways):
        values = [row[way] for row in rates.values()]
        centres = [n + (place - (len(ways) - 1) / 2) * height for n in range(len(rates))]
        # Marks, not bars: a bar's length means nothing where the axis has no zero.
        axes.hlines(centres, left, values, color=colour(place), linewidth=1.2)
        mark = "osD^"[place % 4]
        axes.plot(values, centres, mark, color=colour(place), markersize=7, label=way)
        for centre, value in zip(centres, values, strict=True):
            axes.text(value * 1.15, centre, _rate(value), va="center", fontsize=8, color=INK)
    axes.set_xscale("log")
    axes.set_xlim(left, max(rate for row in rates.values() for rate in row.values()) * 2.5)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _rate(value)))
    axes.set_yticks(range(len(rates)), list(rates))
    axes.set_ylim(len(rates) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelsize=10, labelcolor=INK)
    if len(ways) > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    return figure


def _rate(value: float) -> str:
    for limit, unit in ((1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.{1 if value < 10 * limit else 0}f}{unit}"
    return f"{value:.0f}"


def hit_curves(curves: Mapping[str, Mapping[float, float]]) -> Picture:
    """Draw the share of reads that a cache answers, over the share of the samples that fit into it.

    Args:
        curves: Policy to size of the cache (0 to 1) to hit rate (0 to 1) of an epoch after the
            first.

    Returns:
        A figure; its caption gives each curve's hit rate where about half fits.

    Raises:
        ValueError: If there is no curve, or an empty one.

    >>> hit_curves({"first-come": {0.5: 0.5, 1.0: 1.0}, "lru": {0.5: 0.0, 1.0: 1.0}}).caption
    'hit rate when 50% of the samples fit: first-come 50%, lru 0%'
    """
    if not curves or not all(curves.values()):
        raise ValueError(f"curves must give one or more points for each policy, got {curves!r}")
    middle = min(next(iter(curves.values())), key=lambda size: abs(size - 0.5))
    parts = ", ".join(f"{name} {curve.get(middle, 0):.0%}" for name, curve in curves.items())
    figure = new_figure(7, 3.2, caption=f"hit rate when {middle:.0%} of the samples fit: {parts}")
    axes = tidy(
        figure.add_subplot(),
        xlabel="share of the samples that fits into the cache",
        ylabel="hit rate of the next epoch",
        grid="both",
    )
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=5, label="what fits", zorder=1)
    for place, (name, curve) in enumerate(curves.items()):
        sizes = sorted(curve)
        hits = [curve[size] for size in sizes]
        style = ("o-", "s--", "^:", "D-.")[place % 4]
        axes.plot(sizes, hits, style, color=colour(place), label=name, markersize=5)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlim(0, 1.02)
    axes.set_ylim(-0.03, 1.05)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    return figure


def growth(megabytes: Mapping[str, Sequence[float]], *, batch_size: int) -> Picture:
    """Draw how many megabytes a worker has copied for itself, batch after batch.

    Args:
        megabytes: Container to the private memory of the worker after each batch; drawn relative to
            the first one.
        batch_size: Samples in a batch.

    Returns:
        A figure. Its caption holds no measured number, so that it is the same on every machine.

    Raises:
        ValueError: If there is nothing to draw.

    >>> growth({"list": [5.0, 9.0, 13.0], "packed": [5.0, 5.0, 5.0]}, batch_size=10).caption
    'memory that a worker copies while it reads 30 samples from 2 containers (list, packed)'
    """
    if not megabytes or not all(megabytes.values()):
        raise ValueError(f"megabytes must give one or more values each, got {megabytes!r}")
    batches = max(map(len, megabytes.values()))
    caption = (
        f"memory that a worker copies while it reads {batches * batch_size} samples "
        f"from {len(megabytes)} container{'s' * (len(megabytes) > 1)} ({', '.join(megabytes)})"
    )
    figure = new_figure(7, 3, caption=caption)
    axes = tidy(
        figure.add_subplot(),
        xlabel="samples that the worker has read",
        ylabel="MB of its own",
        grid="y",
    )
    for place, (name, values) in enumerate(megabytes.items()):
        read = [batch_size * (number + 1) for number in range(len(values))]
        own = [value - values[0] for value in values]
        axes.plot(read, own, "-" if place == 0 else "--", color=colour(place), linewidth=2)
        axes.annotate(
            name, (read[-1], own[-1]), (6, 0), textcoords="offset points", va="center",
            color=INK, fontsize=9, annotation_clip=False,
        )  # fmt: skip
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return figure


# What to ask, in this order, and the format that the first yes leads to.
QUESTIONS: tuple[tuple[str, str], ...] = (
    ("Do samples fit into memory, once for all workers?", "TensorDataset\nor MemoryCache"),
    ("Read as a stream of shards, over a network?", "tar"),
    ("Must TensorFlow read it too?", "tfrecord"),
    ("Must it be small, and is it read in order?", "parquet"),
    ("Do other programs want to read arrays?", "hdf5"),
    ("Text, bytes, or several columns?", "arrow"),
)
OTHERWISE = "memmap"


def decision() -> Picture:
    """Draw which format to choose when: questions from top to bottom, the first yes decides.

    Returns:
        A figure; its caption says the same in words.

    >>> decision().caption.startswith("6 questions, the first yes decides: ")
    True
    """
    answers = [f"{question} {format}" for question, format in QUESTIONS]
    caption = (
        f"{len(QUESTIONS)} questions, the first yes decides: {'; '.join(answers)}; "
        f"otherwise {OTHERWISE}; pickle only for files of your own"
    ).replace("\n", " ")
    rows = len(QUESTIONS) + 1
    figure = new_figure(8, 0.62 * rows + 0.3, caption=caption, fixed=True)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set_axis_off()
    axes.set_xlim(0, 10)
    axes.set_ylim(rows - 0.45, -0.55)
    for row, (question, format) in enumerate(QUESTIONS):
        _box(axes, 0.1, row, 6.0, question, "#F2F2F2", INK)
        _arrow(axes, (6.15, row), (7.15, row), "yes")
        _box(axes, 7.2, row, 2.6, format, PALETTE[0], readable_on(PALETTE[0]))
        _arrow(axes, (3.1, row + 0.32), (3.1, row + 0.68), "no" if row == 0 else "")
    _box(axes, 1.8, rows - 1, 2.6, OTHERWISE, PALETTE[0], readable_on(PALETTE[0]))
    note = "pickle: only for files of your own"
    axes.text(8.5, rows - 1, note, ha="center", va="center", fontsize=8.5, color=MUTED)
    return figure


def _box(axes: Axes, left: float, row: int, width: float, text: str, fill: str, ink: str) -> None:
    style = "round,pad=0.02,rounding_size=0.12"
    axes.add_patch(
        FancyBboxPatch((left, row - 0.3), width, 0.6, boxstyle=style, fc=fill, ec="none")
    )
    axes.text(left + width / 2, row, text, ha="center", va="center", fontsize=9.5, color=ink)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], label: str) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": MUTED, "lw": 1.2})
    if label:
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        across = start[1] == end[1]
        place = (middle[0], middle[1] - 0.1) if across else (middle[0] + 0.12, middle[1])
        axes.text(*place, label, ha="center" if across else "left",
                  va="bottom" if across else "center", fontsize=8.5, color=MUTED)  # fmt: skip
