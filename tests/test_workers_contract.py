"""What every way of working promises: inline, threads, and processes under each start method.

PyTorch's workers are the oracle wherever they do the same. Starting by spawn or forkserver takes
seconds, so only the tests at the top, which say what could differ there, use all start methods.
"""

import gc
import os
import queue
import random
import threading
import time
import warnings
from collections import Counter
from itertools import chain, pairwise
from multiprocessing import resource_tracker

import numpy as np
import pytest
import torch
from torch.utils import data as torch_data
from worker_cases import (
    PATIENCE,
    WAYS,
    Gate,
    children,
    eventually,
    nothing_left,
    runs,
    slots_mapped,
)

import dlkit
from dlkit import memory
from dlkit.workers import Result, shared_memory
from dlkit.workers.pinned import Pinned
from tests.structures import assert_same

WITH_WORKERS = ["thread", "fork"]
every_way = pytest.mark.parametrize("way", WAYS)
with_workers = pytest.mark.parametrize("way", WITH_WORKERS)


def loader_of(dataset, way, batch_size=1, **arguments):
    return dlkit.DataLoader(dataset, batch_size, **{**WAYS[way], **arguments})


# ---- under every start method -------------------------------------------------------------------


class WhoIsAsked(torch_data.Dataset):
    """Each sample says in which worker it was read, as both modules' functions tell it."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        told = [
            info and (info.id, info.num_workers, info.seed, info.dataset is self)
            for info in (dlkit.get_worker_info(), torch_data.get_worker_info())
        ]
        threads = torch.get_num_threads()
        return index, told[0], told[1], threads, os.getpid(), threading.get_ident()


@every_way
def test_a_worker_knows_who_it_is_and_works_with_one_thread(way):
    torch.manual_seed(3)
    base_seed = int(torch.empty((), dtype=torch.int64).random_())
    torch.manual_seed(3)
    for index, ours, theirs, threads, pid, _ in loader_of(WhoIsAsked(), way, None):
        worker = index % 2
        assert ours == (None if way == "inline" else [worker, 2, base_seed + worker, True])
        assert theirs == ours
        assert (pid == os.getpid()) == (way in ("inline", "thread"))
        assert threads == (torch.get_num_threads() if way == "inline" else 1)
    assert dlkit.get_worker_info() is None
    assert torch_data.get_worker_info() is None


class Draws(torch_data.Dataset):
    """Each sample is what the worker's generators draw for it."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        info = dlkit.get_worker_info()
        rng = getattr(info, "rng", None)
        if rng is None:
            return index, torch.rand(2), random.random(), np.random.rand(2)  # noqa: NPY002
        return (
            index,
            torch.rand(2, generator=rng.torch_generator),
            rng.random_generator.random(),
            rng.numpy_generator.rand(2),
        )


@every_way
def test_each_worker_draws_the_random_numbers_that_pytorchs_process_draws(way):
    def epochs(loader_class, **arguments):
        torch.manual_seed(11)
        random.seed(11)
        np.random.seed(11)  # noqa: NPY002
        loader = loader_class(Draws(), 3, shuffle=True, **arguments)
        return [list(loader), list(loader)]

    processes = {} if way == "inline" else {"num_workers": 2, "multiprocessing_context": "fork"}
    theirs = epochs(torch_data.DataLoader, **processes)
    assert_same(epochs(dlkit.DataLoader, **WAYS[way]), theirs)


@every_way
def test_what_is_defined_in_a_function_works_in_every_worker(way):
    shift = 100

    class Local(torch_data.Dataset):
        def __init__(self):
            self.table = torch.arange(30_000)  # large enough to be shared rather than sent
            self.ready = {}

        def __len__(self):
            return 6

        def __getitem__(self, index):
            return self.table[index] + shift, self.ready.get("worker", -1)

    def init(worker):
        info = torch_data.get_worker_info()
        if way != "thread":
            info.dataset.ready["worker"] = worker

    def collate(samples):
        return [(int(value), worker) for value, worker in samples]

    batches = list(loader_of(Local(), way, 2, collate_fn=collate, worker_init_fn=init))
    mine = (lambda batch: -1) if way in ("thread", "inline") else (lambda batch: batch % 2)
    assert batches == [[(100 + 2 * b + i, mine(b)) for i in (0, 1)] for b in range(3)]


class CodeAndReasonError(Exception):
    """Its constructor does not take its own `args`, so pickle alone cannot make it again."""

    def __init__(self, code, *, reason):
        super().__init__(f"{code} because of {reason}")
        self.code, self.reason = code, reason


class Fails:
    def __init__(self, n, at):
        self.n, self.at = n, at

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index == self.at:
            try:
                {}["missing"]
            except KeyError as cause:
                raise CodeAndReasonError(7, reason="fire") from cause
        return index


