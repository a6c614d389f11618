import statistics

import pytest
import torch

from dlkit.plots.augmentation import accuracy_bars, cost_bars, version_grid
from dlkit.plots.style import png
from dlkit.transforms import TransformCost

RUNS = {
    "none": [0.90, 0.91, 0.86],
    "moved, turned": [0.93, 0.95, 0.94],
    "mirrored": [0.8, 0.9, 0.7],
}


def test_each_run_and_the_mean_stand_at_their_accuracy():
    axes = accuracy_bars(RUNS).axes[0]
    dots, means = axes.lines[::4], axes.lines[1::4]  # between them, the two caps of an error bar
    for runs, dot, mean in zip(RUNS.values(), dots, means, strict=True):
        assert dot.get_xdata() == pytest.approx([100 * run for run in runs])
        assert mean.get_xdata() == pytest.approx([100 * statistics.mean(runs)])
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(RUNS)


def test_an_error_bar_is_one_standard_deviation_to_either_side():
    for runs, container in zip(RUNS.values(), accuracy_bars(RUNS).axes[0].containers, strict=True):
        (bar,) = container.lines[2]
        left, right = bar.get_segments()[0][:, 0]
        assert (right - left) / 2 == pytest.approx(100 * statistics.stdev(runs))
        assert (right + left) / 2 == pytest.approx(100 * statistics.mean(runs))


def test_the_title_says_by_how_many_points_the_others_differ_from_the_first():
    title = accuracy_bars(RUNS).axes[0].get_title(loc="left")
    assert title == "Percentage points against none: moved, turned +5.0; mirrored \u22129.0"
    assert accuracy_bars({"none": [0.5]}).axes[0].get_title(loc="left") == "none: 50.0 %"


def test_one_run_has_no_spread():
    assert accuracy_bars({"none": [0.5]}).caption.endswith("none 50.0 % (0.0)")


@pytest.mark.parametrize("draw", [accuracy_bars, cost_bars])
def test_all_words_of_a_picture_lie_inside_it(draw):
    costs = [TransformCost("RandomPerspective", 9e-5, 0.9), TransformCost("Normalize", 1e-5, 0.1)]
    figure = draw(RUNS if draw is accuracy_bars else costs)
    figure.canvas.draw()
    axes = figure.axes[0]
    words = [axes.title, axes._left_title, axes.xaxis.label, *axes.texts, *axes.get_yticklabels()]
    for text in words:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
    assert len(png(figure)) > 5000


def test_a_bar_is_as_long_as_its_step_takes():
    axes = cost_bars([TransformCost("Blur", 3e-5, 0.75), TransformCost("Flip", 1e-5, 0.25)]).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([30, 10])
    assert [text.get_text() for text in axes.texts] == ["30 µs, 75 %", "10 µs, 25 %"]
    assert axes.get_title(loc="left") == "Blur takes 75 % of the pipeline"


def test_a_grid_holds_the_pixels_of_each_version_in_its_row():
    low, high = torch.zeros(3, 4, 4, dtype=torch.uint8), torch.full((3, 4, 4), 255).byte()
    figure = version_grid([[low, high], [high, low]])
    shown = [float(axes.images[0].get_array().max()) for axes in figure.axes]
    assert shown == [0, 1, 1, 0]
    assert figure.caption == "2 samples, 1 version of each; 0 of 2 versions equal their original"


def test_a_grid_cuts_off_what_lies_outside_of_0_to_1_and_leaves_gaps_in_short_rows():
    image = torch.tensor([[[-1.0, 0.25], [0.5, 2.0]]])
    figure = version_grid([[image, image], [image]])
    assert figure.axes[0].images[0].get_array().tolist() == [[0, 0.25], [0.5, 1]]
    assert not figure.axes[3].images


def test_pictures_refuse_what_they_cannot_draw():
    with pytest.raises(ValueError, match="rows must hold"):
        version_grid([])
    with pytest.raises(ValueError, match=r"\[1 or 3, H, W\]"):
        version_grid([[torch.zeros(2, 4, 4)]])
    with pytest.raises(ValueError, match="costs must hold"):
        cost_bars([])
    with pytest.raises(ValueError, match="accuracies must hold"):
        accuracy_bars({"plain": []})
    with pytest.raises(ValueError, match="from 0 to 1, but 'plain' has"):
        accuracy_bars({"plain": [95.0]})
