"""The picture of a run beside its prediction, on one time axis."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch

from dlkit.plots.style import INK, MUTED, STAGE_COLOURS, Picture, new_figure, tidy
from dlkit.plots.workers import waited
from dlkit.workers.simulated import Journey

LEFT, RIGHT, BELOW, ABOVE, ROW = 0.95, 0.25, 0.55, 0.75, 0.62  # inches
HALF = 0.36  # of a row: how high the bars of one of the two are
SHOWN = ("fetch", "compute", "wait")


def predicted_and_real(
    predicted: Sequence[Journey], real: Sequence[Journey], workers: int
) -> Picture:
    """Draw a row for each worker and one for the training loop, the prediction above the run.

    Args:
        predicted: Batches in the order in which they would be delivered.
        real: Those that have been delivered so far, in their order; none before a run.
        workers: How many share the batches; 0 fetches in the training loop.

    Returns:
        A figure whose height does not change while batches come in; its caption has the times.

    Raises:
        ValueError: If nothing was predicted.

    >>> from dlkit.workers.simulated import simulate
    >>> predicted_and_real(simulate([0.03, 0.01], 2, step=0.01), [], 2).caption
    'predicted: 2 batches in 50 ms, training waits 30 ms; not run yet'
    """
    if not predicted:
        raise ValueError("predicted must hold at least one batch, got none")
    caption = f"predicted: {_told(predicted)}; {_run(predicted, real)}"
    rows = workers + 1
    width, height = 9.0, BELOW + ABOVE + ROW * rows
    figure = new_figure(width, height, caption=caption, fixed=True)
    box = (LEFT / width, BELOW / height, 1 - (LEFT + RIGHT) / width, ROW * rows / height)
    axes = tidy(figure.add_axes(box), xlabel="milliseconds")
    end = max(journey.used for journey in [*predicted, *real])
    axes.set_xlim(0, max(end * 1e3, 1.0) * 1.02)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_yticks(range(rows), [*(f"worker {n}" for n in range(workers)), "training"])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    for journeys, top, strength in ((predicted, -HALF, 0.45), (real, 0.0, 1.0)):
        for stage in SHOWN:
            shapes = [
                _corners(row, start, stop, top)
                for row, start, stop in _bars(journeys, stage, training=rows - 1)
            ]
            shade = to_rgba(STAGE_COLOURS[stage], strength)
            axes.add_collection(PolyCollection(shapes, facecolors=[shade], edgecolors="white"))
    for row in range(rows):
        axes.axhline(row, color=MUTED, linewidth=0.4)
    axes.set_title(_title(predicted, real), loc="left", fontsize=11, color=INK, pad=24)
    stages = [name for name in SHOWN if workers or name != "wait"]
    handles = [Patch(color=STAGE_COLOURS[name], label=name) for name in stages]
    handles += [Patch(color=to_rgba(MUTED, 0.4), label="above: predicted")]
    handles += [Patch(color=MUTED, label="below: the run")]
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=5, frameon=False, fontsize=9
    )
    return figure


def _bars(journeys: Sequence[Journey], stage: str, training: int) -> list[tuple[int, float, float]]:
    """Row, start and end of each bar of a stage."""
    bars = []
    for j in journeys:
        row = training if j.worker is None else j.worker
        if stage == "fetch":
            bars.append((row, j.started, j.ready))
        elif stage == "compute":
            bars.append((training, j.delivered, j.used))
        elif j.worker is not None:
            bars.append((training, j.asked, j.delivered))
    return [bar for bar in bars if bar[2] > bar[1]]


def _corners(row: int, start: float, end: float, top: float) -> list[tuple[float, float]]:
    left, right, upper = start * 1e3, end * 1e3, row + top
    return [(left, upper), (left, upper + HALF), (right, upper + HALF), (right, upper)]


def _told(journeys: Sequence[Journey]) -> str:
    took, lost = journeys[-1].used, waited(journeys)
    return f"{len(journeys)} batches in {took * 1e3:.0f} ms, training waits {lost * 1e3:.0f} ms"


def _run(predicted: Sequence[Journey], real: Sequence[Journey]) -> str:
    if not real:
        return "not run yet"
    return f"{'run' if len(real) == len(predicted) else 'so far'}: {_told(real)}"


def _title(predicted: Sequence[Journey], real: Sequence[Journey]) -> str:
    expected = predicted[-1].used * 1e3
    if not real:
        return f"{expected:.0f} ms are predicted for {len(predicted)} batches"
    if len(real) < len(predicted):
        return f"{expected:.0f} ms are predicted; {len(real)} of {len(predicted)} batches are here"
    return f"{expected:.0f} ms were predicted, {real[-1].used * 1e3:.0f} ms were needed"