@every_way
def test_an_exception_arrives_whole_and_says_where_it_was_raised(way):
    batches = iter(loader_of(Fails(6, 3), way, 2))
    assert next(batches).tolist() == [0, 1]
    with pytest.raises(CodeAndReasonError, match="7 because of fire") as caught:
        next(batches)
    assert (caught.value.code, caught.value.reason) == (7, "fire")
    told = "\n".join(caught.value.__notes__)
    assert "indices [2, 3]" in told
    if way != "inline":
        assert "worker" in told
        assert "1" in told
    if way not in ("inline", "thread"):
        assert 'raise CodeAndReasonError(7, reason="fire") from cause' in told
        assert "KeyError: 'missing'" in told
    assert next(batches).tolist() == [4, 5]
    assert next(batches, None) is None


@every_way
def test_a_saved_pass_goes_on_in_every_other_way(way):
    def make(chosen):
        generator = torch.Generator().manual_seed(4)
        return dlkit.DataLoader(range(11), 2, True, generator=generator, **WAYS[chosen])

    expected = list(make("inline"))
    for stop in (0, 1, 3, 5):
        saving = make(way)
        batches = iter(saving)
        for _ in range(stop):
            next(batches)
        state = saving.state_dict()
        going_on = make({"thread": "fork", "fork": "thread"}.get(way, "inline"))
        going_on.load_state_dict(state)
        assert_same(list(going_on), expected[stop:])
        if way in ("spawn", "forkserver"):
            break
    back = make(way)
    back.load_state_dict(state)
    assert_same(list(back), expected[stop:])


class Marks(torch_data.Dataset):
    """Marks in a tensor that is shared, and in one that is not, which samples were read."""

    def __init__(self):
        self.shared, self.own = torch.zeros(6).share_memory_(), torch.zeros(6)

    def __len__(self):
        return 6

    def __getitem__(self, index):
        self.shared[index] += 1
        self.own[index] += 1
        return index


@every_way
def test_what_a_worker_writes_into_a_shared_tensor_is_seen_by_the_main_process(way):
    dataset = Marks()
    list(loader_of(dataset, way, 2))
    assert dataset.shared.tolist() == [1] * 6
    assert dataset.own.tolist() == [int(way in ("inline", "thread"))] * 6


# ---- ahead, again, in order ---------------------------------------------------------------------


class Counted(torch_data.Sampler):
    """Yields 0, 1, 2, ..., and counts how many have been asked for."""

    def __init__(self, n):
        self.n, self.drawn = n, 0

    def __iter__(self):
        for index in range(self.n):
            self.drawn += 1
            yield index

    def __len__(self):
        return self.n


class Reads:
    """A range that counts in shared memory how often each worker has read it."""

    def __init__(self, n):
        self.n, self.reads = n, torch.zeros(8, dtype=torch.int64).share_memory_()

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        self.reads[dlkit.get_worker_info().id] += 1
        return index


@with_workers
@pytest.mark.parametrize(("workers", "factor"), [(1, 1), (2, 1), (2, 3), (3, None)])
def test_workers_read_ahead_as_far_as_promised_and_no_further(way, workers, factor):
    dataset, sampler = Reads(60), Counted(60)
    loader = loader_of(
        dataset, way, 2, sampler=sampler, num_workers=workers, prefetch_factor=factor
    )
    batches = iter(loader)
    ahead = workers * (factor or 2)
    for delivered in range(1, 12):
        next(batches)
        assert sampler.drawn == 2 * (delivered + ahead)
        drawn = sampler.drawn
        eventually(lambda drawn=drawn: int(dataset.reads.sum()) == drawn, "reading ahead")


@with_workers
def test_persistent_workers_stay_and_others_are_new_in_each_epoch(way):
    def who(loader):
        return {tuple(sample[-2:]) for sample in loader}

    staying = loader_of(WhoIsAsked(), way, None, persistent_workers=True)
    first = who(staying)
    assert len(first) == 2
    assert who(staying) == first
    next(iter(staying))
    assert who(staying) == first
    if way == "fork":
        assert not who(loader_of(WhoIsAsked(), way, None)) & first


@with_workers
def test_leaving_the_loop_early_ends_the_workers_at_once(way):
    gc.collect()
    gc.disable()  # their end must not depend on it
    try:
        before = set(children()), set(threading.enumerate()), slots_mapped()
        for _ in loader_of(range(1000), way, 2):
            break
        assert (set(children()), set(threading.enumerate()), slots_mapped()) == before
    finally:
        gc.enable()


def cannot(_anything):
    raise ValueError("cannot")


@with_workers
@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("failing", ["reading", "pinning", "coming in time"])
def test_an_error_that_was_caught_and_dropped_leaves_no_workers(way, pinned, failing, monkeypatch):
    monkeypatch.setattr("dlkit.workers.start.can_pin_memory", lambda: pinned)
    if failing == "pinning":
        monkeypatch.setattr("dlkit.workers.pinned.pin_memory", cannot)
    with Gate() as gate:
        data, arguments = range(6), {"pin_memory": pinned}
        if failing == "reading" or not pinned:
            data = dlkit.TransformDataset(data, cannot)
        if failing == "coming in time":
            data, arguments["timeout"] = Gated(6, gate), 0.1
        loader = loader_of(data, way, 2, **arguments)
        gc.collect()
        gc.disable()  # their end must not depend on it
        try:
            before = set(children()), set(threading.enumerate())
            try:
                list(loader)
            except (ValueError, dlkit.WorkerTimeoutError):
                gate.open()
            else:
                pytest.fail("nothing was raised")
            assert (set(children()), set(threading.enumerate())) == before
        finally:
            gc.enable()


