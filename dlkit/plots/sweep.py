"""Pictures of a sweep: throughput over one setting as lines, over two as a heat map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from dlkit.plots.prediction import MARKERS
from dlkit.plots.style import ALERT, INK, MUTED, Picture, colour, new_figure, readable_on, tidy

Rows = Sequence[Mapping[str, Any]]


def picture(rows: Rows, names: Sequence[str]) -> Picture:
    """Draw a sweep in the way that fits how many settings vary.

    Args:
        rows: Each with a value for every name, and `throughput` in samples/s, None if it failed.
        names: Of the settings.

    Returns:
        Lines if one setting varies, or more than two; a heat map if two do.

    Raises:
        ValueError: If nothing was measured.

    >>> rows = [{"num_workers": n, "throughput": 100.0 * n} for n in (1, 2)]
    >>> picture(rows, ["num_workers"]).caption
    'samples/s: num_workers=1 100, num_workers=2 200; best at num_workers=2'
    """
    varying = [name for name in names if len({str(row[name]) for row in rows}) > 1]
    if len(varying) == 2:
        return heat_map(rows, varying[1], varying[0])
    along = "num_workers" if "num_workers" in varying else (varying or list(names))[0]
    return lines(rows, along, [name for name in varying if name != along])


def lines(rows: Rows, along: str, others: Sequence[str] = ()) -> Picture:
    """Draw throughput over one setting, a line for each combination of the others.

    Args:
        rows: Each with a value for every name, and `throughput` in samples/s, None if it failed.
        along: The setting on the axis.
        others: Settings that tell the lines apart.
    """
    measured = _measured(rows)
    places = list(dict.fromkeys(row[along] for row in measured))
    figure = new_figure(7.5, 3.6, caption=_caption(measured, [along, *others]))
    axes = tidy(figure.add_subplot(), xlabel=along, ylabel="samples/s", grid="y")
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in measured:
        groups.setdefault(_label(row, others), []).append(row)
    for place, (label, group) in enumerate(groups.items()):
        x = [places.index(row[along]) for row in group]
        y = [row["throughput"] for row in group]
        style = ("-", "--", ":", "-.")[place // 7 % 4]
        axes.plot(x, y, MARKERS[place % 7] + style, color=colour(place), mec="white", label=label)
    axes.set_xticks(range(len(places)), [str(value) for value in places])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_title(_finding(measured, [along, *others]), loc="left", fontsize=11, color=INK)
    if others:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    return figure


def heat_map(rows: Rows, across: str, down: str) -> Picture:
    """Draw throughput over two settings, each cell with its number; the best one is framed.

    Args:
        rows: Each with a value for both, and `throughput` in samples/s, None if it failed.
        across: The setting on the horizontal axis.
        down: The setting on the vertical axis.

    >>> rows = [{"a": a, "b": b, "throughput": 10.0 * a * b} for a in (1, 2) for b in (1, 3)]
    >>> heat_map(rows, "a", "b").caption
    'samples/s: b=1, a=1 10, b=3, a=1 30, b=1, a=2 20, b=3, a=2 60; best at b=3, a=2'
    """
    measured = _measured(rows)
    columns = list(dict.fromkeys(row[across] for row in rows))
    lines_ = list(dict.fromkeys(row[down] for row in rows))
    values = np.full((len(lines_), len(columns)), np.nan)
    for row in measured:
        values[lines_.index(row[down]), columns.index(row[across])] = row["throughput"]
    height = 1.5 + 0.5 * len(lines_)
    figure = new_figure(
        2.0 + 0.95 * len(columns), height, caption=_caption(measured, [down, across])
    )
    axes = tidy(figure.add_subplot(), xlabel=across, ylabel=down)
    palette = colormaps["cividis"]  # made for colour-blind readers: Nuñez and others, 2018
    top = float(np.nanmax(values))
    axes.imshow(values, cmap=palette, vmin=0, vmax=top, aspect="auto")
    for (line, column), value in np.ndenumerate(values):
        missing = bool(np.isnan(value))
        text = "-" if missing else f"{value:,.0f}"
        ink = MUTED if missing else readable_on(palette(value / top if top else 0.0))  # type: ignore[arg-type]
        axes.text(column, line, text, ha="center", va="center", color=ink, fontsize=10)
    best = np.unravel_index(int(np.nanargmax(values)), values.shape)
    corner = (int(best[1]) - 0.5, int(best[0]) - 0.5)
    axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=ALERT, linewidth=3))
    axes.set_xticks(range(len(columns)), [str(value) for value in columns])
    axes.set_yticks(range(len(lines_)), [str(value) for value in lines_])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    title = f"samples/s, best at {_best(measured, [down, across])}"
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    return figure


def _measured(rows: Rows) -> list[Mapping[str, Any]]:
    measured = [row for row in rows if row["throughput"] is not None]
    if not measured:
        raise ValueError("rows must hold at least one setting that was measured, got none")
    return measured


def _label(row: Mapping[str, Any], names: Sequence[str]) -> str:
    return ", ".join(f"{name}={row[name]}" for name in names)


def _best(measured: Rows, names: Sequence[str]) -> str:
    return _label(max(measured, key=lambda row: row["throughput"]), names)


def _finding(measured: Rows, names: Sequence[str]) -> str:
    rates = [row["throughput"] for row in measured]
    gain = max(rates) / min(rates) if min(rates) else float("inf")
    return f"best at {_best(measured, names)}, {gain:.1f} times the worst"


def _caption(measured: Rows, names: Sequence[str]) -> str:
    cells = ", ".join(f"{_label(row, names)} {row['throughput']:.0f}" for row in measured)
    return f"samples/s: {cells}; best at {_best(measured, names)}"
