"""Any sampler, stream or disk dealt to ranks, and the plan that shows it: each sample once."""

import random
import warnings
from collections import Counter
from itertools import islice, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils import data as torch_data

from dlkit import DataLoader, get_worker_info, samplers
from dlkit.randomness import get_rng_state
from dlkit.samplers import (
    BatchSampler,
    DistributedSampler,
    LengthBucketSampler,
    NodeDistributedSampler,
    RandomSampler,
    ShardedBatchSampler,
    ShardedIterable,
    ShardedSampler,
    StratifiedBatchSampler,
    plan_of,
    shard_plan,
    this_reader,
)

pytestmark = pytest.mark.filterwarnings("ignore::dlkit.samplers.RepeatedOrderWarning")
N = 23
LABELS = [i % 3 if i < 20 else 3 for i in range(N)]
LENGTHS = [(7 * i) % 19 + 1 for i in range(N)]


class Backwards(torch_data.Sampler):
    """A sampler as users write one: it draws from the global random numbers."""

    def __iter__(self):
        shift = int(torch.randint(N, ())) + random.randrange(N)
        shift += np.random.randint(N)  # noqa: NPY002
        return iter([(shift - i) % N for i in range(N)])

    def __len__(self):
        return N


class ByEpoch(Backwards):
    """One whose order depends on the epoch alone."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        return iter([(index + self.epoch) % N for index in range(N)])


INDICES = {
    "sequential": lambda: samplers.SequentialSampler(range(N)),
    "random": lambda: RandomSampler(range(N)),
    "random with generator": lambda: RandomSampler(range(N), generator=torch.Generator()),
    "PyTorch's random": lambda: torch_data.RandomSampler(range(N)),
    "subset": lambda: samplers.SubsetRandomSampler(range(N)),
    "weighted, once each": lambda: samplers.WeightedRandomSampler(LENGTHS, N, False),
    "block": lambda: samplers.BlockShuffleSampler(range(N), 5),
    "list": lambda: [*range(N)],
    "foreign": Backwards,
    "by epoch": ByEpoch,
}
BATCHES = {
    "batch": lambda: BatchSampler(RandomSampler(range(N)), 2, False),
    "PyTorch's batch": lambda: torch_data.BatchSampler(RandomSampler(range(N)), 2, False),
    "batch of a foreign sampler": lambda: BatchSampler(Backwards(), 2, False),
    "stratified": lambda: StratifiedBatchSampler(LABELS, 2),
    "bucketed": lambda: LengthBucketSampler(LENGTHS, 2, bucket_batches=3),
    "lists": lambda: [[2 * i, 2 * i + 1] for i in range(N // 2)] + [[N - 1]],
}


def bucketed(source, world, rank, **options):
    return ShardedBatchSampler(source, world, rank, lengths=LENGTHS, **options)


CASES = {
    **{name: (ShardedSampler, make) for name, make in INDICES.items()},
    **{name: (ShardedBatchSampler, make) for name, make in BATCHES.items()},
    "bucketed, balanced": (bucketed, BATCHES["bucketed"]),
}
every_case = pytest.mark.parametrize(("kind", "make"), CASES.values(), ids=CASES.keys())


def ranks_of(kind, make, world, epoch=0, **options):
    found = []
    for rank in range(world):
        torch.manual_seed(rank)  # ranks have drawn other random numbers before
        found.append(kind(make(), world, rank, **options))
        found[-1].set_epoch(epoch)
    return found


def flat(shares):
    return [
        i for share in shares for item in share for i in (item if type(item) is list else [item])
    ]


# ---- any sampler ---------------------------------------------------------------------------------


@every_case
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_every_sample_comes_once_or_as_the_padding_says(kind, make, world):
    for epoch in range(2):
        shares = [list(rank) for rank in ranks_of(kind, make, world, epoch, pad=False)]
        assert sorted(flat(shares)) == list(range(N))
        lengths = [len(share) for share in shares]
        assert max(lengths) - min(lengths) <= 1
        assert lengths == [len(rank) for rank in ranks_of(kind, make, world, epoch, pad=False)]
        padded = [list(rank) for rank in ranks_of(kind, make, world, epoch)]
        assert {len(share) for share in padded} == {max(lengths)}
        assert [share[:k] for share, k in zip(padded, lengths, strict=True)] == shares
        dropped = [list(rank) for rank in ranks_of(kind, make, world, epoch, drop_last=True)]
        assert [share[: sum(lengths) // world] for share in shares] == dropped


@every_case
def test_dealing_leaves_the_random_numbers_of_the_process_alone(kind, make):
    rank = kind(make(), 2, 1)
    before = get_rng_state()
    list(rank)
    assert str(get_rng_state()) == str(before)
    assert torch.equal(get_rng_state()["torch"], before["torch"])


@every_case
def test_epochs_differ_if_the_sampler_is_random_and_repeat_if_their_number_does(kind, make):
    first, second, again = (flat([list(ranks_of(kind, make, 2, e)[0])]) for e in (0, 1, 0))
    assert first == again
    assert (first != second) == (make not in (INDICES["sequential"], INDICES["list"],
                                              BATCHES["lists"]))  # fmt: skip


@every_case
@pytest.mark.parametrize("change", [(3, 2), (2, 1), (2, 3), (1, 4), (3, 3)], ids=str)
def test_an_epoch_continues_at_another_world_size_from_every_position(kind, make, change):
    before, after = change
    length = len(kind(make(), before, 0))
    for turns in range(length + 1):
        ranks = ranks_of(kind, make, before, 3, pad=False)
        taken = [list(islice(rank, turns)) for rank in ranks]
        state = ranks[-1].state_dict(position=turns)
        rest = []
        for rank in ranks_of(kind, make, after, 0, pad=False):
            rank.load_state_dict(state)
            rest.append(list(rank))
        assert sorted(flat(taken) + flat(rest)) == list(range(N)), turns
        if before == after:
            whole = [list(rank) for rank in ranks_of(kind, make, before, 3, pad=False)]
            assert [a + b for a, b in zip(taken, rest, strict=True)] == whole


def test_a_balanced_order_moves_through_many_world_sizes():
    generator = random.Random(1)
    for _ in range(30):
        seen, state, done = [], None, 0
        for world in (*(generator.randrange(1, 5) for _ in range(4)), 3):
            ranks = ranks_of(bucketed, BATCHES["bucketed"], world, pad=False)
            turns = generator.randrange(3)
            for rank in ranks:
                if state is not None:
                    rank.load_state_dict(state)
                seen += flat([list(islice(rank, turns))])
            done += turns
            state = ranks[0].state_dict(position=done)
        for rank in ranks_of(bucketed, BATCHES["bucketed"], 2, pad=False):
            rank.load_state_dict(state)
            seen += flat([list(rank)])
        assert sorted(seen) == list(range(N))


@every_case
def test_a_loader_numbers_the_epochs_and_resumes_in_the_middle(kind, make):
    batched = kind is not ShardedSampler
    loaders = []
    for _ in range(2):
        sampler = kind(make(), 2, 1, pad=False)
        options = {"batch_sampler": sampler} if batched else {"sampler": sampler, "batch_size": 3}
        loaders.append(DataLoader(range(N), **options))
    for epoch in range(3):
        expected = flat([list(ranks_of(kind, make, 2, epoch, pad=False)[1])])
        running = iter(loaders[0])
        taken = [i for batch in islice(running, 2) for i in batch.tolist()]
        loaders[1].load_state_dict(loaders[0].state_dict())
        rest = [i for batch in running for i in batch.tolist()]
        assert taken + rest == expected
        assert [i for batch in loaders[1] for i in batch.tolist()] == rest


def test_weights_hold_over_all_ranks_together():
    weights = [1.0] * 90 + [9.0] * 10
    ranks = [
        ShardedSampler(samplers.WeightedRandomSampler(weights, 9000), 3, rank) for rank in range(3)
    ]
    shares = [list(rank) for rank in ranks]
    for share in shares:
        rare = sum(index >= 90 for index in share) / len(share)
        assert 0.45 < rare < 0.55
    assert shares[0] != shares[1] != shares[2]


def test_stratified_batches_are_whole_on_each_rank():
    labels = [0] * 24 + [1] * 12
    for rank in ranks_of(ShardedBatchSampler, lambda: StratifiedBatchSampler(labels, 6), 3):
        assert [sum(labels[i] for i in batch) for batch in rank] == [2, 2]


def slowness(ranks, lengths):
    """The sum over steps of the slowest rank's work, in units of the mean rank's."""
    steps = list(zip(*ranks, strict=True))
    work = np.array([[len(b) * max(lengths[i] for i in b) for b in step] for step in steps])
    return work.max(axis=1).sum() / work.mean(axis=1).sum()


def test_balanced_batches_of_a_step_take_about_the_same_work_on_all_ranks():
    lengths = torch.randint(1, 200, (2048,), generator=torch.Generator().manual_seed(0)).tolist()
    source = LengthBucketSampler(lengths, 16, bucket_batches=16)
    plain = [ShardedBatchSampler(source, 4, rank) for rank in range(4)]
    balanced = [ShardedBatchSampler(source, 4, rank, lengths=lengths) for rank in range(4)]
    assert slowness(plain, lengths) > 1.4
    assert slowness(balanced, lengths) < 1.05
    totals = [sum(len(b) * max(lengths[i] for i in b) for b in rank) for rank in balanced]
    assert max(totals) < 1.05 * min(totals)
    assert sorted(map(tuple, flat_batches(plain))) == sorted(map(tuple, flat_batches(balanced)))


def flat_batches(ranks):
    return [batch for rank in ranks for batch in rank]


# ---- nodes ---------------------------------------------------------------------------------------


def node_ranks(node_of_sample, node_of_rank, epoch=0, **options):
    ranks = []
    for rank in range(len(node_of_rank)):
        ranks.append(
            NodeDistributedSampler(
                node_of_sample, len(node_of_rank), rank, node_of_rank=node_of_rank, **options
            )
        )
        ranks[-1].set_epoch(epoch)
    return ranks


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    ranks=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    shuffle=st.booleans(),
    epoch=st.integers(0, 2),
)
@settings(deadline=None, max_examples=60)
def test_a_rank_gets_samples_of_its_node_only_and_each_comes_once(sizes, ranks, shuffle, epoch):
    node_of_sample = np.random.default_rng(0).permutation(np.repeat(range(len(sizes)), sizes))
    node_of_rank = [node for node in range(len(sizes)) for _ in range(ranks[node])]
    shares = {}
    for name, options in (("uneven", {"pad": False}), ("pad", {}), ("drop", {"drop_last": True})):
        made = node_ranks(node_of_sample, node_of_rank, epoch, shuffle=shuffle, **options)
        shares[name] = [list(rank) for rank in made]
        assert [len(rank) for rank in made] == [len(share) for share in shares[name]]
        for share, node in zip(shares[name], node_of_rank, strict=True):
            assert all(node_of_sample[index] == node for index in share)
    assert sorted(flat(shares["uneven"])) == list(range(sum(sizes)))
    per_rank = [-(-size // count) for size, count in zip(sizes, ranks, strict=False)]
    assert {len(share) for share in shares["pad"]} == {max(per_rank)}
    assert set(flat(shares["pad"])) == set(range(sum(sizes)))
    fewest = min(size // count for size, count in zip(sizes, ranks, strict=False))
    assert {len(share) for share in shares["drop"]} == {fewest}
    assert max(Counter(flat(shares["drop"])).values(), default=1) == 1


@pytest.mark.parametrize("after", [[0, 0, 1, 1], [0, 1], [1, 0, 1], [0, 1, 1, 1]], ids=str)
def test_nodes_continue_with_other_ranks_from_every_position(after):
    node_of_sample, before = [0] * 11 + [1] * 6, [0, 0, 1, 1]
    for turns in range(7):
        ranks = node_ranks(node_of_sample, before, 2, pad=False)
        seen = flat([list(islice(rank, turns)) for rank in ranks])
        state = ranks[0].state_dict(position=turns)
        for rank in node_ranks(node_of_sample, after, pad=False):
            rank.load_state_dict(state)
            seen += list(rank)
        assert sorted(seen) == list(range(17))


def test_the_node_of_a_rank_is_torchruns(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    sampler = NodeDistributedSampler([0, 0, 0, 0, 1, 1, 1, 1], 4, 2, shuffle=False)
    assert list(sampler) == [4, 6]


# ---- streams -------------------------------------------------------------------------------------


class Stream(torch_data.IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))


def test_readers_of_a_stream_get_each_sample_once_for_all_small_sizes(monkeypatch):
    for n, world, workers, drop_last in product(
        range(25), range(1, 6), (0, 1, 2, 3), (True, False)
    ):
        counts = []
        for worker, rank in product(range(max(workers, 1)), range(world)):
            info = type("Info", (), {"id": worker, "num_workers": workers}) if workers else None
            monkeypatch.setattr("dlkit.samplers.readers.get_worker_info", lambda info=info: info)
            counts.append(list(ShardedIterable(range(n), world, rank, drop_last=drop_last)))
        # A worker's turn over all ranks is whole or left out, and neighbours are in one turn.
        kept = n - n % world if drop_last else n
        assert sorted(flat(counts)) == list(range(kept))
        for of_worker in (counts[w * world : (w + 1) * world] for w in range(max(workers, 1))):
            lengths = [len(share) for share in of_worker]
            assert max(lengths) - min(lengths) <= (0 if drop_last else 1)
        of_ranks = [len(flat(counts[rank::world])) for rank in range(world)]
        assert of_ranks == [len(ShardedIterable(range(n), world, r, drop_last=drop_last))
                            for r in range(world)]  # fmt: skip


@pytest.mark.parametrize("method", ["process", "thread"])
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_of_ranks_share_a_stream(method, workers):
    found = []
    for rank in range(2):
        stream = ShardedIterable(Stream(31), 2, rank)
        loader = DataLoader(stream, 4, num_workers=workers, worker_method=method)
        found.append([index for batch in loader for index in batch.tolist()])
        assert len(found[-1]) == len(list(stream))
    assert sorted(flat(found)) == list(range(31))


class Seekable(Stream):
    """A stream that says where it is, begins again at its end, and counts what was read of it."""

    start = position = reads = 0

    def __iter__(self):
        start, self.start = self.start, 0
        for sample in range(start, self.n):
            self.position = sample + 1
            self.reads += 1
            yield sample
        self.position = 0

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.start = state["position"]


@pytest.fixture
def as_worker(monkeypatch):
    """Let streams believe that they are read in a worker; by none where there are 0 of them."""

    def be(worker, workers):
        info = type("Info", (), {"id": worker, "num_workers": workers}) if workers else None
        monkeypatch.setattr("dlkit.samplers.readers.get_worker_info", lambda: info)

    return be


@pytest.mark.filterwarnings("ignore:.*are read again and thrown away")
@pytest.mark.parametrize("kind", [Stream, Seekable])
def test_a_stream_goes_on_with_any_ranks_in_mid_pass_for_all_small_sizes(kind, as_worker):
    # Workers come to different places, `taken` apart; rank 0's states serve the ranks of each leg.
    for n, workers, legs in product(
        (0, 1, 7, 12, 19), (0, 1, 2, 3), ([3, 2, 1], [1, 2], [2, 2], [2, 3, 2])
    ):
        found, states = [], {}
        for place, world in enumerate(legs):
            last = place == len(legs) - 1
            after = {}
            for worker, rank in product(range(max(workers, 1)), range(world)):
                as_worker(worker, workers)
                stream = ShardedIterable(kind(n), world, rank)
                if worker in states:
                    stream.load_state_dict(states[worker])
                taken = None if last else (worker + place) % 3
                found += islice(running := iter(stream), taken)
                if rank == 0:
                    after[worker] = stream.state_dict()
                del running
            states = after
        assert sorted(found) == list(range(n)), (n, workers, legs)


def test_a_stream_that_can_seek_reads_nothing_again(recwarn):
    first = ShardedIterable(Seekable(20), 2, 0)
    assert list(islice(iter(first), 4)) == [0, 2, 4, 6]
    rest = ShardedIterable(Seekable(20), 3, 1)
    rest.load_state_dict(first.state_dict())
    assert list(rest) == [9, 12, 15, 18]
    assert rest.dataset.reads == 20 - 7  # 7, which was rank 1's, is passed over
    assert not recwarn
    assert list(rest) == list(ShardedIterable(range(20), 3, 1))  # the next pass is whole again


def test_ranks_that_drop_the_rest_go_on_with_as_many_samples_each():
    for n, taken, world in product(range(20), range(3), (1, 2, 3)):
        before = [ShardedIterable(Seekable(n), 2, rank, drop_last=True) for rank in range(2)]
        found = flat(list(islice(iter(rank), taken)) for rank in before)
        after = [ShardedIterable(Seekable(n), world, rank, drop_last=True) for rank in range(world)]
        for rank in after:
            rank.load_state_dict(before[0].state_dict())
        shares = [list(rank) for rank in after]
        assert len(set(map(len, shares))) == 1
        found += flat(shares)
        assert sorted(found) == list(range(len(found)))
        assert n - len(found) < max(world, 2)


@pytest.mark.parametrize(
    ("kind", "workers", "method", "words"),
    [
        (Seekable, 0, "process", None),
        (Seekable, 2, "process", None),
        (Stream, 0, "process", "Stream has no state_dict and load_state_dict, so 11 samples"),
        (Stream, 2, "process", "Stream has no state_dict and load_state_dict, so 20 samples"),
        (Seekable, 2, "thread", "thread workers share one Seekable, so 20 samples"),
    ],
    ids=str,
)
def test_a_loader_of_a_stream_goes_on_with_other_ranks_in_mid_pass(kind, workers, method, words):
    def loader(world, rank, batch_size):
        stream = ShardedIterable(kind(53), world, rank)
        return DataLoader(stream, batch_size, num_workers=workers, worker_method=method)

    before = [loader(2, rank, 2) for rank in range(2)]
    found = [islice(iter(rank), 3) for rank in before]
    found = [batch.tolist() for batches in found for batch in batches]
    after = [loader(3, rank, 3) for rank in range(3)]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for rank in after:
            rank.load_state_dict(before[0].state_dict())
            found += [batch.tolist() for batch in rank]
    assert sorted(flat(found)) == list(range(53))
    assert len(told) == (3 if words else 0)
    assert all(words in str(warning.message) for warning in told)


def test_a_state_of_another_worker_or_stream_is_refused(as_worker):
    as_worker(1, 2)
    state = ShardedIterable(range(9), 2, 0).state_dict()
    with pytest.raises(ValueError, match="does not fit this stream"):
        ShardedIterable("abc", 2, 0).load_state_dict(state)
    as_worker(0, 0)
    with pytest.raises(ValueError, match=r"'worker': \[1, 2\]"):
        ShardedIterable(range(9), 2, 0).load_state_dict(state)


def test_a_stream_of_a_rank_has_the_length_that_it_yields():
    for n, world in product(range(12), range(1, 4)):
        for rank in range(world):
            stream = ShardedIterable(range(n), world, rank)
            assert len(stream) == len(list(stream))


# ---- the plan ------------------------------------------------------------------------------------


def test_a_plan_holds_each_sample_once_over_ranks_and_workers_for_all_small_sizes():
    modes = ({}, {"drop_last": True}, {"pad": False}, {"drop_last": True, "pad": False})
    for n, world, mode in product(range(25), range(1, 6), modes):
        for batch_size in (1, 3):
            plan = shard_plan(n, world, batch_size, epoch=1, **mode)
            for rank in range(world):
                theirs = torch_data.DistributedSampler(
                    range(n), world, rank, drop_last=mode.get("drop_last", False)
                )
                theirs.set_epoch(1)
                share = list(theirs)
                if mode == {"pad": False}:
                    assert share[: len(plan.shares[rank])] == plan.shares[rank]
                else:
                    assert share == plan.shares[rank]
            padding = -n % world if mode == {} and n else 0
            assert int(plan.repeated.sum()) == padding
            assert len(plan.dropped) == (n % world if "drop_last" in mode else 0)
            assert plan.counts.sum() == n + padding - len(plan.dropped)
            assert set(plan.dropped) == set(np.flatnonzero(plan.counts == 0))
            for workers in (1, 2, 3):
                owners = plan.workers(workers)
                shares = [plan.indices[:, owners == w] for w in range(workers)]
                found = np.concatenate([share.ravel() for share in shares])
                assert sorted(found) == sorted(plan.indices.ravel())


class WhoAmI(torch_data.Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return index, get_worker_info().id


@pytest.mark.parametrize("method", ["process", "thread"])
@pytest.mark.parametrize(
    ("n", "world", "workers", "options"),
    [
        (23, 3, 2, {}),
        (24, 5, 3, {"pad": False}),
        (17, 2, 3, {"drop_last": True}),
        (2, 4, 1, {}),
        (3, 5, 2, {"pad": False}),
    ],
    ids=str,
)
def test_real_workers_fetch_what_the_plan_says(n, world, workers, options, method):
    plan = shard_plan(n, world, 2, epoch=1, **options)
    for rank in range(world):
        sampler = DistributedSampler(range(n), world, rank, **options)
        loader = DataLoader(
            WhoAmI(n), 2, sampler=sampler, num_workers=workers, worker_method=method
        )
        sampler.set_epoch(1)
        for step, (indices, owners) in enumerate(loader):
            planned = plan.indices[rank, step]
            assert indices.tolist() == planned[planned >= 0].tolist()
            assert set(owners.tolist()) == {plan.workers(workers)[step]}
        assert sum(len(batch[0]) for batch in loader) == len(plan.shares[rank])


def test_the_plan_shows_a_mistake():
    order = list(DistributedSampler(range(8), 2, 0, shuffle=False))
    plan = plan_of([order, order], 8, 2)
    assert plan.counts.tolist() == [2, 0] * 4
    assert plan.repeated[0].sum() == 0
    assert plan.repeated[1].all()
    assert plan.dropped.tolist() == [1, 3, 5, 7]
    assert plan.summary() == (
        "8 samples on 2 ranks in 2 steps of up to 4; repeated: 4 (0, 2, 4, 6); "
        "in no batch: 4 (1, 3, 5, 7)"
    )


# ---- nonsense ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: ShardedSampler(DistributedSampler(range(4), 2, 0), 2, 0), ValueError, "already"),
        (
            lambda: ShardedBatchSampler(
                BatchSampler(torch_data.DistributedSampler(range(4), 2, 0), 2, False), 2, 0
            ),
            ValueError,
            "already",
        ),
        (lambda: ShardedSampler(iter([1]), 2, 0), TypeError, "have a length"),
        (lambda: ShardedSampler(range(4), 2, 2), ValueError, "rank must be"),
        (lambda: ShardedSampler(range(4)), ValueError, "process group"),
        (lambda: ShardedSampler(range(4), 2, 0, seed="x"), TypeError, "seed"),
        (lambda: ShardedBatchSampler([[1]], 2, 0, lengths=[[1]]), ValueError, "lengths"),
        (lambda: ShardedBatchSampler([[1]], 2, 0, pad=None), ValueError, "pad"),
        (lambda: ShardedIterable(3, 2, 0), TypeError, "iterable"),
        (lambda: ShardedIterable("ab", 2, 5), ValueError, "rank"),
        (lambda: ShardedIterable("ab", 2, 0, drop_last=1), ValueError, "drop_last"),
        (lambda: this_reader(0, 0), ValueError, "num_replicas"),
        (lambda: node_ranks([0, 0, 2], [0, 1]), ValueError, "node 1 has 0 samples .* 1 ranks"),
        (lambda: node_ranks([0, 0, 2], [0, 0]), ValueError, "node 2 has 1 samples .* 0 ranks"),
        (lambda: node_ranks([], [0, 0]), ValueError, "node_of_sample"),
        (lambda: node_ranks([0.5], [0]), ValueError, "node_of_sample"),
        (
            lambda: NodeDistributedSampler([0, 1], 3, 0, node_of_rank=[0, 1]),
            ValueError,
            "one entry for each of 3 ranks",
        ),
        (lambda: NodeDistributedSampler([0, 1], 3, 0), ValueError, "LOCAL_WORLD_SIZE=0"),
        (lambda: shard_plan(-1, 2), ValueError, "samples"),
        (lambda: shard_plan(4.0, 2), ValueError, "samples"),
        (lambda: shard_plan(4, 0), ValueError, "num_replicas"),
        (lambda: shard_plan(4, 2, 0), ValueError, "batch_size"),
        (lambda: plan_of([], 3), ValueError, "at least one rank"),
        (lambda: plan_of([[3]], 3), ValueError, "from 0 to 2, but got 3"),
        (lambda: plan_of([[-1]], 3), ValueError, "from 0 to 2, but got -1"),
        (lambda: shard_plan(4, 2).workers(0), ValueError, "num_workers"),
    ],
)
def test_a_bad_argument_is_named(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda: ShardedSampler(range(4), 2, 0), lambda: ShardedSampler(range(5), 2, 0)),
        (lambda: ShardedSampler(range(4), 2, 0), lambda: ShardedSampler(range(4), 2, 0, seed=1)),
        (lambda: ShardedSampler(range(4), 2, 0), lambda: DistributedSampler(range(4), 2, 0)),
        (
            lambda: NodeDistributedSampler([0, 1], 2, 0, node_of_rank=[0, 1]),
            lambda: NodeDistributedSampler([0, 0], 2, 0, node_of_rank=[0, 0]),
        ),
    ],
)
def test_a_state_of_another_order_is_refused(first, second):
    with pytest.raises(ValueError, match="does not fit"):
        second().load_state_dict(first().state_dict())
