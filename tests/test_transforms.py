"""Transforms: whole batches, random numbers of one sample, exact statistics, costs, pictures."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from worker_cases import PATIENCE, WAYS

import dlkit
from dlkit.cache import MemoryCache
from dlkit.datasets import Subset, TensorDataset, TransformDataset, digits
from dlkit.plots.augmentation import cost_bars
from dlkit.plots.style import png
from dlkit.randomness import get_rng_state
from dlkit.trainer import Callback, Trainer
from dlkit.transforms import (
    BatchTransformDataset,
    ChannelStatistics,
    SeededTransform,
    channel_statistics,
    measure_costs,
    sample_seeds,
    sample_uniforms,
    seeded,
    set_epoch,
    show,
)
from tests.structures import assert_same

# ---- seeds --------------------------------------------------------------------------------------

INDICES = st.lists(st.integers(0, 10**6), min_size=1, max_size=20)


@given(st.integers(), st.integers(0, 1000), INDICES)
def test_a_samples_numbers_do_not_depend_on_the_batch_it_is_in(seed, epoch, indices):
    together = sample_uniforms(seed, epoch, indices, 3)
    alone = [sample_uniforms(seed, epoch, [index], 3)[0] for index in indices]
    assert np.array_equal(together, alone)
    assert (together >= 0).all()
    assert (together < 1).all()


def test_seed_epoch_and_index_each_change_the_numbers():
    seeds = {
        int(value)
        for seed in range(10)
        for epoch in range(10)
        for value in sample_seeds(seed, epoch, range(100))
    }
    assert len(seeds) == 10 * 10 * 100


def test_the_numbers_are_even_and_do_not_follow_each_other():
    numbers = sample_uniforms(0, 0, range(20_000), 4)
    histogram, _ = np.histogram(numbers, bins=20, range=(0, 1))
    assert ((histogram - 4000) ** 2 / 4000).sum() < 60  # chi square with 19 degrees: p < 1e-5
    correlations = np.corrcoef(np.column_stack([numbers[1:], numbers[:-1]]).T)
    assert np.abs(correlations - np.eye(8)).max() < 0.03


# ---- seeded augmentation ------------------------------------------------------------------------


class Everything:
    """Draws from every global generator."""

    def __call__(self, image):
        return image + torch.rand(1) + random.random() + np.random.rand()  # noqa: NPY002


def noisy(image, generator):
    return image + torch.rand(1, generator=generator)


def images():
    return TensorDataset(torch.zeros(40, 1), torch.arange(40))


def passes(dataset, way, epochs=(0, 1), **arguments):
    loader = dlkit.DataLoader(dataset, **{"batch_size": 6, **WAYS[way], **arguments})
    found = []
    for epoch in epochs:
        loader.dataset.set_epoch(epoch)
        found.append({int(y): float(x) for xs, ys in loader for x, y in zip(xs, ys, strict=True)})
    return found


@pytest.mark.parametrize("transform", [Everything(), noisy])
@pytest.mark.parametrize("way", ["inline", "thread", "fork", "forkserver"])
def test_augmentation_is_the_same_for_any_number_and_kind_of_workers(way, transform):
    expected = passes(SeededTransform(images(), transform, seed=3), "inline")
    assert expected[0] != expected[1]
    assert len(set(expected[0].values())) == 40
    dataset = SeededTransform(MemoryCache(images(), 1 << 20), transform, seed=3)
    workers = {"num_workers": 3, "persistent_workers": True} if way != "inline" else {}
    assert passes(dataset, way, shuffle=True, batch_size=5, **workers) == expected


def test_another_seed_is_another_augmentation():
    one, other = (SeededTransform(images(), noisy, seed=seed) for seed in (0, 1))
    assert float(one[3][0]) != float(other[3][0])
    assert_same(one[-1], one[39])


def test_the_global_generators_stay_where_they_were():
    dataset = SeededTransform(images(), Everything(), seed=0)
    torch.manual_seed(5), random.seed(5), np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(1), random.random(), np.random.rand()  # noqa: NPY002
    torch.manual_seed(5), random.seed(5), np.random.seed(5)  # noqa: NPY002
    dataset.__getitems__([1, 2, 3])
    assert (torch.rand(1), random.random(), np.random.rand()) == expected  # noqa: NPY002


def test_a_worker_that_is_forked_while_a_thread_augments_does_not_wait_for_that_thread():
    noisy = SeededTransform([0.0] * 4, lambda x: x + random.random(), seed=0)
    expected = [noisy[index] for index in range(4)]
    loader = dlkit.DataLoader(noisy, 4, timeout=PATIENCE, collate_fn=list, **WAYS["fork"])
    with seeded._borrowed_generators():  # as a thread does while it augments
        (batch,) = loader
    assert batch == expected


def test_torchvision_augments_alike_in_every_worker():
    from torchvision.transforms import v2

    crop = v2.Compose([v2.RandomCrop(20), v2.RandomHorizontalFlip(), v2.ColorJitter(0.5)])
    train = SeededTransform(Subset(digits(), range(24)), crop, seed=1)
    inline = list(dlkit.DataLoader(train, 8))
    assert_same(list(dlkit.DataLoader(train, 8, **WAYS["fork"])), inline)
    assert not torch.equal(inline[0][0][0], inline[0][0][1])


def test_a_run_that_is_resumed_sees_the_same_augmentation(tmp_path):
    seen: dict = {}

    class Keep(Callback):
        def __init__(self, name, cut=None):
            self.name, self.cut = name, cut

        def on_step_end(self, trainer, step):
            if step.global_step == self.cut:
                raise SystemExit

    def trainer(name, cut=None):
        torch.manual_seed(0)
        model = torch.nn.Linear(1, 40)
        options = {"checkpoint": tmp_path / name, "checkpoint_every": 3, "seed": 0}
        return Trainer(model, device="cpu", progress=False, callbacks=[Keep(name, cut)], **options)

    def loader():
        dataset = SeededTransform(images(), noisy, seed=7)
        return dlkit.DataLoader(dataset, 6, shuffle=True)

    whole = trainer("whole")
    whole.fit(loader(), 2)
    cut = trainer("cut", cut=10)
    with pytest.raises(SystemExit):
        cut.fit(loader(), 2)
    resumed = trainer("cut").resume(tmp_path / "cut")
    resumed.fit(loader(), 2)
    assert_same(list(resumed.model.parameters()), list(whole.model.parameters()))
    assert not seen


def test_the_trainer_tells_the_epoch_through_other_datasets():
    inner = SeededTransform(images(), noisy, seed=0)
    loader = dlkit.DataLoader(Subset(inner, range(12)), 6)
    Trainer(torch.nn.Linear(1, 40), device="cpu", progress=False).fit(loader, 3)
    assert inner.epoch == 2
    set_epoch(dlkit.ConcatDataset([inner, Subset(inner, [1])]), 9)
    assert inner.epoch == 9


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"transform": 3}, "transform must be callable, but got 3"),
        ({"seed": 0.5}, "seed must be an integer, but got 0.5"),
        ({"dataset": iter([])}, "dataset must have a length"),
    ],
)
def test_seeded_nonsense_is_refused(arguments, match):
    with pytest.raises(TypeError, match=match):
        SeededTransform(**{"dataset": [1], "transform": abs, "seed": 0, **arguments})


@pytest.mark.parametrize("epoch", [-1, 1.0, True, None])
def test_an_epoch_is_a_number_from_0(epoch):
    with pytest.raises(ValueError, match="epoch must be an integer of 0 or more"):
        SeededTransform([1], abs, seed=0).set_epoch(epoch)


# ---- whole batches ------------------------------------------------------------------------------


def test_a_batch_transform_gives_what_the_same_transform_gives_sample_by_sample():
    from torchvision.transforms import v2

    prepare = v2.Compose([v2.Resize(16, antialias=True), v2.Normalize([0.2], [0.3])])
    one, other = (kind(digits(), prepare) for kind in (BatchTransformDataset, TransformDataset))
    assert len(one) == len(other)
    for batch, expected in zip(
        dlkit.DataLoader(Subset(one, range(50)), 20),
        dlkit.DataLoader(Subset(other, range(50)), 20),
        strict=True,
    ):
        torch.testing.assert_close(batch, expected)
    assert one[3][0].shape == (1, 16, 16)


def test_a_batch_transform_is_called_once_for_a_batch():
    calls = []

    def prepare(batch):
        calls.append(len(batch))
        return batch

    list(dlkit.DataLoader(BatchTransformDataset(images(), prepare), 16))
    assert calls == [16, 16, 8]


def test_batch_nonsense_is_refused():
    with pytest.raises(TypeError, match="transform must be callable, but got None"):
        BatchTransformDataset([1], None)
    with pytest.raises(ValueError, match=r"one row for each of the 2 inputs.*returned \[1\]"):
        BatchTransformDataset(images(), lambda x: x.sum().reshape(1)).__getitems__([0, 1])
    with pytest.raises(TypeError, match="tuples of tensors and numbers, but their batch is a dict"):
        BatchTransformDataset([{"x": 1}], abs)[0]


# ---- statistics ---------------------------------------------------------------------------------

FLOATS = st.floats(-1e3, 1e3, width=32)


@settings(deadline=None)
@given(
    np_st.arrays(
        np.float32, st.tuples(st.integers(2, 30), st.integers(1, 3), st.just(2)), elements=FLOATS
    ),
    st.integers(1, 7),
    st.sampled_from([0.0, 1e6]),
)
def test_statistics_of_parts_are_those_of_the_whole(values, batch_size, offset):
    values = torch.from_numpy(values.astype(np.float64)) + offset
    found = channel_statistics(dlkit.DataLoader(TensorDataset(values), batch_size))
    whole = values.transpose(0, 1).reshape(values.shape[1], -1)
    assert found.count == whole.shape[1]
    torch.testing.assert_close(found.mean, whole.mean(1), rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(found.std, whole.std(1, correction=0), rtol=1e-9, atol=1e-8)
    assert torch.equal(found.low, whole.amin(1))
    assert torch.equal(found.high, whole.amax(1))


def test_statistics_keep_their_digits_where_squares_would_lose_them():
    values = (torch.tensor([0.0, 1.0]).double().repeat(5_000) + 1e9)[:, None]
    assert channel_statistics(values.split(100)).std.item() == 0.5


def test_statistics_nonsense_is_refused():
    with pytest.raises(ValueError, match="at least one batch"):
        channel_statistics([])
    with pytest.raises(ValueError, match=r"images must be \[N, C, ...\] with values, got \[3\]"):
        channel_statistics([torch.zeros(3)])
    with pytest.raises(ValueError, match="1 channels do not fit 2 channels"):
        ChannelStatistics.of(torch.zeros(2, 1)) + ChannelStatistics.of(torch.zeros(2, 2))


# ---- costs and pictures -------------------------------------------------------------------------


def test_costs_come_from_the_clock_and_each_step_gets_what_the_one_before_made():
    from torchvision.transforms import v2

    seconds = [0.0]

    def slow(x):
        seconds[0] += 3.0
        return x + 1

    def fast(x):
        assert x == 2
        seconds[0] += 1.0
        return x

    costs = measure_costs(v2.Compose([slow, fast]), [1, 1], repeats=3, clock=lambda: seconds[0])
    assert [(c.name, c.seconds, c.share) for c in costs] == [("slow", 3, 0.75), ("fast", 1, 0.25)]
    assert "slow 3e+06 (75 %)" in cost_bars(costs).caption
    assert [c.name for c in measure_costs(v2.RandomApply([v2.Identity()]), [1])] == ["RandomApply"]


def test_cost_nonsense_is_refused():
    with pytest.raises(ValueError, match="samples must hold at least one"):
        measure_costs(abs, [])
    with pytest.raises(TypeError, match="made of callables, but got 3"):
        measure_costs([3], [1])
    with pytest.raises(ValueError, match="repeats must be a positive integer"):
        measure_costs(abs, [1], repeats=0)


def test_show_seeds_every_global_generator_and_puts_it_back():
    pair = TensorDataset(torch.zeros(2, 1, 4, 4))
    torch.manual_seed(1), random.seed(1), np.random.seed(1)  # noqa: NPY002
    before = get_rng_state()
    drawn = {seed: [] for seed in (0, 1)}
    for seed in (0, 0, 1):
        seen = drawn[seed]
        show(pair, lambda x, seen=seen: seen.append(Everything()(x)) or seen[-1], seed=seed)
    assert_same(get_rng_state(), before)
    assert_same(drawn[0][:12], drawn[0][12:])
    assert len({float(x[0, 0, 0]) for x in (*drawn[0][:12], *drawn[1])}) == 24


def test_show_puts_the_generators_back_after_an_error():
    before = get_rng_state()
    with pytest.raises(ZeroDivisionError):
        show(images(), lambda x: 1 / 0)
    assert_same(get_rng_state(), before)


def test_show_draws_originals_and_versions():
    picture = show(digits(), lambda x: x * torch.rand(1), images=2, versions=3)
    assert picture.caption == "2 samples, 3 versions of each; 0 of 6 versions equal their original"
    assert len(picture.axes) == 8
    assert len(png(picture)) > 3000
    assert "6 of 6" in show(digits(), lambda x: x, images=2, versions=3).caption
    with pytest.raises(ValueError, match="images must be a positive integer"):
        show(digits(), abs, images=0)
    with pytest.raises(ValueError, match="dataset must hold at least one sample"):
        show([], abs)
    with pytest.raises(ValueError, match="seed must be an integer of 0 or more, but got -1"):
        show(digits(), abs, seed=-1)
