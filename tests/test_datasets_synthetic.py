"""Synthetic images: the same sample from any process in any order, at the cost asked for."""

import hashlib
import multiprocessing
import pickle
import sys
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, default_collate

from dlkit.datasets import read_samples, synthetic
from dlkit.datasets.synthetic import Cost, synthetic_images


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:16]


def cost_of_index(index: int) -> Cost:
    return Cost(read_bytes=index)


@pytest.mark.parametrize(
    ("shape", "seed", "pixels", "labels"),
    [
        ((3, 9, 7), 0, "0e2cca06245dea79", [1, 7, 8, 9]),
        ((1, 28, 28), 5, "fac45ea440cd1e62", [2, 1, 4, 5]),
    ],
)
def test_samples_never_change(shape, seed, pixels, labels):
    data = synthetic_images(100, shape, seed=seed, dtype=torch.uint8)
    images, found = data.__getitems__([0, 1, 50, 99]).columns
    assert digest(images) == pixels
    assert found.tolist() == labels


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20)),
    seed=st.integers(0, 2**70),
    num_classes=st.integers(1, 300),
    dtype=st.sampled_from([torch.float32, torch.uint8]),
    data=st.data(),
)
def test_a_batch_is_bit_for_bit_its_samples_read_one_by_one(shape, seed, num_classes, dtype, data):
    n = data.draw(st.integers(1, 10**12))
    dataset = synthetic_images(n, shape, seed=seed, num_classes=num_classes, dtype=dtype)
    indices = data.draw(st.lists(st.integers(-n, n - 1), min_size=1, max_size=6))
    one_by_one = default_collate([dataset[i] for i in indices])
    for vectorised in (dataset.__getitems__(indices), dataset.__getitems__(np.array(indices))):
        for expected, found in zip(one_by_one, vectorised.columns, strict=True):
            assert torch.equal(expected, found)
            assert expected.dtype == found.dtype
    images, labels = one_by_one
    assert images.shape == (len(indices), *shape)
    assert images.dtype == dtype
    assert images.min() >= 0
    assert images.max() <= (1 if dtype == torch.float32 else 255)
    assert labels.dtype == torch.int64
    assert labels.min() >= 0
    assert labels.max() < num_classes


def test_pytorchs_loader_gives_the_same_batches_as_reading_by_hand():
    dataset = synthetic_images(10, (1, 4, 4))
    batches = list(DataLoader(dataset, batch_size=4))
    images = torch.cat([images for images, _ in batches])
    assert torch.equal(images, torch.stack([dataset[i][0] for i in range(10)]))


def test_a_spawned_process_makes_the_same_sample():
    dataset = synthetic_images(50, (3, 8, 8), seed=3, cost=cost_of_index)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        image, label = pool.apply(dataset.__getitem__, (17,))
    assert torch.equal(image, dataset[17][0])
    assert label == dataset[17][1]


def test_a_dataset_travels_without_its_tables():
    dataset = synthetic_images(50, (3, 224, 224))
    dataset[0]
    assert len(pickle.dumps(dataset)) < 1000


def test_float_and_uint8_are_the_same_pictures():
    floats = synthetic_images(9, (2, 5, 5))[4][0]
    bytes_ = synthetic_images(9, (2, 5, 5), dtype=torch.uint8)[4][0]
    assert torch.equal(floats, bytes_.to(torch.float32) / 255)


def test_every_sample_is_another_picture_and_every_seed_another_dataset():
    pictures = {
        image.numpy().tobytes()
        for seed in (0, 1, 2**64 - 1)
        for image in synthetic_images(500, (1, 6, 6), seed=seed).__getitems__(range(500)).columns[0]
    }
    assert len(pictures) == 1500


def test_labels_come_in_no_order_and_in_even_shares():
    labels = synthetic_images(20_000, (1, 1, 1)).__getitems__(range(20_000)).columns[1]
    assert labels.bincount(minlength=10).float().div(2000).sub(1).abs().max() < 0.1
    neighbours_equal = (labels[1:] == labels[:-1]).float().mean()
    assert 0.08 < neighbours_equal < 0.12


def test_a_model_can_learn_the_class_from_the_picture():
    data = synthetic_images(400, (3, 16, 16))
    images, labels = data.__getitems__(range(400)).columns
    images = images.flatten(1)
    means = torch.stack([images[:200][labels[:200] == k].mean(0) for k in range(10)])
    nearest = torch.cdist(images[200:], means).argmin(1)
    assert (nearest == labels[200:]).float().mean() > 0.95


def test_reading_a_sample_leaves_the_random_generators_alone():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    synthetic_images(3, (1, 4, 4))[2]
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002


@pytest.mark.parametrize("index", [3, -4, 10**30])
def test_an_index_out_of_range_is_an_index_error(index):
    with pytest.raises(IndexError, match=f"index {index} is out of range for 3 samples"):
        synthetic_images(3, (1, 2, 2))[index]