@with_workers
@pytest.mark.parametrize("persistent", [False, True])
def test_a_loader_that_is_dropped_in_an_epoch_leaves_nothing(way, persistent):
    with nothing_left():
        loader = loader_of(range(1000), way, 2, persistent_workers=persistent)
        batches = iter(loader)
        kept = next(batches)
        del batches, loader
        assert kept.tolist() == [0, 1]
        del kept


class Gated:
    """Index 0 is read only once the gate is open."""

    def __init__(self, n, gate):
        self.n, self.gate = n, gate

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index == 0:
            self.gate.wait()
        return index


@with_workers
def test_a_batch_that_does_not_come_in_time_is_an_error_and_may_come_later(way):
    with Gate() as gate:
        batches = iter(loader_of(Gated(6, gate), way, 2, timeout=0.1))
        for _ in range(2):
            with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0\.1 seconds"):
                list(batches)
        gate.open()
        found = []
        while len(found) < 3:
            try:
                found.append(next(batches).tolist())
            except dlkit.WorkerTimeoutError:
                continue
        assert found == [[0, 1], [2, 3], [4, 5]]


@with_workers
def test_out_of_order_nobody_waits_for_a_slow_batch(way):
    with Gate() as gate:
        batches = iter(loader_of(Gated(20, gate), way, 2, in_order=False))
        early = [next(batches).tolist() for _ in range(8)]
        assert [0, 1] not in early
        gate.open()
        rest = [batch.tolist() for batch in batches]
    assert [0, 1] in rest
    assert sorted(early + rest) == [[2 * b, 2 * b + 1] for b in range(10)]


@with_workers
@pytest.mark.parametrize("stop", [1, 4, 7])
def test_out_of_order_a_saved_pass_resumes_with_exactly_what_is_missing(way, stop):
    with Gate() as gate:
        loader = loader_of(Gated(20, gate), way, 2, in_order=False)
        batches = iter(loader)
        early = [next(batches).tolist() for _ in range(stop)]
        state = loader.state_dict()
        gate.open()
        for arguments in ({}, WAYS["fork"], {**WAYS["thread"], "in_order": False}):
            gate.open()
            other = dlkit.DataLoader(Gated(20, gate), 2, **arguments)
            other.load_state_dict(state)
            rest = [batch.tolist() for batch in other]
            assert sorted(early + rest) == [[2 * b, 2 * b + 1] for b in range(10)]
        del batches


# ---- iterable datasets --------------------------------------------------------------------------


