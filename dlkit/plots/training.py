"""Pictures of training: loss and errors over epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dlkit.plots.style import INK, PALETTE, Picture, new_figure, tidy
from dlkit.trainer.history import Row

_PARTS = (("train", PALETTE[1], "o"), ("val", PALETTE[0], "s"))


def learning_curves(history: Sequence[Row], *, held_out: str = "validation") -> Picture:
    """Draw loss and accuracy over epochs, for training and validation.

    Args:
        history: Rows with `epoch`, `train_loss`, and what there is of `val_loss`,
            `train_accuracy`, `val_accuracy`; a `History` is such a sequence.
        held_out: What the legend calls the samples behind the `val_` columns.

    Returns:
        A figure with a panel for the loss and, where there is an accuracy, one for the share of
        errors; the caption gives the last epoch's numbers. Errors are drawn rather than accuracy,
        because 99.0 % and 99.5 % look the same, and 1 % and 0.5 % do not.

    Raises:
        ValueError: If there is no epoch.

    >>> learning_curves([{"epoch": 1, "train_loss": 0.5, "val_loss": 0.6}]).caption
    'after epoch 1: train loss 0.5000, val loss 0.6000'
    """
    rows = list(history)
    if not rows:
        raise ValueError("history must hold at least one epoch, got none")
    panels = [
        kind for kind in ("loss", "accuracy") if any(_has(rows, part, kind) for part in _names())
    ]
    figure = new_figure(4.6 * len(panels), 3.2, caption=_last_numbers(rows))
    for axes, kind in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _curves(axes, rows, kind, held_out)
    return figure


def _names() -> list[str]:
    return [part for part, _, _ in _PARTS]


def _has(rows: Sequence[Row], part: str, kind: str) -> bool:
    return any(f"{part}_{kind}" in row for row in rows)


def _curves(axes: Axes, rows: Sequence[Row], kind: str, held_out: str) -> None:
    epochs = [row["epoch"] for row in rows]
    drawn: dict[str, list[float]] = {}
    for part, colour, marker in _PARTS:
        if not _has(rows, part, kind):
            continue
        values = [row.get(f"{part}_{kind}", math.nan) for row in rows]
        drawn[part] = values if kind == "loss" else [1 - value for value in values]
        # Markers show single epochs; from some thirty on they would hide the line.
        size = 4.5 if len(rows) <= 30 else 0
        label = "training" if part == "train" else held_out
        axes.plot(
            epochs, drawn[part], color=colour, marker=marker, markersize=size, label=label, lw=1.8
        )
    title = "Loss" if kind == "loss" else "Errors (1 - accuracy)"
    tidy(axes, title=title, xlabel="epoch", grid="y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    margin = max(0.5, 0.03 * (epochs[-1] - epochs[0]))
    axes.set_xlim(max(0.5, epochs[0] - margin), epochs[-1] + margin)
    _choose_scale(axes, drawn, kind)
    _mark_best(axes, epochs, drawn, kind)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _choose_scale(axes: Axes, drawn: dict[str, list[float]], kind: str) -> None:
    """Use a logarithmic scale where a linear one would press the later epochs onto the axis."""
    values = [v for series in drawn.values() for v in series if math.isfinite(v)]
    positive = [v for v in values if v > 0]

    def text(value: float, _position: int) -> str:
        return f"{value:.3g}" if kind == "loss" else f"{100 * value:.3g}%"

    if positive and max(positive) > 10 * min(positive):
        # Zero has no place on a logarithmic scale: it is drawn below the smallest value.
        axes.set_yscale("symlog", linthresh=min(positive) / 2, linscale=0.3)
        decades = [10.0**k for k in range(-8, 3)]
        ticks = [f * d for d in decades for f in (1, 2, 5)]
        low, high = min(positive) / 1.3, max(positive) * 1.3
        kept = [t for t in ticks if low <= t <= high]
        if len(kept) > 7:
            kept = [t for t in decades if low <= t <= high]
        axes.set_yticks([0.0, *kept] if len(positive) < len(values) else kept)
        axes.set_ylim(bottom=0 if len(positive) < len(values) else low, top=high)
        axes.minorticks_off()
    else:
        axes.set_ylim(bottom=0, top=1.1 * max(positive, default=1.0))
    axes.yaxis.set_major_formatter(FuncFormatter(text))


def _mark_best(
    axes: Axes, epochs: Sequence[float], drawn: dict[str, list[float]], kind: str
) -> None:
    series = drawn.get("val")
    if series is None or len(series) < 2 or not any(map(math.isfinite, series)):
        return
    best = min((v, e) for v, e in zip(series, epochs, strict=True) if math.isfinite(v))
    number = f"{best[0]:.4f}" if kind == "loss" else f"{best[0]:.2%}"
    axes.plot(
        best[1],
        best[0],
        marker="o",
        markersize=11,
        color=PALETTE[0],
        fillstyle="none",
        lw=0,
        label=f"best: {number}, epoch {best[1]:g}",
    )


def _last_numbers(rows: Sequence[Row]) -> str:
    last = rows[-1]
    parts = []
    for kind in ("loss", "accuracy"):
        for part in _names():
            value = last.get(f"{part}_{kind}")
            if value is not None:
                number = f"{value:.4f}" if kind == "loss" else f"{value:.2%}"
                parts.append(f"{part} {kind} {number}")
    return f"after epoch {last['epoch']:g}: " + ", ".join(parts)
