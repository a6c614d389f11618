"""Pictures of a profile hold its figures, where they belong, at two workers and at many."""

import itertools

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import same_color

from dlkit.diagnose.usage import MemoryPoint
from dlkit.plots.profiling import latencies, memory, stage_bars, timeline, wait_share
from dlkit.plots.style import STAGE_COLOURS, png
from dlkit.trace.spans import LOOP, RECORD, STAGES

MS = 1_000_000


def spans(*rows, epoch=0):
    """Records of (stage, worker, batch, from, until), times in milliseconds."""
    records = np.zeros(len(rows), dtype=RECORD)
    records["index"] = records["cpu"] = -1
    records["epoch"] = epoch
    for record, (stage, worker, batch, start, end) in zip(records, rows, strict=True):
        record["stage"], record["worker"] = STAGES.index(stage), worker
        record["batch"], record["start"], record["end"] = batch, start * MS, end * MS
    return records


TWO_WORKERS = spans(
    ("wait", LOOP, 0, 100, 130),
    ("fetch", 0, 0, 100, 120),
    ("collate", 0, 0, 120, 125),
    ("fetch", 1, 1, 100, 150),
    ("compute", LOOP, 0, 130, 140),
    ("wait", LOOP, 1, 140, 155),
    ("compute", LOOP, 1, 155, 160),
)


def bars(figure, stage):
    """(row, from, until) of each bar of a stage, in milliseconds; waits are hatched."""
    (found,) = (
        shape
        for shape in figure.axes[0].collections
        if isinstance(shape, PolyCollection)
        and bool(shape.get_hatch()) == (stage == "wait")
        and (stage == "wait" or same_color(shape.get_facecolor()[0], STAGE_COLOURS[stage]))
    )
    corners = [path.vertices[:4] for path in found.get_paths()]
    return sorted(
        (round(c[:, 1].mean()), round(c[:, 0].min()), round(c[:, 0].max())) for c in corners
    )


def many_workers(count=32, batches=3):
    rows = [
        ("fetch", w, b * count + w, 10 * b, 10 * b + 8)
        for w in range(count)
        for b in range(batches)
    ]
    rows += [("wait", LOOP, 0, 0, 9), ("compute", LOOP, 0, 9, 30)]
    return spans(*rows)


def test_each_span_is_a_bar_in_the_row_of_who_did_it():
    figure = timeline(TWO_WORKERS)
    assert bars(figure, "fetch") == [(0, 0, 20), (1, 0, 50)]
    assert bars(figure, "collate") == [(0, 20, 25)]
    assert bars(figure, "compute") == [(2, 30, 40), (2, 55, 60)]
    assert bars(figure, "wait") == [(2, 0, 30), (2, 40, 55)]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["worker 0", "worker 1", "training"]
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["fetch", "collate", "wait", "compute"]
    assert figure.caption == (
        "3 rows (worker 0, worker 1, training), 60.0 ms of which training waited 75%"
    )


def test_the_title_speaks_of_training_where_there_is_a_step():
    assert "Training waits" in timeline(TWO_WORKERS).texts[0].get_text()
    only_loading = TWO_WORKERS[TWO_WORKERS["stage"] != STAGES.index("compute")]
    assert "no training step" in timeline(only_loading).texts[0].get_text()


def test_the_end_of_a_run_can_be_drawn_alone():
    figure = timeline(TWO_WORKERS, seconds=0.02)
    assert figure.axes[0].get_xlim() == (0, 20)
    assert bars(figure, "wait") == [(1, 0, 15)]  # worker 0 did nothing any more
    assert "training waited 75%" in figure.caption
    with pytest.raises(ValueError, match="seconds must be positive"):
        timeline(TWO_WORKERS, seconds=0)


def test_the_longest_pass_is_drawn_and_not_one_that_was_only_begun():
    begun = spans(("wait", LOOP, 0, 900, 950), ("compute", LOOP, 0, 950, 951), epoch=1)
    figure = timeline(np.concatenate([TWO_WORKERS, begun]))
    assert figure.axes[0].get_xlim() == (0, 60)


def test_a_row_for_each_of_many_workers_and_labels_that_do_not_overlap():
    figure = timeline(many_workers())
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        *(f"worker {number}" for number in range(32)),
        "training",
    ]
    assert len(bars(figure, "fetch")) == 3 * 32
    png(figure)  # what is drawn has a place
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(not upper.overlaps(lower) for upper, lower in itertools.pairwise(boxes))
    assert all(box.x0 >= 0 for box in boxes)


def test_the_share_of_waiting_has_a_bar_for_each_step():
    figure = wait_share(TWO_WORKERS)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == pytest.approx([30 / 40, 15 / 20])
    assert figure.axes[0].lines[0].get_ydata()[0] == pytest.approx(45 / 60)
    assert figure.caption == "2 steps; training waited 75% of the time"


def test_a_batch_without_a_step_is_no_step():
    last = spans(("wait", LOOP, 2, 160, 400))
    figure = wait_share(np.concatenate([TWO_WORKERS, last]))
    assert len(figure.axes[0].patches) == 2


def test_latencies_rise_to_one_over_the_sorted_times():
    figure = latencies({"fetch": [0.03, 0.01, 0.02, 0.04], "wait": [0.001]})
    fetch, wait = figure.axes[0].lines
    assert fetch.get_xdata().tolist() == [10, 20, 30, 40]
    assert fetch.get_ydata().tolist() == [0.25, 0.5, 0.75, 1]
    assert wait.get_ydata().tolist() == [1]
    assert fetch.get_color() == STAGE_COLOURS["fetch"]
    assert figure.axes[0].get_xscale() == "log"


def test_memory_has_a_line_for_each_process_in_megabytes():
    points = [
        MemoryPoint(0.0, -1, 90_000_000, 50_000_000),
        MemoryPoint(0.0, 0, 9_000_000, 4_000_000),
        MemoryPoint(0.5, -1, 90_000_000, 60_000_000),
        MemoryPoint(0.5, 0, 9_000_000, 8_000_000),
    ]
    figure = memory(points)
    worker, training = figure.axes[0].lines
    assert (worker.get_label(), list(worker.get_ydata())) == ("worker 0", [4, 8])
    assert (training.get_label(), list(training.get_ydata())) == ("training", [50, 60])
    assert list(worker.get_xdata()) == [0, 0.5]
    assert figure.axes[0].get_ylim() == (0, pytest.approx(66))  # the highest is not on the edge


def test_stage_bars_are_the_shares_and_the_title_names_the_dearest():
    figure = stage_bars({"sample": 0.0, "fetch": 0.7, "collate": 0.1, "compute": 0.2})
    axes = figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    shares = dict(zip(names, [bar.get_width() for bar in axes.patches], strict=True))
    assert shares == {"fetch": 0.7, "collate": 0.1, "compute": 0.2}
    assert axes.get_title(loc="left") == "Fetch is 70% of all work"
    assert [text.get_text() for text in axes.texts] == ["20%", "10%", "70%"]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: timeline(TWO_WORKERS[:0]), "at least one span"),
        (lambda: wait_share(TWO_WORKERS[:0]), "at least one wait"),
        (lambda: wait_share(TWO_WORKERS[:1]), "at least one batch that was computed on"),
        (lambda: latencies({}), "at least one duration"),
        (lambda: latencies({"fetch": []}), "at least one duration"),
        (lambda: memory([]), "at least one look"),
        (lambda: stage_bars({"fetch": 0.0}), "one above 0"),
    ],
)
def test_nothing_to_draw_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
