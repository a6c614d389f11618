import math

import pytest

from dlkit.lab import StorageExplorer
from dlkit.plots.storage import OTHERWISE, QUESTIONS, decision, format_rates, growth, hit_curves
from dlkit.plots.style import png
from dlkit.storage import FORMATS
from dlkit.storage.throughput import Throughput, bytes_on_disk, measure, write_all

RATES = {"arrow": {"in order": 4e5, "shuffled": 2e5}, "tar": {"in order": 3e4, "shuffled": 1e3}}


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].lines}


def test_a_mark_stands_at_each_rate_and_beside_it_the_number():
    figure = format_rates(RATES)
    assert lines(figure)["in order"].get_xdata().tolist() == [4e5, 3e4]
    assert lines(figure)["shuffled"].get_xdata().tolist() == [2e5, 1e3]
    assert [text.get_text() for text in figure.axes[0].texts] == ["400 k", "30 k", "200 k", "1.0 k"]
    assert figure.axes[0].get_xscale() == "log"
    assert "400" not in figure.caption
    assert "arrow 400 k, tar 30 k" in format_rates(RATES, measured=True).caption


def test_a_hit_curve_goes_through_its_points():
    figure = hit_curves({"lru": {1.0: 1.0, 0.5: 0.1}})
    assert lines(figure)["lru"].get_xdata().tolist() == [0.5, 1.0]
    assert lines(figure)["lru"].get_ydata().tolist() == [0.1, 1.0]


def test_growth_is_what_came_after_the_first_batch():
    figure = growth({"list": [10.0, 12.0], "packed": [10.0, 10.0]}, batch_size=5)
    assert [line.get_ydata().tolist() for line in figure.axes[0].lines] == [[0, 2], [0, 0]]
    assert figure.axes[0].lines[0].get_xdata().tolist() == [5, 10]


def test_the_decision_names_every_format_once():
    named = [format for _, format in QUESTIONS[1:]] + [OTHERWISE]
    assert sorted([*named, "pickle"]) == sorted(FORMATS)
    texts = " ".join(text.get_text() for text in decision().axes[0].texts)
    assert all(name in texts for name in FORMATS)


@pytest.mark.parametrize("draw", [format_rates, hit_curves, lambda x: growth(x, batch_size=1)])
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(ValueError, match="must give"):
        draw({})


def test_pictures_are_not_blank():
    for figure in (format_rates(RATES), decision(), hit_curves({"lru": {0.5: 1.0}})):
        assert len(png(figure)) > 5000


def test_every_format_is_written_and_measured(tmp_path):
    stored = write_all([(i, "x" * i) for i in range(20)], tmp_path)
    assert list(stored) == list(FORMATS)
    assert all(bytes_on_disk(one) >= 20 for one in stored.values())
    index = (tmp_path / "data.tfindex").stat().st_size
    record = (tmp_path / "data.tfrecord").stat().st_size
    assert bytes_on_disk(stored["tfrecord"]) == record + index
    assert bytes_on_disk(stored["arrow"]) == (tmp_path / "data.arrow").stat().st_size
    found = measure(stored, batch_size=4, samples=8, workers=(0, 1), repeats=1)
    assert len(found) == len(FORMATS) * 2 * 2
    assert all(one.samples_per_second > 0 for one in found)


def test_the_explorer_follows_every_control():
    measured = {
        record: [
            Throughput(format, order, workers, rate * (workers + 1) * scale)
            for format, rate in (("arrow", 1000.0), ("tar", 10.0))
            for order, scale in (("in order", 2), ("shuffled", 1))
            for workers in (0, 2)
        ]
        for record, rate in (("small", 0), ("large", 0))
    }
    measured["large"] = [Throughput(o.format, o.order, o.workers, 7.0) for o in measured["large"]]
    explorer = StorageExplorer(measured)
    assert "(in order): arrow 2.0 k, tar 20" in explorer.text.value
    explorer.controls["order"].value = "shuffled"
    assert "(shuffled): arrow 1.0 k, tar 10" in explorer.text.value
    explorer.controls["workers"].value = 2
    assert "arrow 3.0 k, tar 30" in explorer.text.value
    explorer.controls["record"].value = "large"
    assert "arrow 7, tar 7" in explorer.text.value
    assert math.isclose(explorer.picture.axes[0].lines[0].get_xdata()[0], 7.0)
    with pytest.raises(ValueError, match="must hold a measurement"):
        StorageExplorer({})
