import numpy as np
import pytest
from matplotlib.colors import to_hex

from dlkit.plots.sharding import CLASSES, NUMBERED, seen_samples, sharding_map
from dlkit.plots.style import ALERT, png
from dlkit.samplers import DistributedSampler, plan_of, shard_plan


def cells(axes, collection):
    """Where the cells of a collection stand (left, rank), with their colours."""
    found = axes.collections[collection]
    corners = [path.vertices[0] for path in found.get_paths()]
    colours = [to_hex(shade) for shade in found.get_facecolors()]
    return corners, colours


EMPTY, SAMPLES, AGAIN, DROPPED = 0, 1, 2, 3


@pytest.mark.parametrize("options", [{}, {"pad": False}, {"drop_last": True}], ids=str)
@pytest.mark.parametrize(("n", "ranks", "batch"), [(22, 3, 4), (7, 5, 2), (1, 4, 3), (64, 6, 8)])
def test_every_sample_stands_at_its_rank_in_the_colour_of_its_class(n, ranks, batch, options):
    plan = shard_plan(n, ranks, batch, **options)
    labels = [index * 4 // n for index in range(n)]
    figure = sharding_map(plan, labels)
    corners, colours = cells(figure.axes[0], SAMPLES)
    given = [(rank, index) for rank, share in enumerate(plan.shares) for index in share]
    assert [round(y - 0.02 + 0.5) for _, y in corners] == [rank for rank, _ in given]
    assert colours == [CLASSES[labels[index]].lower() for _, index in given]
    assert len(cells(figure.axes[0], EMPTY)[0]) == int((plan.indices < 0).sum())
    assert len(cells(figure.axes[0], AGAIN)[0]) == int(plan.repeated.sum())
    assert figure.caption == plan.summary()
    assert len(png(figure)) > 3000


def test_batches_of_a_rank_run_from_left_to_right_with_a_gap_between_steps():
    corners, _ = cells(sharding_map(shard_plan(12, 2, 3, shuffle=False)).axes[0], SAMPLES)
    lefts = [round(x - 0.02, 6) for x, _ in corners]
    assert lefts == [0, 1, 2, 3.5, 4.5, 5.5] * 2


def test_repeated_samples_are_framed_and_those_in_no_batch_struck_through():
    order = list(DistributedSampler(range(12), 3, 0))
    plan = plan_of([order] * 3, 12, 2)
    axes = sharding_map(plan).axes[0]
    frames = axes.collections[AGAIN]
    assert {to_hex(edge) for edge in frames.get_edgecolors()} == {ALERT.lower()}
    assert {round(y - 0.1 + 0.5) for _, y in cells(axes, AGAIN)[0]} == {1, 2}
    assert len(cells(axes, DROPPED)[0]) == len(plan.dropped) == 8
    assert len(axes.collections[DROPPED + 1].get_segments()) == 8
    assert axes.get_title(loc="left") == (
        "8 of 12 places show a sample again, 8 of 12 samples are in no batch"
    )


def test_numbers_stand_in_the_cells_while_they_are_few_enough():
    for n in (4, NUMBERED, NUMBERED + 1):
        plan = shard_plan(n, 4, 4, pad=False)
        numbers = [text.get_text() for text in sharding_map(plan).axes[0].texts]
        expected = [str(index) for share in plan.shares for index in share]
        assert numbers == (expected if n <= NUMBERED else [])


def test_several_plans_get_a_panel_and_a_name_each():
    plans = {"first": shard_plan(6, 2), "second": shard_plan(7, 2)}
    figure = sharding_map(plans)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "first: each of 6 samples comes once",
        "second: 1 of 8 places show a sample again",
    ]
    assert figure.caption == "; ".join(f"{name}: {p.summary()}" for name, p in plans.items())


def test_without_labels_the_colour_tells_the_place_in_the_dataset():
    _, colours = cells(sharding_map(shard_plan(5, 1, 5, shuffle=False)).axes[0], SAMPLES)
    assert len(set(colours)) == 5
    brightness = [int(shade[3:5], 16) for shade in colours]
    assert brightness == sorted(brightness)


def test_an_empty_dataset_can_be_drawn():
    assert len(png(sharding_map(shard_plan(0, 2), []))) > 1000


def test_curves_are_drawn_as_given():
    figure = seen_samples({"fixed": [0.5, 0.5], "moving": [0.5, 0.8]})
    lines = [np.asarray(line.get_ydata()).tolist() for line in figure.axes[0].lines]
    assert lines == [[50.0, 50.0], [50.0, 80.0]]
    assert figure.axes[0].get_title(loc="left").startswith("moving: 80.0%")


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="at least one plan"):
        sharding_map({})
    with pytest.raises(ValueError, match="name 4 classes, got 3"):
        sharding_map(shard_plan(4, 2), [0, 1, 2])
    with pytest.raises(ValueError, match="at least one curve"):
        seen_samples({})
