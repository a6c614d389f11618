"""Pictures of what was predicted, beside what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from dlkit.diagnose.predict import Prediction
from dlkit.plots.style import INK, MUTED, Picture, colour, new_figure, tidy

AXES = {"num_workers": "workers", "batch_size": "samples in a batch"}
ENOUGH = 0.97  # of the best throughput: what more would bring is less than its uncertainty
MARKERS = "osD^vPX"  # shapes beside colours, for those who tell colours apart less well


class Compared(Protocol):
    """One setting with its predicted and measured samples/s."""

    @property
    def work(self) -> str:
        """What kind of work it was, for the legend."""

    @property
    def predicted(self) -> float:
        """Predicted samples/s."""

    @property
    def measured(self) -> float:
        """Measured samples/s."""


def throughput(
    curves: Mapping[str, Sequence[Prediction]],
    measured: Mapping[str, Mapping[int, float]] | None = None,
    along: str = "num_workers",
) -> Picture:
    """Draw throughput against workers or batch size, with the band of each prediction.

    Args:
        curves: For each label the predictions along the axis.
        measured: For some of these labels the measured samples/s by the value on the axis.
        along: `"num_workers"` or `"batch_size"`.

    Returns:
        A figure; its title says from where on more brings nothing, its caption has the numbers.

    Raises:
        ValueError: If there is nothing to draw, or `along` is another name.

    >>> from dlkit.diagnose.costs import Costs
    >>> from dlkit.diagnose.predict import predict
    >>> waits = Costs([0.01], 0.0, batch_size=4, step_seconds=[0.02], step_cores=0)
    >>> curve = [predict(waits, num_workers=n) for n in range(4)]
    >>> throughput({"batches of 4": curve}).caption
    'batches of 4: 0 67, 1 100, 2 199, 3 199 samples/s predicted; enough at 2 workers'
    """
    if along not in AXES:
        raise ValueError(f"along must be one of {tuple(AXES)}, got {along!r}")
    if not curves or not all(curves.values()):
        raise ValueError("curves must hold at least one prediction for each label, got none")
    measured = measured or {}
    unit = AXES[along]
    told, enough = [], {}
    figure = new_figure(7.5, 3.8)
    axes = tidy(figure.add_subplot(), xlabel=unit, ylabel="samples/s", grid="y")
    for place, (label, curve) in enumerate(curves.items()):
        rows = sorted(curve, key=lambda prediction: _place(prediction, along))
        x = [_place(prediction, along) for prediction in rows]
        y = [prediction.throughput for prediction in rows]
        shade = colour(place)
        axes.plot(x, y, color=shade, label=label, linewidth=1.8)
        low, high = [p.low for p in rows], [p.high for p in rows]
        axes.fill_between(x, low, high, color=shade, alpha=0.18, linewidth=0)
        runs = measured.get(label, {})
        axes.plot(list(runs), list(runs.values()), MARKERS[place % 7], color=shade, ms=6, mec="w")
        enough[label] = next(a for a, b in zip(x, y, strict=True) if b >= ENOUGH * max(y))
        numbers = ", ".join(f"{a} {b:.0f}" for a, b in zip(x, y, strict=True))
        ran = ", ".join(f"{a} {b:.0f}" for a, b in runs.items())
        told.append(
            f"{label}: {numbers} samples/s predicted{f'; {ran} measured' if ran else ''}; "
            f"enough at {enough[label]} {unit}"
        )
    places = sorted({_place(p, along) for curve in curves.values() for p in curve})
    if along == "batch_size":
        axes.set_xscale("log", base=2)
    axes.set_xticks(places, [str(value) for value in places])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    least, most = min(enough.values()), max(enough.values())
    where = f"{least}" if least == most else f"{least} to {most}"
    axes.set_title(f"Beyond {where} {unit}, little is gained", loc="left", fontsize=11, color=INK)
    axes.plot([], [], color=MUTED, linewidth=6, alpha=0.3, label="predicted, with its band")
    if any(measured.values()):
        axes.plot([], [], "o", color=MUTED, label="measured")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    figure.caption = "; ".join(told)
    return figure


def predicted_and_measured(points: Sequence[Compared]) -> Picture:
    """Draw each setting as a point, measured throughput across, predicted throughput up.

    Args:
        points: Settings, with `work`, `predicted` and `measured`.

    Returns:
        A figure with the diagonal and 25 % to both sides; its caption has the errors.

    Raises:
        ValueError: If there is no point.

    >>> from types import SimpleNamespace as Point
    >>> runs = [Point(work="wait", predicted=105.0, measured=100.0)]
    >>> predicted_and_measured(runs).caption
    '1 setting: the prediction is off by 5 % in the median, by 5 % at the 90th percentile'
    """
    if not points:
        raise ValueError("points must hold at least one setting, got none")
    errors = [abs(p.predicted / p.measured - 1) for p in points]
    median, worst = statistics.median(errors), float(np.quantile(errors, 0.9))
    caption = (
        f"{len(points)} setting{'s' * (len(points) > 1)}: the prediction is off by "
        f"{100 * median:.0f} % in the median, by {100 * worst:.0f} % at the 90th percentile"
    )
    figure = new_figure(6.4, 4.6, caption=caption)
    axes = tidy(
        figure.add_subplot(),
        title=f"Predictions are off by {100 * median:.0f} % in the median",
        xlabel="measured samples/s",
        ylabel="predicted samples/s",
        grid="both",
    )
    values = [value for p in points for value in (p.predicted, p.measured)]
    ends = np.array([min(values) / 1.4, max(values) * 1.4])
    axes.fill_between(ends, ends * 0.75, ends * 1.25, color=MUTED, alpha=0.15, linewidth=0)
    axes.plot(ends, ends, color=MUTED, linewidth=1)
    for place, work in enumerate(dict.fromkeys(p.work for p in points)):
        own = [p for p in points if p.work == work]
        axes.plot(
            [p.measured for p in own],
            [p.predicted for p in own],
            MARKERS[place % 7],
            color=colour(place),
            ms=6,
            mec="white",
            label=work,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.set_minor_formatter(NullFormatter())
    axes.plot([], [], color=MUTED, linewidth=8, alpha=0.3, label="within 25 %")
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    return figure


def _place(prediction: Prediction, along: str) -> int:
    return int(getattr(prediction.settings, along))
