"""Pictures of ranks, and the costs they are drawn from."""

import pytest

from dlkit.ddp.scaling import Network, all_reduce_seconds, efficiency, step_seconds
from dlkit.plots.ranks import rank_timeline, scaling
from dlkit.plots.style import png

ROWS = [
    [("compute", 0.0, 0.1), ("wait", 0.1, 0.3), ("exchange", 0.3, 0.4)],
    [("compute", 0.0, 0.3), ("wait", 0.3, 0.3), ("exchange", 0.3, 0.4)],
]


def test_a_timeline_has_a_bar_for_each_span_and_says_who_waits():
    figure = rank_timeline(ROWS)
    assert figure.caption == "2 ranks over 400 ms; waiting: 50 % of rank 0, 0 % of rank 1"
    (axes,) = figure.axes
    drawn = sum(len(bars.get_paths()) for bars in axes.collections)
    assert drawn == sum(map(len, ROWS))
    assert axes.get_title(loc="left") == "Everybody waits for rank 1"
    assert len(png(figure)) > 4000


def test_a_timeline_without_waiting_blames_nobody():
    axes = rank_timeline([[("compute", 0.0, 0.1)], [("compute", 0.0, 0.1)]]).axes[0]
    assert axes.get_title(loc="left") == "No rank waits"


@pytest.mark.parametrize(
    ("spans", "words"), [([], "at least one"), ([[("sleep", 0, 1)]], "stages must be of")]
)
def test_a_timeline_of_nothing_or_of_unknown_stages_is_refused(spans, words):
    with pytest.raises(ValueError, match=words):
        rank_timeline(spans)


def test_scaling_says_how_many_ranks_stay_above_the_limit():
    figure = scaling([1, 2, 4], {"slow": [1.0, 0.85, 0.3], "fast": [1.0, 0.95, 0.9]})
    assert figure.caption == (
        "at least 80 % of each rank is used up to: 2 ranks (slow), 4 ranks (fast)"
    )
    lines = [
        line.get_ydata().tolist() for line in figure.axes[0].lines if len(line.get_xdata()) == 3
    ]
    assert lines == [[100.0, 85.0, 30.0], [100.0, 95.0, 90.0]]
    assert len(png(figure)) > 4000
    assert figure.axes[0].get_title(loc="left").startswith("The network decides")
    by_storage = scaling([1, 2], {"disk": [1.0, 0.9]}, limited_by="storage").axes[0]
    assert by_storage.get_title(loc="left") == "The storage decides how many ranks pay: 2 with disk"


def test_scaling_of_uneven_curves_is_refused():
    with pytest.raises(ValueError, match="a value for each of 2 numbers of ranks"):
        scaling([1, 2], {"a": [1.0]})


def simulated_ring(nbytes, n, network):
    """Turn by turn: all send a chunk at once, so a turn lasts as long as one message."""
    return sum(network.latency + nbytes / n / network.bandwidth for _ in range(2 * (n - 1)))


@pytest.mark.parametrize("n", [1, 2, 3, 8, 64])
def test_an_all_reduce_costs_what_its_turns_cost(n):
    network = Network(1e-5, 1e9)
    assert all_reduce_seconds(1e8, n, network) == pytest.approx(simulated_ring(1e8, n, network))


def test_sending_hides_behind_computing_as_far_as_they_overlap():
    network = Network(0.0, 1e9)
    sending = all_reduce_seconds(1e9, 2, network)
    assert step_seconds(10.0, 1e9, 2, network) == 5.0  # all of it hidden
    assert step_seconds(10.0, 1e9, 2, network, overlap=0.0) == 5.0 + sending
    assert step_seconds(1.0, 1e9, 2, network) == pytest.approx(max(0.5, sending))
    assert efficiency(10.0, 1e9, 2, network) == 1.0
    assert efficiency(1.0, 1e9, 1, network) == 1.0


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda: Network(-1.0, 1.0), "latency must be 0 or more"),
        (lambda: Network(0.0, 0.0), "bandwidth must be above 0"),
        (lambda: all_reduce_seconds(1, 0, Network(0, 1)), "world_size must be a positive integer"),
        (lambda: step_seconds(1, 1, 2, Network(0, 1), overlap=2), "overlap must be a share"),
    ],
)
def test_impossible_costs_are_refused(attempt, words):
    with pytest.raises(ValueError, match=words):
        attempt()
