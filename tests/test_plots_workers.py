import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import same_color

from dlkit.plots.style import STAGE_COLOURS, png
from dlkit.plots.workers import most_held, speedups, timeline, waited
from dlkit.workers.simulated import Journey, simulate

STRAGGLER = [0.02, 0.02, 0.1, 0.02, 0.02, 0.02]


def bars(figure, stage):
    """(row, from, until) of each bar of a stage, in milliseconds."""
    (found,) = (
        shape
        for shape in figure.axes[0].collections
        if isinstance(shape, PolyCollection)
        and same_color(shape.get_facecolor()[0], STAGE_COLOURS[stage])
    )
    corners = [path.vertices for path in found.get_paths()]
    return sorted(
        (round(c[:, 1].mean()), round(c[:, 0].min()), round(c[:, 0].max()))
        for c in (vertices[:4] for vertices in corners)
    )


def test_bars_stand_where_and_when_the_batches_were():
    figure = timeline(simulate(STRAGGLER[:4], workers=2, step=0.01))
    assert bars(figure, "fetch") == [(0, 0, 20), (0, 20, 120), (1, 0, 20), (1, 20, 40)]
    assert bars(figure, "compute") == [(2, 20, 30), (2, 30, 40), (2, 120, 130), (2, 130, 140)]
    assert bars(figure, "wait") == [(2, 0, 20), (2, 40, 120)]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["worker 0", "worker 1", "training"]
    assert [text.get_text() for text in figure.axes[0].texts] == [*"0123", *"0123"]


def test_lines_lead_from_ready_to_delivered_for_what_lay_ready():
    journeys = simulate(STRAGGLER, workers=2, step=0.01)
    (lines,) = (c for c in timeline(journeys).axes[0].collections if type(c) is LineCollection)
    ends = [(round(a[0]), round(b[0])) for a, b in lines.get_segments()]
    assert ends == [(20, 30), (40, 130), (60, 150)]  # batches 1, 3 and 5


def test_without_workers_the_training_loop_fetches():
    figure = timeline(simulate([0.02, 0.02], workers=0, step=0.01))
    assert bars(figure, "fetch") == [(0, 0, 20), (0, 30, 50)]
    assert bars(figure, "compute") == [(0, 20, 30), (0, 50, 60)]
    assert figure.caption.endswith(
        "takes 60 ms, of which training waits 40; most batches held ready: 0"
    )
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert names == ["fetch", "compute"]


def test_the_caption_tells_order_waiting_and_what_lay_ready():
    assert timeline(simulate(STRAGGLER, workers=2, step=0.01)).caption == (
        "delivered: 0 1 2 3 4 5; the epoch takes 160 ms, of which training waits 100; "
        "most batches held ready: 2"
    )
    journeys = simulate(STRAGGLER, workers=2, step=0.01, in_order=False)
    assert timeline(journeys).caption.startswith("delivered: 0 1 3 5 2 4; the epoch takes 150 ms")


def test_waiting_and_lying_ready_are_counted_by_hand():
    journeys = [
        Journey(0, 0, 0, 0, 5, 5, 6),
        Journey(1, 1, 6, 0, 1, 6, 7),
        Journey(2, 1, 7, 1, 2, 7, 8),
    ]
    assert waited(journeys) == 5
    assert most_held(journeys) == 2
    assert most_held([Journey(n, 0, n, n, n + 1, n + 1, n + 1) for n in range(3)]) == 0


def test_gains_are_relative_to_the_first_way():
    rates = {"a": {"none": 100.0, "t": 150.0, "p": 50.0}, "b": {"none": 10.0, "t": 10.0, "p": 30.0}}
    figure = speedups(rates)
    heights = {
        bars.get_label(): [bar.get_height() for bar in bars] for bars in figure.axes[0].containers
    }
    assert heights == {"t": [1.5, 1.0], "p": [0.5, 3.0]}
    assert (
        figure.caption
        == "speed relative to none, for 2 kinds of work (a, b) and 2 other ways (t, p)"
    )
    assert len(png(figure)) > 5000


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="at least one batch"):
        timeline([])
    for rates in ({}, {"a": {"none": 1.0}}, {"a": {"x": 1.0, "y": 1.0}, "b": {"x": 1.0}}):
        with pytest.raises(ValueError, match="the same ways, two or more"):
            speedups(rates)
