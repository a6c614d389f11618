"""Pictures of live streams: latency under load, what batches give and take, and a live system."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from dlkit.live.digits import Moment
from dlkit.plots.dashboard import Dashboard, Line, Panel
from dlkit.plots.style import ALERT, FAINT, INK, MUTED, Picture, colour, new_figure, tidy

Steps = Sequence[tuple[float, float]]  # the load in items/s, and the p99 in seconds


def under_load(
    curves: Mapping[str, Steps], objective: float, capacity: float | None = None
) -> Picture:
    """Draw the p99 latency of several ways of batching over the load.

    Args:
        curves: Way of batching to its points: items/s, and seconds that 99 % of the items took at
            most; NaN where none was answered.
        objective: Seconds that should not be exceeded.
        capacity: Items/s above which no way can keep up, if known.

    Returns:
        A figure; its caption says for each way up to and from which load it holds the objective.

    Raises:
        ValueError: If there is nothing to draw.

    >>> ways = {"one": [(10, 0.01), (100, 0.5)], "many": [(10, 0.2), (100, 0.04)]}
    >>> under_load(ways, objective=0.05).caption
    'objective 50 ms, met by one at 10/s of 10 to 100/s; many at 100/s of 10 to 100/s'
    """
    if not curves or not all(curves.values()):
        raise ValueError(f"curves must have a point each, got {dict(curves)!r}")
    told = [f"{name} at {_where(points, objective)}" for name, points in curves.items()]
    caption = f"objective {objective * 1e3:.0f} ms, met by {'; '.join(told)}"
    figure = new_figure(8, 3.6, caption=caption)
    axes = tidy(
        figure.add_subplot(),
        title=_finding(curves, objective, math.inf if capacity is None else capacity),
        xlabel="load, items/s",
        ylabel="p99 latency, ms",
        grid="both",
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for place, (name, points) in enumerate(curves.items()):
        loads, seconds = np.array(points, dtype=float).T
        marker, style = "osD^v"[place % 5], ("-", "--", ":", "-.")[place % 4]
        axes.plot(
            loads, seconds * 1e3, style, color=colour(place), marker=marker, label=name, linewidth=2
        )
    axes.axhline(objective * 1e3, color=ALERT, linewidth=1.2)
    axes.annotate(
        f"objective {objective * 1e3:.0f} ms", (1, objective * 1e3), color=ALERT, fontsize=9,
        xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points", va="center",
    )  # fmt: skip
    if capacity is not None:
        axes.axvspan(capacity, axes.get_xlim()[1], color=FAINT, alpha=0.6, zorder=0, linewidth=0)
        axes.text(
            capacity * 1.03, axes.get_ylim()[1], "overload", va="top", color=MUTED, fontsize=9
        )
    ticks = sorted({load for points in curves.values() for load, _ in points})
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()
    _plain_log(axes)
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _finding(curves: Mapping[str, Steps], objective: float, capacity: float) -> str:
    holds = [
        name
        for name, points in curves.items()
        if all(seconds <= objective for load, seconds in points if load < capacity)
    ]
    who = " and ".join(holds) if holds else "none"
    return f"The objective is held at every load under capacity by: {who}"


def _where(points: Steps, objective: float) -> str:
    met = [load for load, seconds in points if seconds <= objective]
    loads = [load for load, _ in points]
    found = ", ".join(f"{load:,.0f}" for load in met) or "none"
    return f"{found}/s of {min(loads):,.0f} to {max(loads):,.0f}/s"


def _plain_log(axes: Axes) -> None:
    """Label a logarithmic axis of milliseconds by plain numbers."""
    low, high = axes.get_ylim()
    ticks = [
        base * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for base in (1, 3)
    ]
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set_yticks(shown, [f"{tick:g}" for tick in shown])


def latency_and_throughput(
    points: Sequence[tuple[int, float, float]], objective: float | None = None
) -> Picture:
    """Draw what larger batches give and take.

    Args:
        points: Items in a batch, items/s while nothing waits, and seconds for one batch.
        objective: Seconds that should not be exceeded, if there is such a limit.

    Returns:
        A figure; its caption holds sizes and no measured number, so that it is the same everywhere.

    Raises:
        ValueError: If there is nothing to draw.

    >>> latency_and_throughput([(1, 100, 0.01), (8, 400, 0.02)]).caption
    'throughput and time of a batch for 2 sizes from 1 to 8'
    """
    if not points:
        raise ValueError("points must hold at least one batch size, got none")
    sizes, rates, seconds = (list(column) for column in zip(*points, strict=True))
    caption = (
        f"throughput and time of a batch for {len(sizes)} sizes from {sizes[0]} to {sizes[-1]}"
    )
    figure = new_figure(8, 3.0, caption=caption)
    left, right = figure.subplots(1, 2)
    for axes, values, label, shade in (
        (left, rates, "throughput, items/s", colour(0)),
        (right, [second * 1e3 for second in seconds], "time of a batch, ms", colour(5)),
    ):
        tidy(axes, xlabel="items in a batch", ylabel=label, grid="y")
        axes.plot(sizes, values, color=shade, marker="o", linewidth=2)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_ylim(bottom=0)
        axes.minorticks_off()
    if objective is not None:
        right.axhline(objective * 1e3, color=INK, linewidth=1)
        right.text(sizes[0], objective * 1e3, f"{objective * 1e3:.0f} ms", va="bottom", fontsize=9)
    return figure


def digits_dashboard(objective: float | None) -> Dashboard[Moment]:
    """Return the picture that follows the live digits: load, batches, latency, queue and drops.

    Args:
        objective: Seconds that should not be exceeded, if there are any.
    """

    def latency(share: str, style: str) -> Line[Moment]:
        return Line(lambda moment: getattr(moment.stats, share) * 1e3, colour(0), style)

    return Dashboard(
        [
            Panel(
                "frames/s: set (grey), answered",
                [
                    Line(lambda moment: moment.rate, MUTED, options={"drawstyle": "steps-post"}),
                    Line(lambda moment: moment.stats.leaving, colour(0)),
                ],
            ),
            Panel("frames in a batch", [Line(lambda moment: moment.batch, colour(2))]),
            Panel(
                "latency, ms: p50, p95, p99",
                [latency("p50", ":"), latency("p95", "--"), latency("p99", "-")],
                limit=None if objective is None else objective * 1e3,
            ),
            Panel(
                "waiting, and dropped since the reading before",
                [
                    Line(lambda moment: moment.stats.waiting + moment.stats.ready, colour(1)),
                    Line(lambda moment: moment.dropped, ALERT, "--"),
                ],
            ),
        ],
        caption=lambda moment: _in_words(moment, objective),
        seconds=lambda moment, last: moment.seconds - last.seconds,
        scale=(-60, 0),
        xlabel="seconds until now",
    )


def live_digits(moments: Sequence[Moment], objective: float | None) -> Picture:
    """Draw the last readings of the live digits: load, batches, latency, queue and drops.

    Args:
        moments: Readings, in order.
        objective: Seconds that should not be exceeded, if there are any.

    Returns:
        A figure; its caption has the numbers of the latest reading.

    Raises:
        ValueError: If there is no reading.
    """
    dashboard = digits_dashboard(objective)
    dashboard.follow(moments)
    return dashboard.picture


def _in_words(moment: Moment, objective: float | None) -> str:
    stats = moment.stats
    verdict = ""
    if objective is not None and math.isfinite(stats.p99):
        held = "holds" if stats.p99 <= objective else "misses"
        verdict = f" ({held} the objective of {objective * 1e3:.0f})"
    return (
        f"{moment.seconds:.1f} s: set to {moment.rate:,.0f} frames/s, answering "
        f"{stats.leaving:,.0f}/s in batches of {moment.batch:.1f}; waiting "
        f"{stats.waiting + stats.ready}; p50 {stats.p50 * 1e3:.1f}, p95 {stats.p95 * 1e3:.1f}, "
        f"p99 {stats.p99 * 1e3:.1f} ms{verdict}; dropped {stats.counts.lost}; "
        f"right {100 * moment.accuracy:.0f} %"
    )