class Sharded(torch_data.IterableDataset):
    """Each worker reads every so manieth number; the last worker's share is the shortest."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        info = torch_data.get_worker_info()
        start, step = (0, 1) if info is None else (info.id, info.num_workers)
        yield from range(start, self.n, step)


class Position(Sharded):
    """A share that can say where it stands."""

    def __init__(self, n):
        super().__init__(n)
        self.at = self.begin_at = None

    def __iter__(self):
        info = torch_data.get_worker_info()
        start, step = (0, 1) if info is None else (info.id, info.num_workers)
        self.at, self.begin_at = start if self.begin_at is None else self.begin_at, None
        while self.at < self.n:
            self.at += step
            yield self.at - step

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.begin_at = state["at"]


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("arguments", [{}, {"drop_last": True}, {"prefetch_factor": 1}])
@pytest.mark.parametrize("n", [0, 1, 5, 23])
def test_a_sharded_stream_comes_as_from_pytorchs_workers(workers, arguments, n):
    theirs = torch_data.DataLoader(Sharded(n), 3, num_workers=workers, **arguments)
    expected = [batch.tolist() for batch in theirs]
    for method in ("process", "thread"):
        ours = dlkit.DataLoader(
            Sharded(n), 3, num_workers=workers, worker_method=method, **arguments
        )
        assert [batch.tolist() for batch in ours] == expected


@with_workers
def test_persistent_workers_read_a_stream_again_in_each_epoch(way):
    loader = loader_of(Sharded(11), way, 2, persistent_workers=True)
    first = [batch.tolist() for batch in loader]
    assert sorted(chain(*first)) == list(range(11))
    next(iter(loader))
    assert [batch.tolist() for batch in loader] == first


class OfThread(Position):
    """One for threads, which share the dataset: each has a place of its own."""

    def __init__(self, n):
        self.places = threading.local()
        super().__init__(n)

    at = property(
        lambda self: getattr(self.places, "at", None),
        lambda self, value: setattr(self.places, "at", value),
    )
    begin_at = property(
        lambda self: getattr(self.places, "begin_at", None),
        lambda self, value: setattr(self.places, "begin_at", value),
    )


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("way", WITH_WORKERS)
def test_a_stream_with_a_state_resumes_in_each_worker_without_reading_again(way, workers):
    kind = {"thread": OfThread, "fork": Position}[way]
    whole = [b.tolist() for b in loader_of(kind(29), way, 2, num_workers=workers)]
    for stop in range(1, len(whole) + 1):
        loader = loader_of(kind(29), way, 2, num_workers=workers)
        batches = iter(loader)
        for _ in range(stop):
            next(batches)
        state = loader.state_dict()
        del batches
        other = loader_of(kind(29), way, 2, num_workers=workers)
        other.load_state_dict(state)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert [b.tolist() for b in other] == whole[stop:]


class SaysWhere(Sharded):
    """It can say where it stands, but nobody can set it back there."""

    def state_dict(self):
        return {"at": 0}


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("kind", [Sharded, SaysWhere])
@with_workers
def test_a_stream_without_a_state_is_read_again_and_that_is_said(way, kind, workers):
    whole = [b.tolist() for b in loader_of(kind(29), way, 2, num_workers=workers)]
    for stop in (1, 4, 9):
        loader = loader_of(kind(29), way, 2, num_workers=workers)
        batches = iter(loader)
        for _ in range(stop):
            next(batches)
        other = loader_of(kind(29), way, 2, num_workers=workers)
        other.load_state_dict(loader.state_dict())
        del batches
        with pytest.warns(UserWarning, match=f"no state_dict .* {stop} batches are read again"):
            rest = [b.tolist() for b in other]
        assert rest == whole[stop:]


@with_workers
def test_a_stream_resumed_at_another_number_of_workers_keeps_the_one_it_began_with(way):
    loader = loader_of(Sharded(12), way, 2, num_workers=3)
    batches = iter(loader)
    head = [next(batches).tolist() for _ in range(2)]
    other = loader_of(Sharded(12), way, 2, num_workers=1)
    other.load_state_dict(loader.state_dict())
    with pytest.warns(UserWarning, match="begun with num_workers=3"):
        rest = [batch.tolist() for batch in other]
    assert sorted(chain(*head, *rest)) == list(range(12))
    assert [batch.tolist() for batch in other] == [[k, k + 1] for k in range(0, 12, 2)]


class Promising(torch_data.IterableDataset):
    """Each worker reads all of it, which is the classic mistake."""

    def __len__(self):
        return 6

    def __iter__(self):
        return iter(range(6))


@with_workers
def test_a_stream_that_every_worker_reads_whole_is_warned_about(way):
    loader = loader_of(Promising(), way, 1)
    assert len(loader) == 6
    with pytest.warns(UserWarning, match=r"promised 6 .* get_worker_info"):
        assert sum(1 for _ in loader) == 12


# ---- several at once ----------------------------------------------------------------------------


@with_workers
def test_several_iterators_of_one_loader_do_not_disturb_each_other(way):
    loader = loader_of(range(9), way, 2)
    pairs = list(zip(loader, loader, strict=True))
    assert [a.tolist() for a, _ in pairs] == [b.tolist() for _, b in pairs]
    assert [a.tolist() for a, _ in pairs] == [[0, 1], [2, 3], [4, 5], [6, 7], [8]]


@with_workers
def test_an_older_pass_of_persistent_workers_ends_with_words_when_a_newer_begins(way):
    loader = loader_of(range(9), way, 2, persistent_workers=True)
    older = iter(loader)
    next(older)
    newer = iter(loader)
    with pytest.raises(RuntimeError, match="persistent_workers=True there can be only one"):
        list(older)
    assert [batch.tolist() for batch in newer] == [[0, 1], [2, 3], [4, 5], [6, 7], [8]]


class Nested:
    """Each sample is read by a loader of its own."""

    def __init__(self, inner):
        self.inner = inner

    def __len__(self):
        return 3

    def __getitem__(self, index):
        outside = dlkit.get_worker_info().id
        inside = [batch.tolist() for batch in self.inner]
        return index, inside, outside == dlkit.get_worker_info().id


@pytest.mark.parametrize("inner", ["inline", "thread", "fork"])
@with_workers
@pytest.mark.parametrize("persistent", [False, True])
def test_a_dataset_may_itself_iterate_a_loader_with_workers(way, inner, persistent):
    with nothing_left():
        persistent = persistent and inner != "inline"
        within = loader_of(range(5), inner, 2, persistent_workers=persistent)
        if way == "thread" and persistent:
            pytest.skip("threads share the inner loader, whose persistent workers serve one pass")
        if persistent:
            list(within)  # its workers run already when the outer ones are forked
        outer = loader_of(Nested(within), way, None)
        assert list(outer) == [[k, [[0, 1], [2, 3], [4]], True] for k in range(3)]
        del outer, within


@with_workers
def test_a_loader_can_be_used_in_another_thread(way):
    found = []
    thread = threading.Thread(target=lambda: found.extend(loader_of(range(20), way, 3)))
    with nothing_left():
        thread.start()
        expected = [batch.tolist() for batch in loader_of(range(20), way, 3)]
        thread.join()
        assert [batch.tolist() for batch in found] == expected
        found.clear()


# ---- errors -------------------------------------------------------------------------------------


class Raises:
    """Raises what `make` makes at one index."""

    def __init__(self, make, at=2):
        self.make, self.at = make, at

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index == self.at:
            raise self.make()
        return index


class KeywordsError(ValueError):
    def __init__(self, *, first, second):
        super().__init__(first, second)
        self.first, self.second = first, second


class HoldsALockError(Exception):
    def __init__(self, message):
        super().__init__(message)
        self.lock = threading.Lock()


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


EXCEPTIONS = [
    lambda: ValueError("plain"),
    lambda: KeyError("missing"),
    lambda: OSError(2, "No such file", "image.png"),
    lambda: FileNotFoundError(2, "No such file", "image.png"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    lambda: CodeAndReasonError(3, reason="rain"),
    lambda: KeywordsError(first=1, second=2),
    lambda: ExceptionGroup("several", [ValueError(1), TypeError(2)]),
    lambda: AssertionError(),
    lambda: RuntimeError("x" * 1_000_000),
]


@with_workers
@pytest.mark.parametrize("make", EXCEPTIONS, ids=lambda make: type(make()).__name__)
def test_exceptions_keep_their_type_their_arguments_and_their_attributes(way, make):
    expected = make()
    batches = iter(loader_of(Raises(make), way, 2))
    next(batches)
    with pytest.raises(type(expected)) as caught:
        next(batches)
    assert type(caught.value) is type(expected)
    assert str(caught.value) == str(expected)
    assert [repr(a) for a in caught.value.args] == [repr(a) for a in expected.args]
    told = {k: v for k, v in vars(caught.value).items() if k != "__notes__"}
    assert told == vars(expected)
    assert next(batches).tolist() == [4, 5]


@with_workers
@pytest.mark.parametrize("kind", [HoldsALockError, UnprintableError])
def test_an_exception_that_cannot_travel_is_quoted(way, kind):
    batches = iter(loader_of(Raises(lambda: kind("oh dear")), way, 2))
    next(batches)
    with pytest.raises((kind, RuntimeError)) as caught:
        next(batches)
    told = "\n".join(caught.value.__notes__)
    assert kind.__name__ in told or type(caught.value) is kind
    assert "indices [2, 3]" in told
    assert next(batches).tolist() == [4, 5]


@with_workers
def test_an_exception_of_a_local_class_is_caught_by_that_class(way):
    class LocalError(Exception):
        pass

    batches = iter(loader_of(Raises(lambda: LocalError("here", 5)), way, 2))
    next(batches)
    with pytest.raises(LocalError) as caught:
        next(batches)
    assert caught.value.args == ("here", 5)


def fail_to_begin(worker):
    raise LookupError(f"worker {worker} has no GPU")


def fail_to_collate(samples):
    raise ArithmeticError(f"cannot add {samples}")


class FailsToIterate(torch_data.IterableDataset):
    def __iter__(self):
        raise ConnectionError("no server")


class FailsInTheMiddle(torch_data.IterableDataset):
    def __iter__(self):
        yield 0
        yield 1
        raise ConnectionError("connection lost")


@with_workers
@pytest.mark.parametrize(
    ("dataset", "arguments", "kind", "message"),
    [
        (range(6), {"worker_init_fn": fail_to_begin}, LookupError, "worker 0 has no GPU"),
        (range(6), {"collate_fn": fail_to_collate}, ArithmeticError, r"cannot add \[0, 1\]"),
        (FailsToIterate(), {}, ConnectionError, "no server"),
    ],
)
def test_failing_at_the_start_or_in_collate_fn_is_raised(way, dataset, arguments, kind, message):
    with nothing_left():
        batches = iter(loader_of(dataset, way, 2, **arguments))
        with pytest.raises(kind, match=message):
            next(batches)
        del batches


@with_workers
def test_a_stream_that_fails_in_the_middle_delivers_what_came_before_and_then_ends(way):
    batches = iter(loader_of(FailsInTheMiddle(), way, 1, num_workers=1))
    assert [next(batches).tolist() for _ in range(2)] == [[0], [1]]
    with pytest.raises(ConnectionError, match="connection lost"):
        next(batches)
    assert next(batches, "the end") == "the end"


@with_workers
def test_stop_iteration_of_a_map_style_dataset_is_an_error_and_no_early_end(way):
    batches = iter(loader_of(Raises(StopIteration), way, 2))
    next(batches)
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        next(batches)
    assert next(batches).tolist() == [4, 5]


class Pair(tuple):
    """A tuple that cannot be made from a list of its parts."""

    def __new__(cls, first, second):
        return super().__new__(cls, (first, second))


@pytest.mark.parametrize(
    "collate_fn", [lambda s: Pair(*s), lambda s: torch.eye(2).to_sparse()], ids=["pair", "sparse"]
)
def test_threads_deliver_batches_whose_size_nobody_can_tell(collate_fn):
    batches = list(loader_of(range(4), "thread", 2, collate_fn=collate_fn, timeout=PATIENCE))
    assert [type(batch) for batch in batches] == 2 * [type(collate_fn([0, 1]))]


@pytest.mark.parametrize("way", ["fork"])
def test_a_batch_that_cannot_be_pickled_is_an_error_that_names_its_indices(way):
    loader = loader_of(
        range(6), way, 2, collate_fn=lambda s: threading.Lock() if 2 in s else list(s)
    )
    batches = iter(loader)
    assert next(batches) == [0, 1]
    with pytest.raises(TypeError, match="pickle") as caught:
        next(batches)
    assert "worker" in "\n".join(caught.value.__notes__)
    assert next(batches) == [4, 5]


class Key:
    """An index of a type of one's own."""

    def __init__(self, value, extra=None):
        self.value, self.extra = value, extra

    def __repr__(self):
        return f"Key({self.value})"