@pytest.mark.parametrize("index", [1.0, "1", None])
def test_an_index_that_is_no_integer_is_a_type_error(index):
    with pytest.raises(TypeError):
        synthetic_images(3, (1, 2, 2))[index]


def test_iterating_ends_after_the_last_sample():
    assert len(list(iter(synthetic_images(3, (1, 2, 2))))) == 3


def test_a_subclass_that_overrides_getitem_alone_is_obeyed():
    class Labels(synthetic.SyntheticImages):
        def __getitem__(self, index):
            return super().__getitem__(index)[1]

    labels = Labels(9, (1, 2, 2))
    assert read_samples(labels, [3, 1]) == [labels[3], labels[1]]


def test_an_empty_dataset_has_no_samples():
    empty = synthetic_images(0, (1, 2, 2))
    assert len(empty) == 0
    with pytest.raises(IndexError):
        empty[0]


@pytest.mark.parametrize("gil", [True, False])
def test_processor_time_is_really_used(gil):
    before = time.thread_time()
    Cost(cpu_seconds=0.02, gil=gil).pay()
    assert time.thread_time() - before >= 0.02


@pytest.mark.parametrize("gil", [True, False])
def test_another_thread_runs_during_the_cost_only_when_the_gil_is_released(gil):
    ran, go = [], threading.Event()
    other = threading.Thread(target=lambda: (go.wait(), ran.append(True)))
    other.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # nobody is made to give up the GIL: only who lets go of it does
    try:
        go.set()
        Cost(cpu_seconds=0.3, gil=gil).pay()
        ran_meanwhile = bool(ran)
    finally:
        sys.setswitchinterval(interval)
        other.join()
    assert ran_meanwhile == (not gil)


def test_waiting_sleeps_as_long_as_asked(monkeypatch):
    slept = []
    monkeypatch.setattr(synthetic.time, "sleep", slept.append)
    dataset = synthetic_images(5, (1, 2, 2), cost=Cost(wait_seconds=0.25))
    dataset.__getitems__([0, 1, 2])
    assert slept == [0.25, 0.25, 0.25]


@pytest.mark.parametrize("size", [0, 1, 1000, 1 << 20, (1 << 20) + 1, 40_000_000])
def test_as_many_bytes_are_copied_as_asked(monkeypatch, size):
    copied = []
    copyto = np.copyto

    def counting(target, source):
        assert len(target) == len(source)
        copyto(target, source)
        copied.append(len(target))

    monkeypatch.setattr(np, "copyto", counting)
    Cost(read_bytes=size).pay()
    assert sum(copied) == size


def test_the_cost_may_depend_on_the_index(monkeypatch):
    paid = []
    monkeypatch.setattr(Cost, "pay", lambda self: paid.append(self.read_bytes))
    dataset = synthetic_images(9, (1, 2, 2), cost=cost_of_index)
    dataset.__getitems__([4, -1])
    dataset[7]
    assert paid == [4, 8, 7]


def test_the_cost_does_not_change_the_sample():
    free = synthetic_images(4, (1, 5, 5))
    dear = synthetic_images(4, (1, 5, 5), cost=Cost(cpu_seconds=0.001, read_bytes=10))
    assert torch.equal(free[3][0], dear[3][0])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n": -1}, ValueError, "n must be at least 0, got -1"),
        ({"n": 2.0}, TypeError, "n must be an integer of at least 0, got 2.0"),
        ({"n": True}, TypeError, "n must be an integer of at least 0, got True"),
        ({"shape": (28, 28)}, TypeError, r"shape must be \(channels, height, width\), got \(28"),
        ({"shape": 28}, TypeError, r"shape must be \(channels, height, width\), got 28"),
        ({"shape": (3, 0, 8)}, ValueError, "shape must be at least 1, got 0"),
        ({"shape": (3, 8.0, 8)}, TypeError, "shape must be an integer of at least 1, got 8.0"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"seed": None}, TypeError, "seed must be an integer"),
        ({"num_classes": 0}, ValueError, "num_classes must be at least 1, got 0"),
        ({"dtype": torch.float16}, TypeError, "dtype must be torch.float32 .* or torch.uint8"),
        ({"cost": 0.5}, TypeError, "cost must be a Cost, a function .*, or None, got 0.5"),
    ],
)
def test_a_bad_argument_is_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        synthetic_images(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cpu_seconds": -0.1}, ValueError, "cpu_seconds must be at least 0 and finite, got -0.1"),
        ({"wait_seconds": float("nan")}, ValueError, "wait_seconds must be .* finite, got nan"),
        ({"wait_seconds": float("inf")}, ValueError, "wait_seconds must be .* finite, got inf"),
        ({"cpu_seconds": "1"}, TypeError, "cpu_seconds must be a number of seconds, got '1'"),
        ({"read_bytes": 1.5}, TypeError, "read_bytes must be an integer"),
        ({"read_bytes": -1}, ValueError, "read_bytes must be at least 0"),
        ({"gil": 1}, TypeError, "gil must be True or False, got 1"),
    ],
)
def test_a_bad_cost_is_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        Cost(**arguments)
