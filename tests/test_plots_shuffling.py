import numpy as np
import pytest

from dlkit.mixing import mixing
from dlkit.plots.shuffling import accuracy_by_order, batch_classes, displacements
from dlkit.plots.style import png


def test_points_are_position_against_index_and_titles_give_the_mixing():
    order = np.random.default_rng(0).permutation(200)
    figure = displacements({"none": range(200), "full": order})
    points = [axes.collections[0].get_offsets().tolist() for axes in figure.axes]
    assert points[0] == [[k, k] for k in range(200)]
    assert points[1] == [[k, index] for k, index in enumerate(order)]
    assert f"{mixing(order):.2f}" in figure.axes[1].get_title(loc="left")
    assert f"full {mixing(order):.2f}" in figure.caption


def test_bars_stack_to_the_shares_of_each_batch():
    shares = np.array([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]])
    figure = batch_classes({"plain": shares}, ["common", "rare"])
    common, rare = figure.axes[0].containers
    assert [bar.get_height() for bar in common] == shares[:, 0].tolist()
    assert [bar.get_y() for bar in rare] == shares[:, 0].tolist()
    assert [bar.get_height() for bar in rare] == shares[:, 1].tolist()
    assert figure.caption == "share of 'rare' in a batch: plain 0% to 75%"


def test_curves_are_drawn_as_given():
    figure = accuracy_by_order({"sorted": [0.1, 0.2], "shuffled": [0.8, 0.9]}, 0.1)
    curves = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert curves["sorted"] == [0.1, 0.2]
    assert curves["shuffled"] == [0.8, 0.9]
    assert len(png(figure)) > 5000


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="at least one order"):
        displacements({})
    with pytest.raises(ValueError, match="at least one curve"):
        accuracy_by_order({}, 0.1)
    with pytest.raises(ValueError, match=r"shape \[batches, 1\]"):
        batch_classes({"plain": np.ones((2, 3))}, ["a"])
