"""Pictures of predictions and sweeps show the numbers that they were given."""

from types import SimpleNamespace

import pytest

from dlkit.diagnose.costs import Costs
from dlkit.diagnose.predict import predict
from dlkit.plots.prediction import predicted_and_measured, throughput
from dlkit.plots.style import png
from dlkit.plots.sweep import heat_map, lines, picture

COSTS = Costs([0.01], 0.0, batch_size=4, step_seconds=[0.02], step_cores=0.0)


def curve(along, values):
    return [predict(COSTS, **{along: value}, batches=24) for value in values]


def test_a_curve_and_its_band_go_through_the_predictions():
    rows = curve("num_workers", [0, 1, 2])
    axes = throughput({"fours": rows}, {"fours": {0: 60.0, 2: 180.0}}).axes[0]
    assert list(axes.lines[0].get_ydata()) == [p.throughput for p in rows]
    assert list(axes.lines[1].get_ydata()) == [60.0, 180.0]
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(min(p.low for p in rows))
    assert band[:, 1].max() == pytest.approx(max(p.high for p in rows))


def test_the_title_says_from_where_more_brings_nothing():
    picture = throughput({"fours": curve("num_workers", [3, 0, 1, 2])})
    assert picture.axes[0].get_title(loc="left") == "Beyond 2 workers, little is gained"
    assert "enough at 2 workers" in picture.caption


def test_batch_sizes_stand_on_a_logarithmic_axis_with_their_numbers():
    axes = throughput({"no worker": curve("batch_size", [1, 8, 64])}, along="batch_size").axes[0]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "8", "64"]


def test_each_setting_is_a_point_and_the_caption_has_the_errors():
    points = [
        SimpleNamespace(work=work, predicted=100.0 * (1 + error), measured=100.0)
        for work, error in (("wait", 0.1), ("wait", -0.2), ("CPU", 0.0))
    ]
    figure = predicted_and_measured(points)
    axes = figure.axes[0]
    assert list(axes.lines[1].get_ydata()) == pytest.approx([110.0, 80.0])
    assert "off by 10 % in the median, by 18 %" in figure.caption
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[:2] == ["wait", "CPU"]


ROWS = [
    {"num_workers": w, "batch_size": b, "throughput": None if (w, b) == (0, 8) else 10.0 * w + b}
    for w in (0, 1)
    for b in (4, 8)
]


def test_a_heat_map_has_a_cell_for_each_setting_and_frames_the_best():
    axes = heat_map(ROWS, "batch_size", "num_workers").axes[0]
    assert [text.get_text() for text in axes.texts] == ["4", "-", "14", "18"]
    assert axes.patches[-1].get_xy() == (0.5, 0.5)
    assert "best at num_workers=1, batch_size=8" in axes.get_title(loc="left")


def test_lines_leave_out_what_failed():
    axes = lines(ROWS, "num_workers", ["batch_size"]).axes[0]
    assert [list(line.get_ydata()) for line in axes.lines] == [[4.0, 14.0], [18.0]]


def test_the_picture_of_a_sweep_follows_how_many_settings_vary():
    assert picture(ROWS, ["num_workers", "batch_size"]).axes[0].images
    one = [row for row in ROWS if row["batch_size"] == 4]
    assert not picture(one, ["num_workers", "batch_size"]).axes[0].images
    three = [{**row, "m": m} for row in ROWS for m in ("process", "thread")]
    assert len(picture(three, ["num_workers", "batch_size", "m"]).axes[0].lines) == 4


@pytest.mark.parametrize(
    "draw",
    [
        lambda: throughput({}),
        lambda: throughput({"none": []}),
        lambda: throughput({"one": curve("num_workers", [0])}, along="speed"),
        lambda: predicted_and_measured([]),
        lambda: heat_map([{"a": 1, "b": 1, "throughput": None}], "a", "b"),
    ],
)
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(ValueError, match=r"got|must hold"):
        draw()


def test_all_of_them_render():
    for figure in (throughput({"one": curve("num_workers", [0])}), picture(ROWS, ["num_workers"])):
        assert len(png(figure)) > 4000