class ByKey:
    def __getitem__(self, key):
        return key.value


@with_workers
def test_indices_may_be_anything_also_of_a_local_class(way):
    class LocalKey(Key):
        pass

    sampler = [Key(3), LocalKey(4), Key(5)]
    loader = loader_of(ByKey(), way, None, sampler=sampler)
    assert list(loader) == [3, 4, 5]


def test_an_index_that_cannot_be_pickled_is_an_error_and_no_hang():
    loader = loader_of(ByKey(), "fork", None, sampler=[Key(0, threading.Lock())])
    with nothing_left(), pytest.raises(TypeError, match="pickle"):
        list(loader)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_dataset_that_cannot_be_pickled_is_an_error_that_leaves_nothing(method):
    dataset = [threading.Lock()]
    resource_tracker.ensure_running()  # a process that multiprocessing starts once, and keeps
    with nothing_left(), pytest.raises(TypeError, match="pickle"):
        next(iter(dlkit.DataLoader(dataset, num_workers=2, multiprocessing_context=method)))


@with_workers
def test_a_sampler_that_fails_ends_the_pass_with_its_error_and_nothing_is_left(way):
    def order():
        yield from range(7)
        raise LookupError("the list of samples is damaged")

    class Damaged:
        def __iter__(self):
            return order()

    with nothing_left():
        with pytest.raises(LookupError, match="damaged"):
            list(loader_of(range(50), way, None, sampler=Damaged()))
        gc.collect()


