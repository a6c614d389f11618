"""A rank's share of the data: PyTorch's where PyTorch has it, and each sample once where not."""

import io
import random
import warnings
from collections import Counter
from itertools import islice, pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils import data as torch_data

from dlkit import DataLoader
from dlkit.samplers import BatchSampler, DistributedSampler, RepeatedOrderWarning
from dlkit.samplers.distributed import random_order, shuffled_share
from dlkit.samplers.shares import Deal

MODES = {
    "padded": {},
    "dropped": {"drop_last": True},
    "uneven": {"pad": False},
    "dropped, pad=False": {"drop_last": True, "pad": False},
}
every_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())


def ranks_of(n, world, **options):
    return [DistributedSampler(range(n), world, rank, **options) for rank in range(world)]


def through_a_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


# ---- equal to PyTorch's --------------------------------------------------------------------------


def both(n, world, rank, shuffle, seed, drop_last, epoch):
    theirs = torch_data.DistributedSampler(range(n), world, rank, shuffle, seed, drop_last)
    ours = DistributedSampler(range(n), world, rank, shuffle, seed, drop_last)
    for sampler in (theirs, ours):
        sampler.set_epoch(epoch)
    return ours, theirs


def test_indices_and_attributes_equal_pytorchs_for_all_small_sizes():
    names = ("num_replicas", "rank", "epoch", "drop_last", "num_samples", "total_size", "seed")
    for n, world in product(range(25), range(1, 6)):
        for rank, shuffle, drop_last in product(range(world), (True, False), (True, False)):
            for epoch in (0, 1) if shuffle else (0,):
                ours, theirs = both(n, world, rank, shuffle, 3, drop_last, epoch)
                case = (n, world, rank, shuffle, drop_last, epoch)
                assert list(ours) == list(theirs), case
                assert len(ours) == len(theirs), case
                found = [getattr(ours, name) for name in names]
                assert found == [getattr(theirs, name) for name in names], case


@given(
    n=st.integers(0, 3000),
    world=st.integers(1, 70),
    rank=st.floats(0, 1, exclude_max=True),
    shuffle=st.booleans(),
    seed=st.integers(-(2**40), 2**40),
    drop_last=st.booleans(),
    epoch=st.integers(0, 10**6),
)
@settings(deadline=None, max_examples=200)
def test_indices_equal_pytorchs(n, world, rank, shuffle, seed, drop_last, epoch):
    ours, theirs = both(n, world, int(rank * world), shuffle, seed, drop_last, epoch)
    assert list(ours) == list(theirs)


def test_a_share_longer_than_a_block_equals_pytorchs():
    for shuffle in (True, False):
        ours, theirs = both(200_001, 3, 2, shuffle, 0, False, 0)
        assert list(ours) == list(theirs)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_a_loader_equal_pytorchs_with_and_without_set_epoch(workers):
    data = torch.arange(29)
    theirs = torch_data.DistributedSampler(data, 3, 1, seed=4)
    ours = DistributedSampler(data, 3, 1, seed=4)
    calm = DataLoader(data, 4, sampler=ours, num_workers=workers, worker_method="thread")
    reference = torch_data.DataLoader(data, 4, sampler=theirs)
    for epoch in range(3):
        theirs.set_epoch(epoch)
        assert [b.tolist() for b in calm] == [b.tolist() for b in reference]


def test_it_is_an_instance_of_pytorchs_class_and_works_in_pytorchs_loader():
    ours, theirs = both(10, 3, 1, True, 0, False, 2)
    assert isinstance(ours, torch_data.DistributedSampler)
    batches = [list(torch_data.DataLoader(range(10), 2, sampler=s)) for s in (ours, theirs)]
    assert [b.tolist() for b in batches[0]] == [b.tolist() for b in batches[1]]


def test_the_epoch_is_that_at_iter_as_in_pytorch():
    ours, theirs = both(20, 2, 0, True, 0, False, 0)
    running = [iter(ours), iter(theirs)]
    for sampler in (ours, theirs):
        sampler.set_epoch(1)
    assert list(running[0]) == list(running[1])


def test_no_random_number_of_the_process_is_drawn():
    before = torch.get_rng_state()
    list(DistributedSampler(range(10), 2, 0))
    assert torch.equal(before, torch.get_rng_state())


