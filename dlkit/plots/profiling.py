"""Pictures of a loader at work: who did what when, and how the times are spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from dlkit.diagnose.usage import MemoryPoint
from dlkit.plots.style import (
    FAINT,
    INK,
    MUTED,
    STAGE_COLOURS,
    STAGES,
    Picture,
    colour,
    new_figure,
    tidy,
)
from dlkit.trace.spans import LOOP, PIN, WHOLE, row_name

LEFT, RIGHT, BELOW, ABOVE = 0.95, 0.25, 0.55, 0.72  # inches
BAR = 0.7  # share of a row
_BATCHES = 40  # of the training loop, drawn unless told otherwise: more become a grey blur


def timeline(records: Any, seconds: float | None = None) -> Picture:
    """Draw a row for each worker and one for training, with the stages by colour, waits hatched.

    Args:
        records: spans, as `Trace.records` gives them.
        seconds: how much of the end of the run to draw; None for the first forty batches of the
            longest pass.

    Returns:
        A figure; its caption says how long it is, and how much of that training waited.

    Raises:
        ValueError: If there is no span of a whole batch.

    >>> from dlkit import DataLoader
    >>> loader = DataLoader(range(8), batch_size=4, trace=True)
    >>> batches = list(loader)
    >>> timeline(loader.trace.records()).caption  # doctest: +ELLIPSIS
    '1 row (training), ... of which training waited ...'
    """
    records = records[records["index"] == WHOLE]
    if not len(records):
        raise ValueError("records must hold at least one span of a batch, got none")
    begin, end = _window(records, seconds)
    shown = records[(records["end"] > begin) & (records["start"] < end)]
    workers = sorted({w for w in shown["worker"].tolist() if w >= 0})
    rows = [*workers, *(row for row in (PIN, LOOP) if row in set(shown["worker"].tolist()))]
    place = {worker: number for number, worker in enumerate(rows)}
    waited = _inside(shown[shown["stage"] == STAGES.index("wait")], begin, end)
    names = ", ".join(row_name(row) for row in rows[:3]) + (", ..." if len(rows) > 3 else "")
    share = waited / (end - begin) if end > begin else 0.0
    caption = (
        f"{len(rows)} row{'s' * (len(rows) > 1)} ({names}), {(end - begin) / 1e6:.1f} ms "
        f"of which training waited {share:.0%}"
    )
    row_inches = 0.5 if len(rows) <= 10 else 0.26
    width, height = 9.5, BELOW + ABOVE + row_inches * max(len(rows), 2)
    figure = new_figure(width, height, caption=caption, fixed=True)
    inner = row_inches * max(len(rows), 2)
    box = (LEFT / width, BELOW / height, 1 - (LEFT + RIGHT) / width, inner / height)
    axes = tidy(figure.add_axes(box), xlabel="milliseconds")
    axes.set_xlim(0, (end - begin) / 1e6)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [row_name(row) for row in rows])
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=9 if len(rows) <= 10 else 7)
    axes.grid(visible=True, axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    drawn = []
    # Waits first: what the training loop does meanwhile lies inside of them.
    for stage in ("wait", "compute", "sample", "fetch", "collate", "transfer"):
        spans = shown[shown["stage"] == STAGES.index(stage)]
        if not len(spans):
            continue
        drawn.append(stage)
        axes.add_collection(
            PolyCollection(
                [_box(span, place, begin) for span in spans],
                facecolors="white" if stage == "wait" else STAGE_COLOURS[stage],
                edgecolors=STAGE_COLOURS[stage] if stage == "wait" else "white",
                hatch="////" if stage == "wait" else None,
                linewidths=0.3,
                zorder=2 if stage == "wait" else 3,
            )
        )
    axes.legend(
        handles=[_legend(stage) for stage in STAGES if stage in drawn],
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=6,
        frameon=False,
        fontsize=9,
    )
    figure.text(
        LEFT / width,
        1 - 0.2 / height,
        f"Training waits {share:.0%} of this time"
        if "compute" in drawn
        else "Batches as fast as they come: no training step",
        fontsize=11,
        color=INK,
        va="center",
    )
    return figure


def _window(records: Any, seconds: float | None) -> tuple[int, int]:
    """Return when the drawing begins and ends: a pass's first batches, or the last seconds."""
    first, end = int(records["start"].min()), int(records["end"].max())
    waits = records[(records["worker"] == LOOP) & (records["stage"] == STAGES.index("wait"))]
    if seconds is not None:
        if seconds <= 0:
            raise ValueError(f"seconds must be positive or None, got {seconds!r}")
        return max(first, end - int(seconds * 1e9)), end
    if len(waits):
        # The pass that was watched longest, from its beginning.
        epochs, counts = np.unique(waits["epoch"], return_counts=True)
        longest = records[records["epoch"] == epochs[counts.argmax()]]
        of_loop = longest[longest["worker"] == LOOP]
        first, end = int(longest["start"].min()), int(of_loop["end"].max())
        asked = of_loop[of_loop["stage"] == STAGES.index("wait")]["start"]
        if len(asked) > _BATCHES:
            end = int(asked[_BATCHES])
    return first, max(end, first + 1)