# ---- samples left out ---------------------------------------------------------------------------


class Spotty:
    """Every sample in `bad` cannot be read."""

    def __init__(self, n, bad):
        self.n, self.bad = n, bad

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index in self.bad:
            raise CodeAndReasonError(index, reason="rot")
        return torch.full((300,), index)


class SpottyStream(torch_data.IterableDataset):
    """The same as a stream, which goes on after an error."""

    def __init__(self, n, bad):
        self.samples = Spotty(n, bad)

    def __iter__(self):
        info = torch_data.get_worker_info()
        start, step = (0, 1) if info is None else (info.id, info.num_workers)
        return SpottyIterator(self.samples, start, step)


class SpottyIterator:
    def __init__(self, samples, at, step):
        self.samples, self.at, self.step = samples, at, step

    def __iter__(self):
        return self

    def __next__(self):
        if self.at >= len(self.samples):
            raise StopIteration
        self.at += self.step
        return self.samples[self.at - self.step]


skipping_ways = pytest.mark.parametrize("way", ["inline", "thread", "fork"])


@skipping_ways
@pytest.mark.parametrize("bad", [[], [0], [3, 4, 5], [0, 1, 2, 9, 10], list(range(11))])
def test_samples_that_cannot_be_read_are_left_out_and_listed(way, bad):
    loader = loader_of(Spotty(11, bad), way, 3, on_error="skip")
    for _ in range(2):
        batches = [batch[:, 0].tolist() for batch in loader]
        good = [[i for i in range(k, min(k + 3, 11)) if i not in bad] for k in range(0, 11, 3)]
        assert batches == [batch for batch in good if batch]
        assert [error.index for error in loader.errors] == bad
        for error in loader.errors:
            assert type(error.exception) is CodeAndReasonError
            assert (error.exception.code, error.exception.reason) == (error.index, "rot")


@skipping_ways
def test_the_samples_of_a_stream_that_cannot_be_read_are_left_out_and_listed(way):
    bad = [0, 5, 6, 13]
    loader = loader_of(SpottyStream(20, bad), way, 3, on_error="skip")
    found = sorted(value for batch in loader for value in batch[:, 0].tolist())
    assert found == [i for i in range(20) if i not in bad]
    assert sorted(error.exception.code for error in loader.errors) == bad
    assert {error.index for error in loader.errors} == {None}


@skipping_ways
def test_more_bad_samples_than_the_limit_are_an_error(way):
    loader = loader_of(Spotty(20, range(5, 15)), way, 3, on_error="skip", error_limit=4)
    batches = iter(loader)
    assert [next(batches)[:, 0].tolist() for _ in range(2)] == [[0, 1, 2], [3, 4]]
    with pytest.raises(RuntimeError, match="more than error_limit=4") as caught:
        list(batches)
    assert type(caught.value.__cause__) is CodeAndReasonError
    assert len(loader.errors) > 4


