"""MemoryCache: gives what the dataset gives, once for all, and forgets in the right order."""

import os
import pickle
import signal
import sys
import threading
import warnings
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2
from worker_cases import WAYS, Gate, nothing_left

import dlkit
from dlkit.cache import MemoryCache, RandomTransformWarning
from dlkit.cache.slots import CHANGING
from dlkit.datasets import Subset, TensorDataset, TransformDataset
from tests.structures import assert_same

PLENTY = 1 << 24


class Counting(torch.utils.data.Dataset):
    """Samples made by a function; counts how often each was read, in this process."""

    def __init__(self, make, length=20):
        self.make = make
        self.length = length
        self.reads = []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.reads.append(index)
        return self.make(index)


KINDS = {
    "tensors": lambda i: (torch.full((2, 3), i, dtype=torch.uint8), torch.tensor(i)),
    "tensor and number": lambda i: (torch.full((1, 4, 4), i / 7), i),
    "one tensor": lambda i: torch.arange(i, i + 5),
    "dictionary": lambda i: {"x": np.full(3, i, dtype=np.float32), "y": [i, i / 2, i % 2 == 0]},
    "numpy scalars": lambda i: (np.float32(i), np.int16(i), np.bool_(i % 2)),
    "number": lambda i: i * 10,
    "strings": lambda i: ("word " * i, i),
    "bytes": lambda i: bytes([i]) * (i * 1000),
    "ragged": lambda i: (torch.arange(i), i),
    "one is different": lambda i: torch.zeros(3 if i != 7 else 4),
    "types differ": lambda i: i if i % 2 else float(i),
    "large integer": lambda i: i + (1 << 70),
    "none": lambda i: (None, i),
    "bfloat16": lambda i: torch.full((3,), float(i)).to(torch.bfloat16),
    "empty tuple": lambda i: (),
    "empty tensor": lambda i: torch.zeros(0, 3),
    "0-d": lambda i: torch.tensor(i),
}


@pytest.mark.parametrize("policy", ["first-come", "lru"])
@pytest.mark.parametrize("room", [1, 100, 5_000, PLENTY])
@pytest.mark.parametrize("kind", KINDS)
def test_gives_what_the_dataset_gives(kind, room, policy):
    dataset = Counting(KINDS[kind])
    cache = MemoryCache(dataset, room, policy=policy)
    plain = [dataset[i] for i in range(20)]
    generator = np.random.default_rng(0)
    for _ in range(6):
        indices = generator.integers(-20, 20, 9).tolist()
        assert_same(list(cache.__getitems__(indices)), [plain[i] for i in indices])
    assert_same([cache[i] for i in range(20)], plain)
    assert cache.info().nbytes <= room


BATCHED = sorted(
    set(KINDS) - {"none", "ragged", "one is different", "types differ", "large integer"}
)


@pytest.mark.parametrize("kind", BATCHED)
def test_batches_are_those_of_the_dataset(kind):
    dataset = Counting(KINDS[kind])
    cache = MemoryCache(dataset, PLENTY)
    expected = list(dlkit.DataLoader(Counting(KINDS[kind]), 6))
    for _ in range(3):
        assert_same(list(dlkit.DataLoader(cache, 6)), expected)
        assert_same(list(torch.utils.data.DataLoader(cache, 6)), expected)
    assert len(set(dataset.reads)) == 20
    assert len(dataset.reads) <= 20 + 3  # three are read twice, to see whether they are random


def test_a_collate_fn_of_the_users_gets_a_list_of_samples():
    cache = MemoryCache(Counting(KINDS["tensor and number"]), PLENTY)
    for _ in range(2):
        batch = next(iter(dlkit.DataLoader(cache, 3, collate_fn=lambda samples: samples)))
        assert type(batch) is list
        assert [type(label) for _, label in batch] == [int] * 3


def test_a_rule_of_the_users_for_numbers_still_holds(monkeypatch):
    from dlkit.collate import default, stacking

    cache = MemoryCache(Counting(lambda i: i), PLENTY)
    list(dlkit.DataLoader(cache, 20))
    monkeypatch.setitem(default._registry, int, sum)
    monkeypatch.setitem(stacking.BUILT_IN, int, None)
    assert list(dlkit.DataLoader(cache, 20)) == [sum(range(20))]


def test_what_is_given_out_can_be_changed_without_harm():
    cache = MemoryCache(Counting(KINDS["tensor and number"]), PLENTY)
    for _ in range(3):
        for image, _ in [*cache.__getitems__([1, 2]), cache[1]]:
            image.fill_(99)
    assert float(cache[1][0].max()) == pytest.approx(1 / 7)


