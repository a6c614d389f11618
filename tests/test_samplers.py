"""Every sampler: the order of PyTorch's class where it has one, and one contract for all."""

import io
from collections import Counter
from collections.abc import Callable
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils import data as torch_data

from dlkit import samplers

N = 23
LABELS = [i % 3 if i < 20 else 3 for i in range(N)]
LENGTHS = [(7 * i) % 19 + 1 for i in range(N)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Backwards(torch_data.Sampler[int]):
    """A sampler as users write one: no state, its order drawn when iter() is called."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Any:
        shift = int(torch.randint(self.n, ()))
        return iter([(shift - i) % self.n for i in range(self.n)])

    def __len__(self) -> int:
        return self.n


MAKERS: dict[str, Callable[[], Any]] = {
    "sequential": lambda: samplers.SequentialSampler(range(N)),
    "random": lambda: samplers.RandomSampler(range(N)),
    "random with generator": lambda: samplers.RandomSampler(range(N), generator=seeded()),
    "random, more than there is": lambda: samplers.RandomSampler(
        range(N), num_samples=60, generator=seeded()
    ),
    "replacement": lambda: samplers.RandomSampler(range(N), True, 80, seeded()),
    "weighted": lambda: samplers.WeightedRandomSampler(LENGTHS, 50, generator=seeded()),
    "weighted, once each": lambda: samplers.WeightedRandomSampler(LENGTHS, N, False),
    "subset": lambda: samplers.SubsetRandomSampler(range(5, 20)),
    "block": lambda: samplers.BlockShuffleSampler(range(N), 5, generator=seeded()),
    "batch": lambda: samplers.BatchSampler(samplers.RandomSampler(range(N)), 4, False),
    "batch, drop last": lambda: samplers.BatchSampler(
        samplers.RandomSampler(range(N), generator=seeded()), 4, True
    ),
    "batch of a foreign sampler": lambda: samplers.BatchSampler(Backwards(N), 4, False),
    "batch of PyTorch's sampler": lambda: samplers.BatchSampler(
        torch_data.RandomSampler(range(N), generator=seeded()), 4, False
    ),
    "stratified": lambda: samplers.StratifiedBatchSampler(LABELS, 5, generator=seeded()),
    "bucketed": lambda: samplers.LengthBucketSampler(LENGTHS, 4, bucket_batches=2),
    "distributed": lambda: samplers.DistributedSampler(range(N), 3, 1),
    "distributed, in order": lambda: samplers.DistributedSampler(range(N), 3, 2, shuffle=False),
    "batch of a distributed sampler": lambda: samplers.BatchSampler(
        samplers.DistributedSampler(range(N), 2, 1, pad=False), 4, False
    ),
    "buffer": lambda: samplers.ShuffleBuffer(range(N), 6, generator=seeded()),
    "foreign": lambda: samplers.resumable(Backwards(N)),
}

pytestmark = pytest.mark.filterwarnings("ignore::dlkit.samplers.RepeatedOrderWarning")
every_sampler = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


@every_sampler
def test_len_is_the_number_of_items(make: Callable[[], Any]) -> None:
    sampler = make()
    assert len(sampler) == len(list(sampler))


@every_sampler
def test_an_epoch_continues_from_every_position(make: Callable[[], Any]) -> None:
    for stop in range(len(make()) + 1):
        torch.manual_seed(7)
        whole = make()
        expected = [list(whole), list(whole)]

        torch.manual_seed(7)
        first = make()
        taken = list(islice(first, stop))
        buffer = io.BytesIO()
        torch.save(first.state_dict(), buffer)
        buffer.seek(0)

        torch.manual_seed(999)  # another process has other global random numbers
        second = make()
        second.load_state_dict(torch.load(buffer, weights_only=True))
        if taken:
            assert taken + list(second) == expected[0], f"stopped after {stop}"
            if getattr(second, "generator", None) is not None:
                assert list(second) == expected[1], "the epoch after the continued one"


@every_sampler
def test_the_state_can_be_asked_for_a_position_that_lags_behind(make: Callable[[], Any]) -> None:
    torch.manual_seed(3)
    expected = list(make())
    torch.manual_seed(3)
    ahead = make()
    list(ahead)  # a loader that prefetches has drawn everything, and delivered 2
    behind = make()
    behind.load_state_dict(ahead.state_dict(position=2))
    assert list(behind) == expected[2:]


@every_sampler
def test_a_loaded_state_is_returned_until_it_is_used(make: Callable[[], Any]) -> None:
    first = make()
    next(iter(first))
    state = first.state_dict()
    second = make()
    second.load_state_dict(state)
    third = make()
    third.load_state_dict(second.state_dict())
    assert list(third) == list(second)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (samplers.SequentialSampler, torch_data.SequentialSampler),
        (samplers.RandomSampler, torch_data.RandomSampler),
    ],
)
def test_default_samplers_draw_pytorchs_order(ours: Any, theirs: Any) -> None:
    torch.manual_seed(5)
    expected = [list(theirs(range(N))) for _ in range(3)]
    state = torch.get_rng_state()
    torch.manual_seed(5)
    assert [list(ours(range(N))) for _ in range(3)] == expected
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("with_generator", [False, True])
@pytest.mark.parametrize("taken", [0, 1, 31, 32, 33, 64, 1000])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("RandomSampler", {"data_source": range(N)}),
        ("RandomSampler", {"data_source": range(32)}),
        ("RandomSampler", {"data_source": range(N), "num_samples": 60}),
        ("RandomSampler", {"data_source": range(N), "num_samples": 5}),
        ("RandomSampler", {"data_source": range(N), "replacement": True, "num_samples": 80}),
        ("RandomSampler", {"data_source": range(N), "replacement": True, "num_samples": 64}),
        ("SubsetRandomSampler", {"indices": [4, 8, 15, 16, 23, 42]}),
        ("SubsetRandomSampler", {"indices": ["a", "b", ("c", 1)]}),
        ("WeightedRandomSampler", {"weights": LENGTHS, "num_samples": 40}),
        ("WeightedRandomSampler", {"weights": LENGTHS, "num_samples": 9, "replacement": False}),
    ],
)
def test_orders_and_random_numbers_equal_pytorchs_also_after_an_early_end(
    name: str, arguments: dict[str, Any], taken: int, with_generator: bool
) -> None:
    def run(module: Any) -> tuple[list[Any], torch.Tensor, torch.Tensor]:
        torch.manual_seed(11)
        generator = seeded(4) if with_generator else None
        sampler = getattr(module, name)(**arguments, generator=generator)
        items = list(islice(sampler, taken))
        items += list(sampler)
        own = generator.get_state() if generator else torch.zeros(0)
        return items, torch.get_rng_state(), own

    ours, theirs = run(samplers), run(torch_data)
    assert ours[0] == theirs[0]
    assert torch.equal(ours[1], theirs[1])
    assert torch.equal(ours[2], theirs[2])


@given(n=st.integers(1, 70), size=st.integers(1, 75), drop=st.booleans(), replace=st.booleans())
@settings(deadline=None, max_examples=150)
def test_batches_equal_pytorchs(n: int, size: int, drop: bool, replace: bool) -> None:
    def run(module: Any) -> tuple[list[list[int]], torch.Tensor]:
        generator = seeded(1)
        source = module.RandomSampler(range(n), replace, generator=generator)
        return list(module.BatchSampler(source, size, drop)), generator.get_state()

    ours, theirs = run(samplers), run(torch_data)
    assert ours[0] == theirs[0]
    assert torch.equal(ours[1], theirs[1])


def test_a_sequential_order_longer_than_a_block_is_complete() -> None:
    n = 65_536 * 2 + 17
    arrays = list(samplers.SequentialSampler(range(n)).arrays(1000))
    assert np.array_equal(np.concatenate(arrays), np.arange(n))
    assert {len(a) for a in arrays[:-1]} == {1000}


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=120),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 5),
)
@settings(deadline=None, max_examples=200)
def test_stratified_batches_keep_the_class_shares(
    labels: list[int], batch_size: int, seed: int
) -> None:
    sampler = samplers.StratifiedBatchSampler(labels, batch_size, generator=seeded(seed))
    batches = list(sampler)
    assert sorted(i for batch in batches for i in batch) == list(range(len(labels)))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    totals, seen, drawn = Counter(labels), Counter[int](), 0
    for batch in batches:
        seen.update(labels[i] for i in batch)
        drawn += len(batch)
        for label, total in totals.items():
            assert abs(seen[label] - total * drawn / len(labels)) < 1


@pytest.mark.parametrize("sizes", [[100, 5, 1, 100, 8, 100], [13, 1, 5, 100, 40, 13, 5, 40]])
@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_rare_classes_beside_frequent_ones_leave_every_batch_full(
    sizes: list[int], batch_size: int
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    batches = list(samplers.StratifiedBatchSampler(labels, batch_size))
    assert sorted(i for batch in batches for i in batch) == list(range(len(labels)))
    assert {len(batch) for batch in batches[:-1]} == {batch_size}
    come, drawn = np.zeros(len(sizes)), 0
    for batch in batches:
        come += np.bincount(labels[batch], minlength=len(sizes))
        drawn += len(batch)
        assert (np.abs(come - np.array(sizes) * drawn / len(labels)) < 1).all()


def test_a_stratified_order_differs_from_epoch_to_epoch_only_if_shuffled() -> None:
    shuffled = samplers.StratifiedBatchSampler(LABELS, 5, generator=seeded())
    assert list(shuffled) != list(shuffled)
    fixed = samplers.StratifiedBatchSampler(LABELS, 5, shuffle=False)
    assert list(fixed) == list(fixed)


@given(
    lengths=st.lists(st.integers(0, 50), min_size=1, max_size=90),
    batch_size=st.integers(1, 12),
    pool=st.integers(1, 5),
    drop=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_bucketed_batches_hold_each_sample_once_and_are_sorted_pools(
    lengths: list[int], batch_size: int, pool: int, drop: bool
) -> None:
    sampler = samplers.LengthBucketSampler(
        lengths, batch_size, bucket_batches=pool, drop_last=drop, generator=seeded()
    )
    batches = list(sampler)
    flat = [i for batch in batches for i in batch]
    assert len(flat) == len(set(flat))
    assert len(batches) == len(sampler)
    if not drop:
        assert len(flat) == len(lengths)
    for batch in batches:
        assert [lengths[i] for i in batch] == sorted(lengths[i] for i in batch)


def test_a_bucketed_order_pads_less_than_a_random_one() -> None:
    lengths = torch.randint(1, 200, (2000,), generator=seeded()).tolist()

    def padding(batches: Any) -> int:
        return sum(
            max(lengths[i] for i in b) * len(b) - sum(lengths[i] for i in b) for b in batches
        )

    plain = samplers.BatchSampler(samplers.RandomSampler(lengths, generator=seeded()), 16, False)
    bucketed = samplers.LengthBucketSampler(lengths, 16, generator=seeded())
    assert padding(bucketed) < 0.1 * padding(plain)


@given(n=st.integers(0, 60), size=st.integers(1, 70))
@settings(deadline=None, max_examples=100)
def test_a_shuffle_buffer_lets_no_sample_leave_too_early(n: int, size: int) -> None:
    order = list(samplers.ShuffleBuffer(range(n), size, generator=seeded(n)))
    assert sorted(order) == list(range(n))
    assert all(position >= index - (size - 1) for position, index in enumerate(order))


@given(n=st.integers(1, 80), size=st.integers(1, 90))
@settings(deadline=None, max_examples=100)
def test_a_block_shuffle_keeps_blocks_together(n: int, size: int) -> None:
    order = list(samplers.BlockShuffleSampler(range(n), size, generator=seeded(n)))
    assert sorted(order) == list(range(n))
    blocks = [index // size for index in order]
    changes = sum(a != b for a, b in pairwise(blocks))
    assert changes == len(set(blocks)) - 1


class EveryOther(samplers.SequentialSampler):
    """A subclass that changes what is yielded."""

    def __iter__(self) -> Any:
        return iter(range(0, len(self), 2))


def test_a_subclass_that_overrides_iter_is_obeyed() -> None:
    batches = samplers.BatchSampler(EveryOther(range(10)), 2, False)
    assert list(batches) == [[0, 2], [4, 6], [8]]


def test_an_exchanged_sampler_is_used() -> None:
    batches = samplers.BatchSampler(samplers.SequentialSampler(range(4)), 2, False)
    assert list(batches) == [[0, 1], [2, 3]]
    batches.sampler = [3, 1]
    assert list(batches) == [[3, 1]]


@pytest.mark.parametrize(
    ("make", "error", "word"),
    [
        (lambda: samplers.SequentialSampler(iter([1])), TypeError, "data_source"),
        (lambda: samplers.RandomSampler([]), ValueError, "empty"),
        (lambda: list(samplers.RandomSampler([], num_samples=3)), ValueError, "empty"),
        (lambda: list(samplers.RandomSampler([], True, 3)), ValueError, "empty"),
        (lambda: samplers.RandomSampler([1], replacement=1), TypeError, "replacement"),
        (lambda: samplers.RandomSampler([1], num_samples=0), ValueError, "num_samples"),
        (lambda: samplers.RandomSampler([1], num_samples=True), ValueError, "num_samples"),
        (lambda: samplers.RandomSampler([1], num_samples=2.0), ValueError, "num_samples"),
        (lambda: samplers.RandomSampler([1], generator=0), TypeError, "generator"),
        (lambda: samplers.WeightedRandomSampler([[1.0]], 1), ValueError, "flat"),
        (lambda: samplers.WeightedRandomSampler([1.0, -1.0], 1), ValueError, r"weights\[1\]"),
        (lambda: samplers.WeightedRandomSampler([float("nan")], 1), ValueError, "finite"),
        (lambda: samplers.WeightedRandomSampler([0.0, 0.0], 1), ValueError, "0 positive"),
        (lambda: samplers.WeightedRandomSampler([1.0], 2, False), ValueError, "without"),
        (lambda: samplers.WeightedRandomSampler([1.0], -1), ValueError, "num_samples"),
        (lambda: samplers.BatchSampler([1], 0, False), ValueError, "batch_size"),
        (lambda: samplers.BatchSampler([1], -2, False), ValueError, "batch_size"),
        (lambda: samplers.BatchSampler([1], 2.0, False), ValueError, "batch_size"),
        (lambda: samplers.BatchSampler([1], True, False), ValueError, "batch_size"),
        (lambda: samplers.BatchSampler([1], 2, 1), ValueError, "drop_last"),
        (lambda: samplers.StratifiedBatchSampler([], 2), ValueError, "labels"),
        (lambda: samplers.StratifiedBatchSampler([0.5], 2), ValueError, "integers"),
        (lambda: samplers.LengthBucketSampler([[1]], 2), ValueError, "lengths"),
        (lambda: samplers.LengthBucketSampler([1], 2, bucket_batches=0), ValueError, "bucket"),
        (lambda: samplers.BlockShuffleSampler([1], 0), ValueError, "block_size"),
        (lambda: samplers.ShuffleBuffer(3, 2), TypeError, "iterable"),
        (lambda: samplers.ShuffleBuffer([3], 0), ValueError, "buffer_size"),
    ],
)
def test_a_bad_argument_is_named(
    make: Callable[[], Any], error: type[Exception], word: str
) -> None:
    with pytest.raises(error, match=word):
        make()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("sequential", "random"),
        ("random", "subset"),
        ("batch", "batch, drop last"),
        ("stratified", "bucketed"),
        ("foreign", "sequential"),
        ("sequential", "foreign"),
        ("batch", "stratified"),
    ],
)
def test_a_state_of_another_sampler_is_refused(first: str, second: str) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        MAKERS[second]().load_state_dict(MAKERS[first]().state_dict())


def test_a_state_of_another_length_is_refused() -> None:
    state = samplers.RandomSampler(range(5)).state_dict()
    with pytest.raises(ValueError, match="length 5"):
        samplers.RandomSampler(range(6)).load_state_dict(state)