@skipping_ways
def test_an_error_of_collate_fn_is_raised_even_where_samples_are_skipped(way):
    loader = loader_of(Spotty(6, [1]), way, 2, on_error="skip", collate_fn=fail_to_collate)
    with pytest.raises(ArithmeticError):
        list(loader)


@skipping_ways
def test_a_pass_with_left_out_samples_resumes_exactly(way):
    bad = [1, 6, 7, 8, 12]

    def make(chosen):
        return loader_of(Spotty(14, bad), chosen, 3, on_error="skip")

    whole = [batch[:, 0].tolist() for batch in make("inline")]
    for stop in range(len(whole)):
        loader = make(way)
        batches = iter(loader)
        for _ in range(stop):
            next(batches)
        for chosen in ("inline", "fork"):
            other = make(chosen)
            other.load_state_dict(loader.state_dict())
            assert [batch[:, 0].tolist() for batch in other] == whole[stop:]


# ---- states -------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [None, 1, 3])
@with_workers
def test_a_pass_saved_after_any_batch_resumes_at_other_workers_and_methods(way, batch_size):
    def make(**arguments):
        generator = torch.Generator().manual_seed(2)
        return dlkit.DataLoader(range(7), batch_size, True, generator=generator, **arguments)

    whole = list(make())
    for stop in range(len(whole) + 1):
        loader = make(**WAYS[way])
        batches = iter(loader)
        for _ in range(stop):
            next(batches)
        state = loader.state_dict()
        others = [
            {},
            {"num_workers": 1},
            {"num_workers": 3, "prefetch_factor": 1},
            {"num_workers": 3, "worker_method": "thread", "persistent_workers": True},
        ]
        for arguments in others:
            other = make(**arguments)
            other.load_state_dict(state)
            assert_same(list(other), whole[stop:])
            if arguments.get("persistent_workers"):
                assert len(list(other)) == len(whole)


@with_workers
def test_a_batch_that_failed_counts_in_a_saved_pass(way):
    loader = loader_of(Fails(12, 4), way, 2)
    batches = iter(loader)
    for _ in range(2):
        next(batches)
    with pytest.raises(CodeAndReasonError):
        next(batches)
    other = loader_of(range(12), way, 2)
    state = loader.state_dict()
    other.load_state_dict({**state, "dataset": "range"})
    assert [batch.tolist() for batch in other] == [[6, 7], [8, 9], [10, 11]]


# ---- what surrounds the workers -----------------------------------------------------------------


def test_thread_workers_leave_the_number_of_threads_as_it_was():
    width = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = []
        batches = iter(loader_of(range(40), "thread", 2))
        next(batches)
        assert torch.get_num_threads() == 3
        beside = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        beside.start()
        beside.join()
        list(batches)
        after = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        after.start()
        after.join()
        assert found == [3, 3]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(width)


@with_workers
def test_the_global_generators_of_the_caller_are_left_alone(way):
    def state():
        python = hash(random.getstate())
        numpy = np.random.get_state()[1].tobytes()  # noqa: NPY002
        return python, numpy, torch.get_rng_state().numpy().tobytes()

    torch.manual_seed(0)
    list(torch_data.DataLoader(Draws(), 2, shuffle=True, num_workers=1))
    theirs = state()
    torch.manual_seed(0)
    list(loader_of(Draws(), way, 2, shuffle=True))
    assert state() == theirs


class Pinnable:
    """Stands for a tensor where there is no accelerator to pin for."""

    def __init__(self, name, where=None):
        self.name, self.where = name, where

    def pin_memory(self):
        if self.name == 4:
            raise RuntimeError("cannot pin")
        return Pinnable(self.name, threading.current_thread().name)


class PinnedDataset:
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return Pinnable(index)


def pinned_names(samples):
    return [Pinnable(f"name {sample}") for sample in samples]


@pytest.fixture
def accelerator(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))


@with_workers
@pytest.mark.parametrize("persistent", [False, True])
def test_a_thread_pins_batches_of_any_type_and_hands_errors_on(way, persistent, accelerator):
    with nothing_left():
        loader = loader_of(
            PinnedDataset(), way, 1, pin_memory=True, collate_fn=list, persistent_workers=persistent
        )
        for _ in range(2):
            batches = iter(loader)
            for name in range(4):
                (part,) = next(batches)
                assert (part.name, part.where) == (name, "dlkit pin")
            with pytest.raises(RuntimeError, match="cannot pin"):
                next(batches)
            assert [part.name for (part,) in batches] == [5]
        del batches, loader


@with_workers
def test_a_stream_is_pinned_and_its_end_leaves_no_time_out_behind(way, accelerator):
    loader = loader_of(
        Sharded(9),
        way,
        2,
        collate_fn=pinned_names,
        pin_memory=True,
        timeout=0.2,
        persistent_workers=True,
        prefetch_factor=4,
    )
    for _ in range(3):
        names = [part.name for batch in loader for part in batch]
        assert sorted(names) == [f"name {k}" for k in range(9)]
        # As long as it takes until the thread that pins would have run into the time-out.
        until = time.monotonic() + 0.3
        eventually(lambda until=until: time.monotonic() > until)