def test_a_batch_that_is_cached_takes_the_same_few_steps_whatever_its_size():
    dataset = TensorDataset(torch.zeros(512, 2, 3), torch.arange(512))
    cache = MemoryCache(dataset, PLENTY)
    for _ in range(2):
        cache.__getitems__(np.arange(512))
    called = []
    for size in (1, 64, 512):
        names, indices = [], np.arange(size)
        sys.setprofile(lambda frame, event, _, names=names: names.append(event == "call"))
        try:
            cache.__getitems__(indices)
        finally:
            sys.setprofile(None)
        called.append(sum(names))
    assert called[0] == called[1] == called[2] <= 10
    assert cache.info().hits == 512 + 1 + 64 + 512


# ---- which samples stay -------------------------------------------------------------------------


class Model:
    """LRU by bytes as one would write it: an ordered dictionary, oldest first."""

    def __init__(self, sizes, room, evicts):
        self.sizes, self.room, self.evicts = sizes, room, evicts
        self.held = OrderedDict()

    def read(self, indices):
        """Read a batch; returns what had to be read from the dataset."""
        missed = list(dict.fromkeys(i for i in indices if i not in self.held))
        for index in indices:
            if index in self.held and self.evicts:
                self.held.move_to_end(index)
        for index in missed:
            size = self.sizes[index]
            if size > self.room:
                continue
            while self.evicts and sum(self.held.values()) + size > self.room:
                self.held.popitem(last=False)
            if sum(self.held.values()) + size <= self.room:
                self.held[index] = size
        return missed


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=12),
    st.integers(1, 20),
    st.booleans(),
    st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=5), max_size=25),
)
def test_evicts_by_bytes_what_was_used_least_recently(units, room, evicts, batches):
    slot = 256

    def make(index):  # its pickle takes exactly `units` slots of 256 bytes, at least one
        return b"x" * max(1, units[index] * slot - 40)

    from dlkit.cache.records import pickled

    sizes = [-(-len(pickled(make(i))) // slot) * slot for i in range(len(units))]
    dataset = Counting(make, len(units))
    policy = "lru" if evicts else "first-come"
    cache = MemoryCache(dataset, room * slot, policy=policy, check_random=False)
    model = Model(sizes, room * slot, evicts)
    hits = misses = 0
    for batch in batches:
        indices = [i % len(units) for i in batch]
        dataset.reads.clear()
        there = sum(i in model.held for i in indices)
        missed = model.read(indices)
        assert [len(s) for s in cache.__getitems__(indices)] == [len(make(i)) for i in indices]
        assert dataset.reads == missed
        hits, misses = hits + there, misses + len(indices) - there
    info = cache.info()
    assert (info.hits, info.misses) == (hits, misses)
    assert info.samples == len(model.held)
    assert info.nbytes == sum(model.held.values()) <= room * slot


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.booleans(),
    st.lists(st.lists(st.integers(0, 199), min_size=1, max_size=20), max_size=30),
)
def test_evicts_rows_in_the_same_order(length, fitting, evicts, batches):
    dataset = Counting(lambda i: torch.tensor([i, i]), length)
    policy = "lru" if evicts else "first-come"
    cache = MemoryCache(dataset, fitting * 16, policy=policy, check_random=False)
    model = Model([16] * length, fitting * 16, evicts)
    for batch in batches:
        indices = [i % length for i in batch]
        dataset.reads.clear()
        missed = model.read(indices)
        assert [s[0].item() for s in cache.__getitems__(indices)] == indices
        assert dataset.reads == missed
    assert cache.info().samples == len(model.held)


def test_an_epoch_in_order_never_hits_with_lru_and_hits_what_fits_with_first_come():
    for policy, expected in (("lru", 0), ("first-come", 10)):
        cache = MemoryCache(range(20), 10 * 8, policy=policy)
        for _ in range(2):
            list(dlkit.DataLoader(cache, 1))
        assert cache.info().hits == expected
        assert cache.info().refused == (0 if policy == "lru" else 20)


# ---- many processes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "kind"), [*((way, "tensor and number") for way in WAYS), ("fork", "strings")]
)
def test_what_one_worker_has_read_all_others_find(way, kind):
    cache = MemoryCache(Counting(KINDS[kind], 40), PLENTY)
    lasting = way in ("forkserver", "spawn")  # such workers take seconds to start
    loader = dlkit.DataLoader(cache, 5, persistent_workers=lasting, **WAYS[way])
    expected = list(dlkit.DataLoader(Counting(KINDS[kind], 40), 5))
    for epoch in (1, 2):
        assert_same(list(loader), expected)
        info = cache.info()
        assert (info.hits, info.misses) == (40 * (epoch - 1), 40)
    assert_same(cache[3], KINDS[kind](3))
    assert cache.info().hits == 41


