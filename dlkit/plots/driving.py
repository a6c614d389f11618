"""Pictures of the drive: aligned sensors, what a tolerance costs, policies, and the live ride."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dlkit.live.driving import Overload, Tolerance
from dlkit.live.ride import RideMoment
from dlkit.live.road import DANGER, LONGEST, Drive, danger, gap
from dlkit.plots.dashboard import Dashboard, Line, Panel
from dlkit.plots.style import ALERT, FAINT, INK, MUTED, Picture, colour, new_figure, tidy
from dlkit.streaming import Sample

DOTS = {"marker": "o", "markersize": 3}


def policies(results: Sequence[Overload]) -> Picture:
    """Draw what each back-pressure policy loses, how late it is, and when it learns of a danger.

    Args:
        results: One of each policy.

    Returns:
        A figure; its caption has the numbers.

    Raises:
        ValueError: If there is nothing to draw.
    """
    if not results:
        raise ValueError("results must hold at least one policy, got none")
    told = [
        f"{one.policy}: {one.counts.lost} of {one.counts.produced} dropped, p99 {one.p99:.2f} s, "
        f"danger told after {one.reaction:.2f} s"
        for one in results
    ]
    figure = new_figure(9, 2.4, caption="; ".join(told))
    names = [one.policy for one in results]
    for place, (title, values, form) in enumerate(
        (
            (
                "samples dropped, %",
                [100 * o.counts.lost / o.counts.produced for o in results],
                "{:.0f}",
            ),
            ("p99 latency, s", [one.p99 for one in results], "{:.2f}"),
            ("danger told after, s", [one.reaction for one in results], "{:.2f}"),
        )
    ):
        axes = tidy(figure.add_subplot(1, 3, place + 1), title=title)
        finite = [value if math.isfinite(value) else 0.0 for value in values]
        axes.barh(names, finite, color=colour(place), height=0.62)
        for row, value in enumerate(values):
            text = form.format(value) if math.isfinite(value) else "never"
            axes.annotate(
                text, (finite[row], row), xytext=(3, 0), textcoords="offset points", va="center",
                fontsize=9, color=INK,
            )  # fmt: skip
        axes.set_xlim(0, max([*finite, 1e-9]) * 1.22)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0, labelcolor=INK, labelleft=place == 0)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
    return figure


def tolerances(results: Sequence[Tolerance]) -> Picture:
    """Draw what a tolerance keeps, how long it waits, and how wrong its samples are.

    Args:
        results: One of each tolerance, ascending.

    Returns:
        A figure; its caption has the numbers of the first and the last one.

    Raises:
        ValueError: If there is nothing to draw.
    """
    if not results:
        raise ValueError("results must hold at least one tolerance, got none")
    told = [
        f"{one.seconds * 1e3:.0f} ms keeps {100 * one.kept:.0f} % of the samples, waits "
        f"{one.wait99 * 1e3:.0f} ms for 99 % of them, and is {one.error * 100:.0f} cm wrong"
        for one in (results[0], results[-1])
    ]
    figure = new_figure(9, 2.8, caption="; ".join(told))
    at = [one.seconds * 1e3 for one in results]
    waits = [one.wait99 * 1e3 for one in results]
    for place, (label, values) in enumerate(
        (
            ("samples kept, %", [100 * one.kept for one in results]),
            ("p99 of the wait, ms", waits),
            ("error of the gap, cm", [100 * one.error for one in results]),
        )
    ):
        axes = tidy(
            figure.add_subplot(1, 3, place + 1), title=label, xlabel="tolerance, ms", grid="y"
        )
        axes.plot(at, values, color=colour(place), marker="o", linewidth=2)
        finite = [value for value in values if math.isfinite(value)]
        axes.set_ylim(0, 1.08 * max([*finite, 1e-9]))
    return figure


def alignment(drive: Drive, samples: Sequence[Sample], start: float, end: float) -> Picture:
    """Draw the items of all sensors over time, and lines between those that make a sample.

    Args:
        drive: What was recorded.
        samples: What was made of it; their stamps are corrected for the clocks.
        start: First second that is shown.
        end: Last second.

    Returns:
        A figure; its caption counts items and samples.
    """
    sensors = ("camera", "lidar", "imu")
    shown = [sample for sample in samples if start <= sample.stamp <= end]
    inside = {
        name: [item.stamp for _, item in drive.of(name) if start <= item.stamp <= end]
        for name in sensors
    }
    counts = ", ".join(f"{len(stamps)} of the {name}" for name, stamps in inside.items())
    caption = f"items by their own clocks: {counts}; {len(shown)} samples"
    figure = new_figure(9, 2.4, caption=caption)
    axes = tidy(figure.add_subplot(), xlabel="time stamp, s")
    offsets = drive.offsets()
    for row, name in enumerate(sensors):
        axes.plot(inside[name], [row] * len(inside[name]), "|", color=colour(row), markersize=14,
                  markeredgewidth=1.6)  # fmt: skip
    for sample in shown:
        for row, name in enumerate(sensors[1:], 1):
            item = sample.items[name]
            if item is not None:
                begin = sample.stamp + offsets["camera"]
                axes.plot([begin, item.stamp + offsets[name]], [0, row], color=MUTED, linewidth=0.7,
                          alpha=0.8, zorder=0)  # fmt: skip
    alone = [
        stamp
        for stamp in inside["camera"]
        # Not by equality: taking the offset off and adding it again may change the last bit.
        if all(abs(stamp - offsets["camera"] - sample.stamp) > 1e-6 for sample in shown)
    ]
    axes.plot(alone, [0] * len(alone), "x", color=ALERT, markersize=7, label="in no sample")
    axes.set_yticks(range(len(sensors)), sensors)
    axes.set_ylim(len(sensors) - 0.6, -0.6)
    axes.set_xlim(start, end)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    if alone:
        axes.legend(frameon=False, fontsize=9, loc="lower right", bbox_to_anchor=(1, 1))
    return figure


def ride_dashboard(drive: Drive) -> Dashboard[RideMoment]:
    """Return the picture that follows a ride: the gap, what is late, what is lost.

    Args:
        drive: What is driven.
    """
    dashboard: Dashboard[RideMoment] = Dashboard(
        [
            Panel(
                "gap, m: true (grey), as answered",
                [
                    Line(lambda moment: max(gap(moment.seconds), 0.0), MUTED),
                    Line(lambda moment: moment.gap, colour(0), options=DOTS),
                ],
                top=60,
            ),
            Panel(
                "ms behind the road; dotted: waiting for sensors",
                [
                    Line(lambda moment: moment.behind * 1e3, colour(0)),
                    Line(lambda moment: moment.waited * 1e3, colour(2), ":"),
                ],
            ),
            Panel(
                "camera frames in a sample, %",
                [Line(lambda moment: moment.kept * 100, colour(2))],
                top=105,
            ),
            Panel(
                "waiting, and dropped since the reading before",
                [
                    Line(lambda moment: moment.stats.waiting, colour(1)),
                    Line(lambda moment: moment.dropped, ALERT, "--"),
                ],
            ),
        ],
        caption=_ride_in_words,
        seconds=lambda moment, _last: moment.seconds,
        scale=(0, drive.seconds + 1.0),  # the last answers come after its end
        xlabel="seconds of the road",
    )
    if (begins := danger()) < drive.seconds:
        distance = dashboard.axes[0]
        distance.axvspan(begins, LONGEST, color=FAINT, zorder=0, linewidth=0)
        distance.annotate("danger", (begins, 1), (-3, -11), xycoords=("data", "axes fraction"),
                          textcoords="offset points", color=ALERT, fontsize=9,
                          ha="right")  # fmt: skip
    return dashboard


def live_driving(moments: Sequence[RideMoment], drive: Drive) -> Picture:
    """Draw the readings of a ride: the gap, what is late, what is lost.

    Args:
        moments: Readings, in order.
        drive: What is driven.

    Returns:
        A figure; its caption has the numbers of the latest reading.

    Raises:
        ValueError: If there is no reading.
    """
    dashboard = ride_dashboard(drive)
    dashboard.follow(moments)
    return dashboard.picture


def _ride_in_words(moment: RideMoment) -> str:
    stats = moment.stats
    lost = f"{moment.unmatched} frames in no sample, {stats.counts.lost} samples dropped"
    if math.isnan(moment.stamp):
        return f"second {moment.seconds:.1f}: no answer yet; {lost}"
    brake = ", BRAKE" if moment.collision < DANGER else ""
    alarms = f"{moment.alarms} alarm{'' if moment.alarms == 1 else 's'}"
    return (
        f"second {moment.seconds:.1f}: answering for second {moment.stamp:.2f}, "
        f"{moment.behind * 1e3:.0f} ms behind; gap {moment.gap:.1f} m, seconds to collision "
        f"{moment.collision:.1f}{brake}; {alarms}; {stats.leaving:.0f} samples/s, "
        f"waiting {stats.waiting}; {lost}"
    )