class Answering:
    """A pool whose answers are given by hand, and which counts how often it was waited for."""

    size, sizes, closed = 1, None, False

    def __init__(self):
        self.running = self.asked = 0
        self.answers = queue.SimpleQueue()

    def begin(self, positions):
        self.running += 1

    def submit(self, worker, number, task): ...

    def answer(self, number):
        self.answers.put(Result(0, number, lambda: number, of_pass=self.running))

    def take(self):
        self.asked += 1
        result = self.answers.get()
        if result is None:
            self.cancel()
            raise dlkit.WorkerDiedError("closed")
        return result

    def cancel(self):
        self.answers.put(None)

    def close(self): ...


def test_tasks_of_a_pass_that_was_left_are_not_waited_for_by_the_thread_that_pins():
    pool = Answering()
    pinned = Pinned(pool)
    for tasks, results in ((5, 1), (2, 2)):
        pinned.begin([])
        for number in range(tasks):
            pinned.submit(0, number, None)
        for number in range(results):
            pool.answer(number)
            assert pinned.take().number == number
    pinned.close()
    assert pool.asked == 3


@with_workers
def test_a_device_that_is_the_cpu_changes_nothing(way):
    expected = list(loader_of(range(9), way, 2))
    assert_same(list(loader_of(range(9), way, 2, device="cpu")), expected)


@with_workers
def test_the_loader_counts_tasks_not_batches_that_are_still_on_their_way(way):
    loader = loader_of(range(40), way, 2)
    batches = iter(loader)
    for k in range(5):
        next(batches)
        assert loader.last_indices == [2 * k, 2 * k + 1]


@pytest.mark.parametrize("seed", range(3))
def test_each_sample_comes_once_whatever_the_workers_speed(seed):
    rng = random.Random(seed)
    for _ in range(4):
        arguments = {
            "num_workers": rng.randint(1, 4),
            "prefetch_factor": rng.randint(1, 5),
            "in_order": rng.random() < 0.5,
            "worker_method": rng.choice(["process", "thread"]),
        }
        n, size = rng.randint(1, 90), rng.randint(1, 7)
        batches = [b.tolist() for b in dlkit.DataLoader(range(n), size, **arguments)]
        assert Counter(list(chain(*batches))) == Counter(range(n))
        if arguments["in_order"]:
            assert all(a < b for a, b in pairwise(list(chain(*batches))))


def test_a_forked_process_makes_workers_of_its_own():
    loaders = [loader_of(range(6), way, 2, persistent_workers=True) for way in WITH_WORKERS]
    expected = [[batch.tolist() for batch in loader] for loader in loaders]
    pid = os.fork()
    if pid == 0:
        # Anything but 0 is a failure; a hang is ended by the alarm.
        import signal

        signal.alarm(30)
        same = [[batch.tolist() for batch in loader] for loader in loaders] == expected
        for loader in loaders:
            loader._pool.close()
        os._exit(0 if same else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [[batch.tolist() for batch in loader] for loader in loaders] == expected
    assert all(runs(worker) for worker in loaders[1]._pool.pids)


def slot_of(nbytes, may_hold):
    """A slot as the main process sees it."""
    _, handle = shared_memory.create(nbytes)
    views = shared_memory.SlotViews(may_hold)
    views.add(1, handle, nbytes)
    return views


def test_keeping_the_labels_of_a_batch_does_not_keep_its_slot():
    views = slot_of(100_000, may_hold=1)
    images, labels = views.hand_over(1, views.open(1), [(0, 90_000), (90_048, 90_560)])
    assert views.take_returned() == []
    del images
    assert views.take_returned() == [1]
    assert len(labels) == 512


def test_each_part_has_memory_of_its_own_once_the_user_holds_many_batches():
    views = slot_of(100_000, may_hold=0)
    parts = views.hand_over(1, views.open(1), [(0, 40_000), (40_000, 80_000)])
    assert views.take_returned() == [1]
    assert all(part.base is None for part in parts)


def test_threads_write_large_parts_into_memory_that_is_used_again_and_small_ones_not():
    arena = shared_memory.Arena(np.zeros(100_000, dtype=np.uint8))
    with memory.writing_into(arena):
        images, labels = dlkit.default_collate([(torch.ones(10_000), k) for k in range(2)])
        small = dlkit.default_collate([np.ones(10), np.ones(10)])
    inside = range(arena.address, arena.address + 100_000)
    assert images.data_ptr() in inside
    assert labels.data_ptr() not in inside
    assert small.data_ptr() not in inside


def test_a_thread_uses_memory_again_only_when_the_user_has_let_go_of_it():
    rows = torch.arange(40 * 20_000, dtype=torch.float32).reshape(40, 20_000)
    loader = dlkit.DataLoader(dlkit.TensorDataset(rows), 2, num_workers=1, worker_method="thread")
    addresses = {batch.data_ptr() for (batch,) in loader}
    assert len(addresses) < 10
    kept = [batch[1:] for (batch,) in loader]
    assert len({part.data_ptr() for part in kept}) == 20
    assert torch.equal(torch.cat(kept), rows[1::2])