def test_a_lock_that_a_killed_process_held_is_free_and_its_half_change_is_thrown_away():
    cache = MemoryCache(range(20), PLENTY)
    list(dlkit.DataLoader(cache, 20))
    with Gate() as gate:
        pid = os.fork()
        if pid == 0:
            with cache._table.locked():
                cache._table.header[CHANGING] = 1
                gate.wait()
            os._exit(0)
        gate.await_arrivals()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert cache[5] == 5
    assert cache.info().samples == 1


def test_threads_read_and_write_at_the_same_time():
    cache = MemoryCache(Counting(KINDS["ragged"], 50), 20_000, policy="lru")
    failures = []

    def read(seed):
        generator = np.random.default_rng(seed)
        for _ in range(60):
            for index in generator.integers(0, 50, 4).tolist():
                image, label = cache[index]
                if label != index or len(image) != index:
                    failures.append(index)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sum((cache.info().hits, cache.info().misses)) == 4 * 60 * 4


def test_nothing_is_left_in_dev_shm_or_in_descriptors():
    with nothing_left():
        cache = MemoryCache(Counting(KINDS["tensors"], 40), PLENTY)
        list(dlkit.DataLoader(cache, 5, **WAYS["fork"]))
        assert cache.info().nbytes > 0
        del cache


def test_a_copy_that_does_not_go_to_a_worker_is_empty_and_works():
    cache = MemoryCache(range(20), PLENTY)
    list(dlkit.DataLoader(cache, 20))
    copied = pickle.loads(pickle.dumps(cache))
    assert copied.info().samples == 0
    assert copied[7] == 7
    assert cache.info().samples == 20


# ---- the key ------------------------------------------------------------------------------------


def test_another_transform_never_gives_what_the_earlier_one_made():
    dataset = TransformDataset(TensorDataset(torch.arange(10)), None)
    cache = MemoryCache(dataset, PLENTY)
    for factor in (2, 3):
        dataset.transform = lambda x, factor=factor: x * factor
        for _ in range(2):
            assert [int(x) for (x,) in cache.__getitems__([1, 4])] == [factor, 4 * factor]
    dataset.transform = torch.neg
    assert [int(x) for (x,) in cache.__getitems__(range(10))] == [-i for i in range(10)]
    dataset.transform = lambda x: x * 2
    assert int(cache[4][0]) == 8


def test_a_transform_that_changed_before_a_read_that_failed_counts_all_the_same():
    dataset = TransformDataset(TensorDataset(torch.arange(10)), torch.neg)
    cache = MemoryCache(dataset, PLENTY)
    for _ in range(2):
        cache.__getitems__(range(10))
    dataset.transform = torch.square
    with pytest.raises(IndexError):
        cache[10]  # this read has noticed the change, and could not use it
    assert int(cache[3][0]) == 9


def test_a_parameter_of_a_transform_that_changes_counts():
    class Times:
        def __init__(self, factor):
            self.factor = factor

        def __call__(self, x):
            return x * self.factor

    dataset = TransformDataset(Subset(TensorDataset(torch.arange(10)), range(10)), Times(2))
    cache = MemoryCache(dataset, PLENTY)
    assert int(cache[3][0]) == 6
    dataset.transform.factor = 5
    assert int(cache[3][0]) == 15
    dataset.dataset.dataset.tensors = (torch.arange(10) + 100,)
    assert int(cache[3][0]) == 515


def test_a_forked_worker_sees_the_transform_that_was_set_before_it_was_started():
    dataset = TransformDataset(TensorDataset(torch.arange(10)), torch.neg)
    cache = MemoryCache(dataset, PLENTY)
    loader = dlkit.DataLoader(cache, 5, **WAYS["fork"])
    assert torch.cat([x for (x,) in loader]).tolist() == [-i for i in range(10)]
    dataset.transform = torch.square
    assert torch.cat([x for (x,) in loader]).tolist() == [i * i for i in range(10)]


def test_a_dataset_without_a_fingerprint_is_cached_all_the_same():
    class WithLock(Counting):
        def __init__(self):
            super().__init__(lambda i: i)
            self.lock = threading.Lock()

    cache = MemoryCache(WithLock(), PLENTY)
    assert [cache[3], cache[3]] == [3, 3]
    assert cache.info().hits == 1


def test_a_key_of_the_users_takes_the_place_of_the_fingerprint():
    one, other = (MemoryCache([1, 2], PLENTY, key="numbers") for _ in range(2))
    assert one.key == other.key != MemoryCache([1, 2], PLENTY).key


# ---- random transforms --------------------------------------------------------------------------