def _inside(spans: Any, begin: int, end: int) -> float:
    """Return the nanoseconds of spans that lie between two moments."""
    if not len(spans):
        return 0.0
    return float((np.minimum(spans["end"], end) - np.maximum(spans["start"], begin)).sum())


def _box(span: Any, place: Mapping[int, int], begin: int) -> list[tuple[float, float]]:
    row = place[int(span["worker"])]
    left, right = (int(span["start"]) - begin) / 1e6, (int(span["end"]) - begin) / 1e6
    top, bottom = row - BAR / 2, row + BAR / 2
    return [(left, top), (left, bottom), (right, bottom), (right, top)]


def _legend(stage: str) -> Patch:
    if stage != "wait":
        return Patch(facecolor=STAGE_COLOURS[stage], label=stage)
    shade = STAGE_COLOURS[stage]
    return Patch(facecolor="white", edgecolor=shade, hatch="////", label=stage)


def wait_share(records: Any) -> Picture:
    """Draw for each step which share of it training waited.

    Args:
        records: spans, as `Trace.records` gives them.

    Raises:
        ValueError: If no batch was waited for.
    """
    records = records[(records["index"] == WHOLE) & (records["worker"] == LOOP)]
    waits = records[records["stage"] == STAGES.index("wait")]
    if not len(waits):
        raise ValueError("records must hold at least one wait of the training loop, got none")
    computes = records[records["stage"] == STAGES.index("compute")]
    lasted = {_key(span): int(span["end"] - span["start"]) for span in computes}
    waited = (waits["end"] - waits["start"]).astype(float)
    computed = np.array([lasted.get(_key(span), 0) for span in waits], dtype=float)
    used = computed > 0  # others were taken to see how long starting takes, or are the last
    waited, computed = waited[used], computed[used]
    if not len(waited):
        raise ValueError("records must hold at least one batch that was computed on, got none")
    share = waited / (waited + computed)
    mean = float(waited.sum() / max((waited + computed).sum(), 1))
    caption = f"{len(share)} steps; training waited {mean:.0%} of the time"
    figure = new_figure(8, 2.6, caption=caption)
    axes = tidy(
        figure.add_subplot(),
        title=f"Training waited {mean:.0%} of the time",
        xlabel="step",
        ylabel="share waiting",
        grid="y",
    )
    axes.bar(range(len(share)), share, width=1.0, color=STAGE_COLOURS["wait"], linewidth=0)
    axes.axhline(mean, color=INK, linewidth=1)
    axes.set_xlim(-0.5, len(share) - 0.5)
    axes.set_ylim(0, 1)
    return figure


def _key(span: Any) -> tuple[int, int]:
    return int(span["epoch"]), int(span["batch"])


