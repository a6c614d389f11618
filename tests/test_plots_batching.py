import math

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler

from dlkit.plots.batching import batch_size_costs, index_strip, padded_batches, steps_per_epoch
from dlkit.plots.style import FAINT, colour, png


def in_order(size, batch_size, drop_last):
    return list(BatchSampler(SequentialSampler(range(size)), batch_size, drop_last))


@pytest.mark.parametrize("size", [1, 5, 50, 101, 500])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("drop_last", [True, False])
def test_every_cell_has_the_colour_of_its_batch(size, batch_size, drop_last):
    sampler = RandomSampler(range(size), generator=torch.Generator().manual_seed(0))
    batches = list(BatchSampler(sampler, batch_size, drop_last))
    figure = index_strip(batches, size)
    cells = figure.axes[0].images[0].get_array().reshape(-1, 3)[:size]
    owner = {index: number for number, batch in enumerate(batches) for index in batch}
    wanted = [to_rgb(colour(owner[k]) if k in owner else FAINT) for k in range(size)]
    assert np.allclose(cells, wanted)
    assert len(png(figure)) > 2000


def test_numbers_stand_in_the_cells_while_they_are_readable():
    for size, numbers in ((40, 40), (80, 80), (81, 0)):
        axes = index_strip(in_order(size, 8, False), size).axes[0]
        assert len(axes.texts) == numbers


def test_only_a_smaller_last_batch_is_framed_and_only_unseen_cells_are_crossed():
    def marks(size, batch_size, drop_last):
        axes = index_strip(in_order(size, batch_size, drop_last), size).axes[0]
        grid, marked = 2, [len(c.get_segments()) for c in axes.collections]
        return marked[grid:]  # [crosses] or [crosses, frames]

    assert marks(10, 4, False) == [0, 2]
    assert marks(10, 4, True) == [2]
    assert marks(8, 4, False) == [0]


def test_more_than_a_dataset_or_an_index_outside_it_is_refused():
    with pytest.raises(ValueError, match="size must be 1 or more"):
        index_strip([], 0)
    with pytest.raises(ValueError, match=r"indices in 0\.\.3"):
        index_strip([[0, 4]], 4)


def test_no_batch_at_all_is_drawn_too():
    assert index_strip([], 3).caption == (
        "3 samples in 0 batches; samples in no batch: 3 (0, 1, 2)"
    )


def test_bars_are_the_steps_that_the_sampler_makes():
    sizes = [1, 8, 64, 100, 256]
    steps, dropped = steps_per_epoch(100, sizes).axes
    assert [bar.get_height() for bar in steps.patches] == [
        len(in_order(100, size, False)) for size in sizes
    ]
    assert [bar.get_height() for bar in dropped.patches] == [
        100 - sum(map(len, in_order(100, size, True))) for size in sizes
    ]
    assert steps.patches[2].get_height() == math.ceil(100 / 64)


def test_costs_need_as_many_values_as_batch_sizes():
    with pytest.raises(ValueError, match="same length"):
        batch_size_costs([1, 2], [1.0], [1.0, 2.0], [1.0, 0.5])


def test_costs_are_drawn_as_given():
    axes = batch_size_costs([1, 4], [10.0, 30.0], [1.0, 4.0], [2.0, 1.0]).axes
    assert [a.lines[0].get_ydata().tolist() for a in axes] == [[10, 30], [1, 4], [2, 1]]


def test_padding_is_what_the_mask_leaves_out():
    mask = np.arange(4) < np.array([[4], [2], [1]])
    figure = padded_batches({"a": mask, "b": np.ones((2, 3), dtype=bool)})
    assert figure.caption == "share of padding: a 42%, b 0%"
    drawn = figure.axes[0].images[0].get_array()
    assert (np.isclose(drawn, to_rgb(FAINT)).all(-1) == ~mask).all()
    with pytest.raises(ValueError, match=r"\[batch, longest\]"):
        padded_batches({"flat": np.ones(3, dtype=bool)})