RANDOM = {
    "torchvision": v2.RandomCrop(2),
    "composed": v2.Compose([v2.Identity(), v2.RandomHorizontalFlip()]),
    "colour": v2.ColorJitter(0.5),
    "blur": v2.GaussianBlur(3),
    "policy": v2.AutoAugment(),
    "lambda": lambda x: x + torch.rand(1),
    "helper": lambda x: noisy(x),
}
CERTAIN = {
    "normalise": v2.Normalize([0.5], [0.5]),
    "resize": v2.Compose([v2.Resize(8), v2.CenterCrop(4), v2.ToDtype(torch.float32)]),
    "grey": v2.Grayscale(),
    "pad": v2.Pad(2),
    "function": lambda x: x * 2,
}


def noisy(x):
    return x + torch.randn(1)


def images():
    return TensorDataset(torch.zeros(6, 1, 4, 4))


@pytest.mark.parametrize("name", RANDOM)
def test_caching_a_random_transform_warns_before_anything_is_read(name):
    with pytest.warns(RandomTransformWarning, match=r"MemoryCache\(dataset, ...\)\.then\(") as seen:
        MemoryCache(TransformDataset(images(), RANDOM[name]), PLENTY)
    assert seen[0].filename == __file__


@pytest.mark.parametrize("name", CERTAIN)
def test_a_transform_that_is_not_random_does_not_warn(name):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        cache = MemoryCache(TransformDataset(images(), CERTAIN[name]), PLENTY)
        read = [cache.__getitems__(range(6)) for _ in range(2)]
    assert [str(warning.message) for warning in warned] == []
    assert len(read[0]) == len(read[1]) == 6


def test_two_reads_that_differ_warn_and_leave_the_random_numbers_alone():
    hidden = vars(torch)["rand"]  # nothing in the code says that this draws
    cache = MemoryCache(Counting(lambda i: vars(torch)["ra" + "nd"](2)), PLENTY)
    torch.manual_seed(3)
    with pytest.warns(RandomTransformWarning, match="sample 4 was another one"):
        first = cache[4]
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(first, hidden(2))
    assert torch.equal(after, torch.rand(1))


def test_check_random_can_be_turned_off():
    dataset = Counting(lambda i: torch.rand(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache = MemoryCache(dataset, PLENTY, check_random=False)
        cache[1]
    assert dataset.reads == [1]


def test_then_transforms_after_the_cache():
    dataset = Counting(lambda i: (torch.full((1, 4, 4), float(i)), i))
    augmented = MemoryCache(dataset, PLENTY, check_random=False).then(
        lambda x: x + torch.rand(1), target_transform=lambda y: -y
    )
    values = {float(augmented[3][0][0, 0, 0]) for _ in range(10)}
    assert len(values) == 10
    assert augmented[3][1] == -3
    assert dataset.reads == [3]


# ---- nonsense -----------------------------------------------------------------------------------


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter([1])


@pytest.mark.parametrize("max_bytes", [0, -1, 1.5, None, "1GB", True])
def test_max_bytes_must_be_a_positive_integer(max_bytes):
    with pytest.raises(ValueError, match=f"max_bytes must be a positive integer, .*{max_bytes!r}"):
        MemoryCache([1], max_bytes)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"dataset": Stream()}, TypeError, "dataset must be map-style, but got a Stream"),
        ({"dataset": 5}, TypeError, "dataset must be map-style, but got a int"),
        ({"policy": "fifo"}, ValueError, 'policy must be "first-come" or "lru", but got \'fifo\''),
        ({"key": 7}, TypeError, "key must be a string or None, but got 7"),
        ({"check_random": 1}, ValueError, "check_random must be True or False, but got 1"),
    ],
)
def test_nonsense_is_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        MemoryCache(**{"dataset": [1, 2], "max_bytes": 100, **arguments})


@pytest.mark.parametrize("index", [20, -21, 10**6])
def test_an_index_outside_is_refused_also_when_everything_is_cached(index):
    cache = MemoryCache(range(20), PLENTY)
    for _ in range(2):
        with pytest.raises(IndexError):
            cache[index]
        list(dlkit.DataLoader(cache, 20))
    with pytest.raises(IndexError):
        cache[1.0]


def test_more_memory_than_there_are_addresses_is_an_error_in_words():
    with pytest.raises(MemoryError, match="no shared memory for data that processes share"):
        MemoryCache([1], 1 << 60)


def test_an_empty_dataset_is_cached_as_such():
    cache = MemoryCache([], PLENTY)
    assert len(cache) == 0
    assert list(dlkit.DataLoader(cache, 2)) == []


def test_an_error_of_the_dataset_passes_through_and_is_not_kept():
    def make(index):
        if index == 3 and broken:
            raise OSError("gone")
        return index

    broken = [True]
    cache = MemoryCache(Counting(make), PLENTY, check_random=False)
    with pytest.raises(OSError, match="gone"):
        cache.__getitems__([2, 3])
    broken.clear()
    assert list(cache.__getitems__([2, 3])) == [2, 3]