def test_an_order_takes_four_bytes_a_sample_and_a_share_nothing_more():
    assert random_order(1000, 0).nbytes == 4 * 1000
    assert random_order(1000, 0).tolist() == torch.randperm(
        1000, generator=torch.Generator().manual_seed(0)
    ).tolist()  # fmt: skip
    share = shuffled_share(Deal(1000, 8), 3, 0)
    assert share.base is None
    assert share.nbytes == 4 * 125


# ---- every sample once ---------------------------------------------------------------------------


def expected_counts(n, world, drop_last, pad):
    """How often samples come, sorted: a brute-force statement of the documented rule."""
    if drop_last:
        return sorted([0] * (n % world) + [1] * (n - n % world))
    short = -n % world if pad and n else 0
    return sorted(1 + short // n + (place < short % n) for place in range(n))


@every_mode
def test_every_sample_comes_once_or_as_often_as_the_padding_says(mode):
    rule = {"drop_last": False, "pad": True, **mode}
    for n, world, shuffle in product(range(25), range(1, 6), (True, False)):
        for epoch in range(2):
            shares = []
            for sampler in ranks_of(n, world, shuffle=shuffle, **mode):
                sampler.set_epoch(epoch)
                shares.append(list(sampler))
                assert len(sampler) == sampler.num_samples == len(shares[-1])
            counts = Counter(index for share in shares for index in share)
            found = sorted(counts[index] for index in range(n))
            assert found == expected_counts(n, world, **rule), (n, world, shuffle)
            lengths = [len(share) for share in shares]
            assert max(lengths) - min(lengths) <= (0 if mode != MODES["uneven"] else 1)
            assert lengths == sorted(lengths, reverse=True)


def test_without_padding_a_rank_gets_what_it_gets_with_it_but_for_the_padding():
    for n, world in product(range(1, 25), range(1, 6)):
        padded, bare = ranks_of(n, world), ranks_of(n, world, pad=False)
        for one, other in zip(padded, bare, strict=True):
            assert list(one)[: len(other)] == list(other)


@given(n=st.integers(0, 400), world=st.integers(1, 30), size=st.integers(1, 40), drop=st.booleans())
@settings(deadline=None, max_examples=100)
def test_arrays_are_the_indices_in_pieces(n, world, size, drop):
    for sampler in ranks_of(n, world, pad=False)[:3]:
        arrays = list(BatchSampler(sampler, size, drop).arrays())
        assert all(array.dtype == np.int64 for array in arrays)
        whole = list(DistributedSampler(range(n), world, sampler.rank, pad=False))
        kept = len(whole) - len(whole) % size if drop else len(whole)
        assert [index for array in arrays for index in array.tolist()] == whole[:kept]


# ---- epochs --------------------------------------------------------------------------------------


def passes(loader, count):
    return [[index for batch in loader for index in batch.tolist()] for _ in range(count)]


def orders(n, world, rank, epochs, **options):
    sampler = DistributedSampler(range(n), world, rank, **options)
    found = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        found.append(list(sampler))
    return found


@pytest.mark.parametrize("kind", [DistributedSampler, torch_data.DistributedSampler])
@pytest.mark.parametrize("settings", [{}, {"num_workers": 2, "persistent_workers": True}], ids=str)
@pytest.mark.filterwarnings("ignore::dlkit.samplers.RepeatedOrderWarning")
def test_the_loader_moves_the_epoch_on(kind, settings):
    sampler = kind(range(20), 2, 1)
    loader = DataLoader(range(20), 3, sampler=sampler, **settings)
    assert passes(loader, 3) == orders(20, 2, 1, (0, 1, 2))
    assert sampler.epoch == 2
    del loader


def test_every_iterator_begins_an_epoch_also_if_the_last_was_left_early():
    loader = DataLoader(range(20), 3, sampler=DistributedSampler(range(20), 2, 1))
    next(iter(loader))
    next(iter(loader))
    assert passes(loader, 1) == orders(20, 2, 1, (2,))


def test_an_explicit_epoch_wins_and_the_loader_goes_on_from_there():
    sampler = DistributedSampler(range(20), 2, 1)
    loader = DataLoader(range(20), 3, sampler=sampler)
    found = passes(loader, 2)
    for epoch in (7, 3):
        sampler.set_epoch(epoch)
        found += passes(loader, 2)
    assert found == orders(20, 2, 1, (0, 1, 7, 8, 3, 4))


@pytest.mark.parametrize("kind", [DistributedSampler, torch_data.DistributedSampler])
def test_set_epoch_before_each_pass_gives_no_warning(kind):
    sampler = kind(range(20), 2, 1)
    loader = DataLoader(range(20), 3, sampler=sampler)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch in range(3):
            sampler.set_epoch(epoch)
            assert passes(loader, 1) == orders(20, 2, 1, (epoch,))


def test_two_loaders_over_one_sampler_see_the_same_epoch():
    sampler = DistributedSampler(range(20), 2, 1)
    first, second = (DataLoader(range(20), 3, sampler=sampler) for _ in range(2))
    for _ in range(3):
        assert passes(first, 1) == passes(second, 1)


def test_an_epoch_that_somebody_sets_again_is_repeated_with_a_warning():
    sampler = DistributedSampler(range(20), 2, 1)
    loader = DataLoader(range(20), 3, sampler=sampler)
    sampler.set_epoch(4)
    first = passes(loader, 1)
    sampler.set_epoch(4)
    with pytest.warns(RepeatedOrderWarning, match="begins epoch 4 again") as caught:
        assert passes(loader, 1) == first
    assert caught[0].filename == __file__


def test_a_repeated_order_is_warned_of_without_a_loader_too():
    sampler = DistributedSampler(range(20), 2, 1)
    first = list(sampler)
    with pytest.warns(RepeatedOrderWarning, match="begins epoch 0 again") as caught:
        assert list(sampler) == first
    assert caught[0].filename == __file__


def test_an_order_that_is_not_shuffled_may_repeat():
    sampler = DistributedSampler(range(20), 2, 1, shuffle=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(sampler) == list(sampler)
        assert len(set(map(tuple, passes(DataLoader(range(20), 3, sampler=sampler), 3)))) == 1


def test_pytorchs_sampler_without_set_epoch_is_moved_on_and_warned_of_once():
    sampler = torch_data.DistributedSampler(range(20), 2, 1)
    loader = DataLoader(range(20), 3, sampler=sampler)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = passes(loader, 4)
    assert found == orders(20, 2, 1, range(4))
    assert [w.category for w in caught] == [RepeatedOrderWarning]
    assert "set_epoch was not called" in str(caught[0].message)
    assert caught[0].filename == __file__


class EveryOther(torch_data.DistributedSampler):
    """Somebody's subclass that PyTorch's loader would obey."""

    def __iter__(self):
        return islice(super().__iter__(), 0, None, 2)


@pytest.mark.filterwarnings("ignore::dlkit.samplers.RepeatedOrderWarning")
def test_a_subclass_of_pytorchs_is_obeyed_and_moved_on():
    loader = DataLoader(range(20), 3, sampler=EveryOther(range(20), 2, 1))
    assert passes(loader, 2) == [order[::2] for order in orders(20, 2, 1, (0, 1))]


def test_a_subclass_of_pytorchs_is_resumed_in_its_own_world_only():
    def loader(world):
        return DataLoader(range(24), 2, sampler=EveryOther(range(24), world, 0))

    saved = loader(2)
    running = iter(saved)
    next(running)
    state = saved.state_dict()
    same = loader(2)
    same.load_state_dict(state)
    assert [b.tolist() for b in same] == [b.tolist() for b in running]
    with pytest.raises(ValueError, match="EveryOther for 2 ranks, but this is EveryOther for 3"):
        loader(3).load_state_dict(state)


# ---- another world size --------------------------------------------------------------------------


def resumed(n, world, state, mode, **options):
    """What new ranks get after loading the state, which each gets from a file."""
    shares = []
    for sampler in ranks_of(n, world, **mode, **options):
        sampler.load_state_dict(through_a_file(state))
        shares.append(list(sampler))
    return shares


def dealt(shares):
    return [index for share in shares for index in share]


@every_mode
@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_continues_at_every_world_size_from_every_position(mode, shuffle):
    for n, before, after in product((0, 1, 2, 5, 9, 12, 13), range(1, 5), range(1, 5)):
        whole = [list(s) for s in ranks_of(n, before, shuffle=shuffle, **mode)]
        order = list(DistributedSampler(range(n), 1, 0, shuffle=shuffle))
        for turns in range(len(whole[0]) + 1):
            samplers = ranks_of(n, before, shuffle=shuffle, **mode)
            taken = [list(islice(sampler, turns)) for sampler in samplers]
            states = [sampler.state_dict(position=turns) for sampler in samplers]
            assert all(state == states[0] for state in states)
            rest = resumed(n, after, states[0], mode, shuffle=shuffle)
            case = (n, before, after, turns)
            if before == after:
                assert [a + b for a, b in zip(taken, rest, strict=True)] == whole, case
            gone = min(n, turns * before)
            assert sorted(set(dealt(taken))) == sorted(order[:gone])
            left = Deal(n, after, gone, mode.get("pad", True), mode.get("drop_last", False))
            once = order[gone : n - (n - gone) % after if mode.get("drop_last") else n]
            assert Counter(dealt(rest)) - Counter(once) == Counter(
                order[place % n] for place in range(n, n + left.padding)
            ), case
            assert not Counter(once) - Counter(dealt(rest)), case


def test_a_state_moves_through_many_world_sizes():
    generator = random.Random(0)
    for _ in range(100):
        n, seen, state = generator.randrange(1, 60), [], None
        for _ in range(6):
            world = generator.randrange(1, 7)
            samplers = ranks_of(n, world, seed=3, pad=False)
            for sampler in samplers:
                sampler.set_epoch(5)
                if state is not None:
                    sampler.load_state_dict(through_a_file(state))
            done = sum(turns for _, turns in state["legs"]) if state else 0
            turns = generator.randrange(4)
            seen += dealt([list(islice(sampler, turns)) for sampler in samplers])
            state = samplers[-1].state_dict(position=done + turns)
        seen += dealt(resumed(n, 2, state, {"pad": False}, seed=3))
        assert sorted(seen) == list(range(n))


class Positions(torch.utils.data.Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return index


def loaders_of(n, world, batch_size, **settings):
    return [
        DataLoader(Positions(n), batch_size, sampler=sampler, **settings)
        for sampler in ranks_of(n, world, seed=1, pad=False)
    ]


@pytest.mark.parametrize("change", [(3, 2), (2, 1), (1, 2), (2, 3), (3, 3), (4, 1)], ids=str)
@pytest.mark.parametrize("sizes", [(2, 2), (2, 3), (3, 1)], ids=str)
def test_loaders_continue_at_another_world_size_and_batch_size_from_every_batch(change, sizes):
    n, epoch = 23, 1
    for steps in range(-(-n // (change[0] * sizes[0])) + 1):
        seen, states = [], []
        for loader in loaders_of(n, change[0], sizes[0]):
            passes(loader, epoch)
            running = iter(loader)
            seen += [i for batch in islice(running, steps) for i in batch.tolist()]
            states.append(through_a_file(loader.state_dict()))
        second, following = [], []
        for loader in loaders_of(n, change[1], sizes[1]):
            loader.load_state_dict(states[0])
            second += passes(loader, 1)[0]
            following += passes(loader, 1)[0]
        assert sorted(seen + second) == list(range(n)), steps
        third = dealt(orders(n, change[1], r, (epoch + 1,), seed=1, pad=False)[0]
                      for r in range(change[1]))  # fmt: skip
        assert following == third


def test_a_loader_that_was_resumed_elsewhere_can_be_saved_and_resumed_again():
    n, seen, state = 41, [], None
    for world, size, steps in ((3, 2, 2), (2, 3, 1), (4, 1, 2), (1, 5, 1), (2, 2, 100)):
        states = []
        for loader in loaders_of(n, world, size):
            if state is not None:
                loader.load_state_dict(through_a_file(state))
            running = iter(loader)
            seen += [i for batch in islice(running, steps) for i in batch.tolist()]
            states.append(loader.state_dict())
        assert len({str(s["epoch"]["order"]) for s in states if s["epoch"]}) <= 1
        state = states[0]
    assert sorted(seen) == list(range(n))


def test_a_loaded_state_of_a_finished_pass_starts_the_next_epoch():
    loader = loaders_of(20, 2, 3)[0]
    passes(loader, 2)
    other = loaders_of(20, 2, 3)[0]
    other.load_state_dict(through_a_file(loader.state_dict()))
    assert passes(other, 1) == passes(loader, 1) == orders(20, 2, 0, (2,), seed=1, pad=False)


def test_pytorchs_sampler_is_resumed_in_its_epoch_at_another_world_size():
    seen, states = [], []
    for rank in range(3):
        sampler = torch_data.DistributedSampler(range(24), 3, rank)
        sampler.set_epoch(5)
        loader = DataLoader(range(24), 2, sampler=sampler)
        running = iter(loader)
        seen += [i for batch in islice(running, 2) for i in batch.tolist()]
        states.append(loader.state_dict())
    for rank in range(2):
        loader = DataLoader(range(24), 2, sampler=torch_data.DistributedSampler(range(24), 2, rank))
        loader.load_state_dict(states[0])
        seen += passes(loader, 1)[0]
    assert sorted(seen) == list(range(24))
    assert loader.sampler.epoch == 5


@pytest.mark.parametrize("epoch", [4, 9])
def test_the_epoch_of_a_loaded_state_may_be_set_again_and_another_is_said_to_be_wrong(epoch):
    saved, loader = loaders_of(20, 2, 3)[0], loaders_of(20, 2, 3)[0]
    saved.sampler.set_epoch(4)
    running = iter(saved)
    next(running)
    loader.load_state_dict(saved.state_dict())
    loader.sampler.set_epoch(epoch)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [b.tolist() for b in loader] == [b.tolist() for b in running]
    assert [str(w.message)[:12] for w in caught] == (["set_epoch(9)"] if epoch == 9 else [])
    assert loader.sampler.epoch == 4


def test_batches_delivered_out_of_turn_keep_a_state_at_its_world_size():
    loader = DataLoader(
        Positions(24), 2, sampler=DistributedSampler(range(24), 2, 0), in_order=False
    )
    next(iter(loader))
    state = loader.state_dict()
    state["epoch"]["early"] = [3]  # as if a second worker had overtaken the first
    same, other = (
        DataLoader(Positions(24), 2, sampler=DistributedSampler(range(24), world, 0))
        for world in (2, 3)
    )
    same.load_state_dict(state)
    with pytest.raises(ValueError, match="before their turn"):
        other.load_state_dict(state)


# ---- nonsense ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"dataset": 5}, TypeError, "dataset must have a length"),
        ({"num_replicas": 0}, ValueError, "num_replicas must be a positive integer"),
        ({"num_replicas": -1}, ValueError, "num_replicas"),
        ({"num_replicas": 2.0}, ValueError, "num_replicas"),
        ({"num_replicas": True}, ValueError, "num_replicas"),
        ({"rank": 2}, ValueError, "rank must be an integer from 0 to 1 .* but got 2"),
        ({"rank": -1}, ValueError, "rank"),
        ({"rank": 0.5}, ValueError, "rank"),
        ({"rank": "0"}, ValueError, "rank"),
        ({"num_replicas": None}, ValueError, "no process group .* num_replicas=None and rank=1"),
        ({"rank": None}, ValueError, "no process group"),
        ({"shuffle": 1}, ValueError, "shuffle must be True or False"),
        ({"seed": 0.5}, TypeError, "seed must be an integer, but got 0.5"),
        ({"seed": None}, TypeError, "seed"),
        ({"drop_last": None}, ValueError, "drop_last"),
        ({"pad": 0}, ValueError, "pad"),
    ],
    ids=str,
)
def test_a_bad_argument_is_named(arguments, error, words):
    with pytest.raises(error, match=words):
        DistributedSampler(**{"dataset": range(9), "num_replicas": 2, "rank": 1, **arguments})


@pytest.mark.parametrize("epoch", ["1", 0.0, None, [1]])
def test_an_epoch_that_is_no_integer_is_refused(epoch):
    sampler = DistributedSampler(range(9), 2, 1)
    with pytest.raises(TypeError, match="epoch must be an integer"):
        sampler.set_epoch(epoch)
    sampler.set_epoch(np.int64(3))
    assert sampler.epoch == 3


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"shuffle": False}, {"dataset": range(8)}], ids=str
)
def test_a_state_of_another_order_is_refused(change):
    state = DistributedSampler(range(9), 2, 1).state_dict()
    sampler = DistributedSampler(**{"dataset": range(9), "num_replicas": 2, "rank": 1, **change})
    with pytest.raises(ValueError, match="does not fit"):
        sampler.load_state_dict(state)


def test_the_ranks_come_from_the_process_group(monkeypatch):
    group = {"is_initialized": True, "get_world_size": 3, "get_rank": 2}
    for name, value in group.items():
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    sampler = DistributedSampler(range(7))
    assert (sampler.num_replicas, sampler.rank) == (3, 2)
    assert list(sampler) == list(torch_data.DistributedSampler(range(7)))
    assert DistributedSampler(range(7), rank=1).rank == 1


def test_epochs_have_different_orders_and_the_same_on_all_ranks():
    found = [orders(24, 1, 0, (epoch,))[0] for epoch in range(5)]
    assert all(a != b for a, b in pairwise(found))