def latencies(times: Mapping[str, Sequence[float]]) -> Picture:
    """Draw which share of the batches took at most how long, for each stage.

    Args:
        times: Stage to the seconds of its batches.

    Raises:
        ValueError: If a stage has no batch.

    >>> latencies({"fetch": [0.01, 0.02, 0.03]}).caption
    'fetch: half within 20.00 ms, 95% within 29.00 ms'
    """
    if not times or not all(len(values) for values in times.values()):
        raise ValueError("times must give at least one duration for each stage")
    words: list[str] = []
    figure = new_figure(8, 3)
    axes = tidy(figure.add_subplot(), xlabel="milliseconds", ylabel="share of batches", grid="both")
    for stage, values in times.items():
        ordered = np.sort(np.asarray(values)) * 1e3
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        half, most = np.percentile(ordered, (50, 95)).tolist()
        shade = STAGE_COLOURS.get(stage, colour(len(words)))
        words.append(f"{stage}: half within {half:.2f} ms, 95% within {most:.2f} ms")
        axes.step(np.maximum(ordered, 1e-3), share, where="post", color=shade, label=stage)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_title("How long batches take in each stage", loc="left", fontsize=11, color=INK)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    figure.caption = "; ".join(words)
    return figure


def memory(points: Sequence[MemoryPoint]) -> Picture:
    """Draw the memory that each process has for itself, over time.

    Args:
        points: Looks at the processes.

    Raises:
        ValueError: If there are none.

    >>> memory([MemoryPoint(0.0, 0, 5_000_000, 4_000_000)]).caption
    'worker 0: 4 to 4 MB of its own'
    """
    if not points:
        raise ValueError("points must hold at least one look at the memory, got none")
    figure = new_figure(8, 3)
    axes = tidy(figure.add_subplot(), xlabel="seconds", ylabel="MB of its own (USS)", grid="y")
    words = []
    workers = sorted({point.worker for point in points}, key=lambda worker: (worker < 0, worker))
    for number, worker in enumerate(workers):
        mine = [point for point in points if point.worker == worker]
        megabytes = [point.uss / 1e6 for point in mine]
        shade = MUTED if worker < 0 else colour(number)
        label = row_name(worker) if len(workers) <= 9 or worker in (-1, 0) else None
        axes.plot([p.seconds for p in mine], megabytes, color=shade, marker=".", label=label)
        words.append(f"{row_name(worker)}: {megabytes[0]:.0f} to {megabytes[-1]:.0f} MB of its own")
    axes.set_ylim(0, 1.1 * max(point.uss for point in points) / 1e6 or 1.0)
    axes.set_title("Memory of each process", loc="left", fontsize=11, color=INK)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    figure.caption = "; ".join(words[:8])
    return figure


def stage_bars(shares: Mapping[str, float]) -> Picture:
    """Draw the share of each stage in all work, waiting left out.

    Args:
        shares: Stage to its share, 0 to 1.

    Raises:
        ValueError: If there is no share above 0.

    >>> stage_bars({"fetch": 0.75, "compute": 0.25}).caption
    'fetch 75%, compute 25% of all work'
    """
    shown = {stage: share for stage, share in shares.items() if share > 0}
    if not shown:
        raise ValueError(f"shares must have one above 0, got {dict(shares)!r}")
    dearest = max(shown, key=lambda stage: shown[stage])
    caption = ", ".join(f"{stage} {share:.0%}" for stage, share in shown.items()) + " of all work"
    figure = new_figure(8, 0.9 + 0.36 * len(shown), caption=caption)
    axes = tidy(
        figure.add_subplot(),
        title=f"{dearest.capitalize()} is {shown[dearest]:.0%} of all work",
        xlabel="share",
        grid="x",
    )
    names = list(shown)[::-1]
    axes.barh(names, [shown[n] for n in names], color=[STAGE_COLOURS[n] for n in names], height=0.7)
    for row, name in enumerate(names):
        axes.text(shown[name] + 0.01, row, f"{shown[name]:.0%}", va="center", color=INK, fontsize=9)
    axes.set_xlim(0, 1.08)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    return figure
