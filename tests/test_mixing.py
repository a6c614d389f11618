import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlkit.mixing import class_shares, displacement, mixing, run_lengths
from dlkit.samplers import BlockShuffleSampler, RandomSampler, ShuffleBuffer

N = 2000


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_datasets_own_order_and_its_reverse_are_not_mixed():
    assert mixing(range(N)) == 0.0
    assert mixing(range(N - 1, -1, -1)) == 0.0


def test_a_full_shuffle_has_mixing_one_on_average():
    scores = [mixing(RandomSampler(range(N), generator=seeded(s))) for s in range(20)]
    assert np.mean(scores) == pytest.approx(1.0, abs=0.02)
    assert np.std(scores) < 0.05


def test_all_permutations_of_five_have_mean_mixing_one_exactly():
    from itertools import permutations

    assert np.mean([mixing(p) for p in permutations(range(5))]) == pytest.approx(1.0)


def test_mixing_grows_with_the_shuffle_buffer_up_to_a_full_shuffle():
    sizes = [1, 10, 100, 1000, N]
    scores = [mixing(ShuffleBuffer(range(N), k, generator=seeded())) for k in sizes]
    assert scores == sorted(scores)
    assert scores[0] == 0.0
    assert scores[-1] == pytest.approx(1.0, abs=0.06)


def test_moving_whole_blocks_far_away_hardly_mixes():
    order = list(BlockShuffleSampler(range(N), 100, generator=seeded()))
    assert np.abs(displacement(order)).mean() > N / 5
    assert mixing(order) < 0.15


@given(st.permutations(range(30)))
def test_displacements_of_a_permutation_add_up_to_nothing(order):
    moved = displacement(order)
    assert moved.sum() == 0
    assert (moved + np.arange(30)).tolist() == order
    assert mixing(order) == pytest.approx(mixing(order[::-1]))


@given(st.lists(st.integers(0, 3)))
def test_run_lengths_rebuild_the_labels(labels):
    lengths = run_lengths(labels)
    starts = np.cumsum([0, *lengths[:-1]]) if len(lengths) else []
    rebuilt = [labels[s] for s, n in zip(starts, lengths, strict=True) for _ in range(n)]
    assert rebuilt == labels
    assert all(labels[s] != labels[s - 1] for s in starts[1:])


def test_class_shares_count_the_classes_of_each_batch():
    labels = [0, 1, 2, 2]
    shares = class_shares(labels, [[0, 1], [2, 3, 0]], 3)
    assert shares.tolist() == [[0.5, 0.5, 0.0], [1 / 3, 0.0, 2 / 3]]
    assert class_shares(labels, [], 3).shape == (0, 3)


@pytest.mark.parametrize("score", [displacement, mixing, run_lengths])
@pytest.mark.parametrize("bad", [[[0, 1], [1, 0]], [0.5, 1.5]])
def test_orders_must_be_one_row_of_integers(score, bad):
    with pytest.raises(ValueError, match="one row of integers"):
        score(bad)


def test_class_shares_refuse_labels_out_of_range_and_empty_batches():
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.1, but got 2$"):
        class_shares([0, 2], [[0]], 2)
    with pytest.raises(ValueError, match="batch is empty"):
        class_shares([0, 1], [[]], 2)
