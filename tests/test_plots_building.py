import random

import pytest

from dlkit.plots.building import deliveries, held_back, reorder_buffer
from dlkit.plots.style import colour, png


def orders():
    """Every kind of order: as drawn, reversed, and a hundred random ones."""
    for seed in range(100):
        numbers = list(range(seed % 12 + 1))
        random.Random(seed).shuffle(numbers)
        yield numbers
        yield sorted(numbers)
        yield sorted(numbers, reverse=True)


def simulated(arrivals):
    """Deliver as a reorder buffer does: the place of each delivery and the number held."""
    buffer, due, places, held = set(), 0, [], []
    for place, batch in enumerate(arrivals, start=1):
        buffer.add(batch)
        while due in buffer:
            buffer.remove(due)
            places.append(place)
            due += 1
        held.append(len(buffer))
    return places, held


def test_deliveries_are_those_of_a_buffer_that_is_filled_and_emptied():
    for arrivals in orders():
        assert (deliveries(arrivals), held_back(arrivals)) == simulated(arrivals), arrivals


def test_dots_stand_where_batches_arrive_and_arrows_where_they_are_delivered():
    arrivals = [1, 3, 5, 0, 2, 4, 6]
    axes = reorder_buffer(arrivals, workers=2).axes[0]
    bars, dots = axes.collections[1], axes.collections[2]
    assert sorted(dots.get_offsets().tolist()) == [
        [place, batch] for place, batch in enumerate(arrivals, start=1)
    ]
    assert [segment[1].tolist() for segment in bars.get_segments()] == [
        [place, batch] for batch, place in enumerate(deliveries(arrivals))
    ]
    (arrows,) = axes.lines
    assert [round(place) for place in arrows.get_xdata()] == deliveries(arrivals)


def test_the_top_axis_counts_what_is_held_back():
    figure = reorder_buffer([1, 3, 5, 0, 2, 4, 6], workers=2)
    (above,) = figure.axes[0].child_axes
    assert [label.get_text() for label in above.get_xticklabels()] == list("1232100")


def test_the_caption_says_the_order_of_arrival_and_the_most_that_was_held_back():
    assert reorder_buffer([0, 1, 2], 1).caption == (
        "3 batches arrived from 1 worker as 0, 1, 2; most held back at once: 0"
    )


def test_each_worker_has_its_colour_and_a_line_in_the_legend():
    axes = reorder_buffer([2, 1, 0], workers=3).axes[0]
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown[:3] == [f"arrives from worker {worker}" for worker in range(3)]
    handles = axes.get_legend().legend_handles
    assert [handle.get_color() for handle in handles[:3]] == [colour(k) for k in range(3)]
    assert len(png(axes.figure)) > 5000


@pytest.mark.parametrize("arrivals", [[], [1, 2], [0, 0], [0, 2]])
def test_what_is_no_order_of_batches_is_refused(arrivals):
    with pytest.raises(ValueError, match=r"arrivals must hold each of 0\.\.n - 1 once"):
        reorder_buffer(arrivals, workers=2)


def test_a_picture_without_workers_is_refused():
    with pytest.raises(ValueError, match="workers must be 1 or more, got 0"):
        reorder_buffer([0], workers=0)
