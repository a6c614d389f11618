"""Batches in slots of shared memory: every type arrives as it was made, and stays as it arrived."""

import gc
import queue
import random
import threading
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.utils import data as torch_data
from worker_cases import WAYS, nothing_left

import dlkit
from dlkit.workers import shared_memory
from tests.structures import assert_same

Point = namedtuple("Point", ["x", "y"])


def loader_of(dataset, batch_size, way="fork", **arguments):
    return dlkit.DataLoader(dataset, batch_size, **{**WAYS[way], **arguments})


def through_a_worker(make, way="fork", times=3):
    """What `make()` makes as it comes out of a worker, first without a slot, then in one."""
    loader = loader_of(range(times), 1, way, num_workers=1, collate_fn=lambda _: make())
    return list(loader)


# ---- what can travel ----------------------------------------------------------------------------


class Tagged(torch.Tensor):
    """A subclass of tensors that carries an attribute."""


def tagged():
    tensor = torch.arange(2000.0).as_subclass(Tagged)
    tensor.tag = "kept"
    return tensor


@dataclass
class Scene:
    image: torch.Tensor
    name: str


PLAIN = {
    "float32": lambda: torch.arange(3000.0),
    "bfloat16": lambda: torch.arange(3000).to(torch.bfloat16),
    "float16": lambda: torch.arange(300, dtype=torch.float16),
    "complex": lambda: torch.arange(2000).to(torch.complex64) * 1j,
    "conjugate": lambda: (torch.arange(2000).to(torch.complex64) * 1j).conj(),
    "negative bit": lambda: (torch.arange(2000).to(torch.complex64) * 1j).conj().imag,
    "bool": lambda: torch.arange(5000) % 3 == 0,
    "uint16": lambda: torch.arange(5000).to(torch.uint16),
    "float8": lambda: torch.arange(5000.0).to(torch.float8_e4m3fn),
    "empty": lambda: torch.zeros(0, 7),
    "0-d": lambda: torch.tensor(5.0),
    "NaN": lambda: torch.full((1000,), float("nan")),
    "non-contiguous": lambda: torch.arange(6000).reshape(60, 100)[::2, ::3],
    "transposed": lambda: torch.arange(6000).reshape(60, 100).T,
    "channels last": lambda: (
        torch.arange(6000.0).reshape(2, 3, 10, 100).to(memory_format=torch.channels_last)
    ),
    "expanded": lambda: torch.arange(1000).expand(5, 1000),
    "view of large": lambda: torch.arange(1_000_000)[10:500],
    "requires grad": lambda: torch.ones(2000, requires_grad=True),
    "array": lambda: np.arange(3000.0),
    "0-d array": lambda: np.array(7),
    "Fortran array": lambda: np.asfortranarray(np.arange(6000).reshape(60, 100)),
    "strided array": lambda: np.arange(6000)[::2],
    "empty array": lambda: np.zeros((0, 3)),
    "big-endian array": lambda: np.arange(3000, dtype=">i4"),
    "structured array": lambda: np.zeros(500, dtype=[("a", "f4"), ("b", "S8")]),
    "array of strings": lambda: np.array(["a", "bcd"] * 1000),
    "dates": lambda: np.arange("2024-01", "2030-01", dtype="datetime64[D]"),
    "huge string": lambda: "wörter " * 300_000,
    "bytes": lambda: b"x" * 3_000_000,
    "bytearray": lambda: bytearray(b"y" * 100_000),
    "None": lambda: None,
    "numbers": lambda: [1, 2.5, 10**40, True],
    "named tuple": lambda: Point(torch.ones(3000), Point("a", [torch.zeros(1)])),
    "dict": lambda: {"x": torch.ones(3000), 3: {"y": np.ones(3000)}, "names": ["a"] * 5},
    "OrderedDict": lambda: OrderedDict(b=torch.ones(3000), a=1),
    "deque": lambda: deque([1, 2, 3]),
    "set": lambda: {1, 2, 3},
    "5,000 small arrays": lambda: [np.full(3, k) for k in range(5000)],
    "5,000 small tensors": lambda: [torch.full((3,), k) for k in range(5000)],
    "5,000 larger tensors": lambda: [torch.full((200,), k) for k in range(5000)],
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_batch_arrives_as_it_was_made(name):
    for batch in through_a_worker(PLAIN[name]):
        assert_same(batch, PLAIN[name]())
        if isinstance(batch, torch.Tensor):
            assert batch.requires_grad == PLAIN[name]().requires_grad
            batch.detach().zero_()  # it may be written into


@pytest.mark.parametrize("name", ["float32", "named tuple", "dict", "huge string", "channels last"])
@pytest.mark.parametrize("way", ["thread", "spawn"])
def test_it_does_so_from_workers_of_other_kinds(name, way):
    for batch in through_a_worker(PLAIN[name], way):
        assert_same(batch, PLAIN[name]())


def test_channels_last_memory_stays_so():
    for batch in through_a_worker(PLAIN["channels last"]):
        assert batch.is_contiguous(memory_format=torch.channels_last)


def test_a_read_only_array_arrives():
    def make():
        array = np.arange(3000)
        array.flags.writeable = False
        return array

    for batch in through_a_worker(make):
        np.testing.assert_array_equal(batch, np.arange(3000))


def test_an_array_of_objects_arrives():
    def make():
        return np.array([{"a": 1}, "b", None] * 400, dtype=object)

    for batch in through_a_worker(make):
        assert batch.tolist() == [{"a": 1}, "b", None] * 400


def test_a_subclass_of_tensors_keeps_its_type_and_attributes():
    for batch in through_a_worker(tagged):
        assert type(batch) is Tagged
        assert batch.tag == "kept"
        assert torch.equal(batch.as_subclass(torch.Tensor), torch.arange(2000.0))


def test_a_parameter_stays_one():
    for batch in through_a_worker(lambda: torch.nn.Parameter(torch.ones(2000))):
        assert type(batch) is torch.nn.Parameter
        assert batch.requires_grad
        assert torch.equal(batch, torch.ones(2000))


def test_sparse_tensors_arrive():
    dense = torch.zeros(100, 100)
    dense[3, 4] = 5
    for make in (dense.to_sparse, dense.to_sparse_csr):
        for batch in through_a_worker(make):
            assert batch.layout == make().layout
            assert torch.equal(batch.to_dense(), dense)


def test_a_tensor_inside_a_graph_is_refused_as_by_pytorch():
    def make():
        return torch.ones(2000, requires_grad=True) * 2

    with pytest.raises(RuntimeError, match="non-leaf"):
        through_a_worker(make)


def test_batches_of_a_users_type_arrive_with_their_tensors():
    batches = through_a_worker(lambda: Scene(torch.ones(3000), "a"))
    assert all(type(batch) is Scene and batch.image.sum() == 3000 for batch in batches)


def test_batches_of_a_class_defined_in_a_function_arrive():
    class Local:
        def __init__(self):
            self.image = torch.ones(3000)

        def total(self):
            return int(self.image.sum())

    assert [batch.total() for batch in through_a_worker(Local)] == [3000] * 3


def test_an_object_that_occurs_twice_arrives_as_one():
    def make():
        tensor = torch.ones(3000)
        return [tensor, tensor]

    for first, second in through_a_worker(make):
        assert first is second


# ---- what stays as it is ------------------------------------------------------------------------


class Numbered:
    """Sample k is k, k, k, ..."""

    def __init__(self, n, width=1000):
        self.n, self.width = n, width

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return torch.full((self.width,), index)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("persistent", [False, True])
def test_batches_that_are_kept_never_change(workers, persistent):
    loader = loader_of(Numbered(200), 2, num_workers=workers, persistent_workers=persistent)
    with nothing_left():
        kept = [batch for _ in range(2) for batch in loader]
        assert len(kept) == 200
        for number, batch in enumerate(kept):
            first = 2 * (number % 100)
            assert batch.tolist() == [[first] * 1000, [first + 1] * 1000]
        del loader, kept, batch


@pytest.mark.parametrize(
    "part",
    [
        lambda batch: batch[1:, ::100],
        lambda batch: batch.numpy()[1],
        lambda batch: batch.T.reshape(-1, 2),
        lambda batch: next(iter(batch.unbind())),
        lambda batch: memoryview(batch.numpy()),
        lambda batch: batch.detach().view(torch.uint8),
        lambda batch: torch.utils.dlpack.from_dlpack(batch)[0],
    ],
)
def test_parts_that_are_kept_keep_their_memory(part):
    kept, copies = [], []
    for batch in loader_of(Numbered(60), 2, num_workers=1):
        kept.append(part(batch))
        copies.append(numbers(kept[-1]).copy())
        kept = kept[-3:]
        copies = copies[-3:]
        del batch
        for one, copy in zip(kept, copies, strict=True):
            np.testing.assert_array_equal(numbers(one), copy)


def numbers(part):
    return part.numpy() if isinstance(part, torch.Tensor) else np.asarray(part)


def test_writing_into_a_batch_changes_no_other_one():
    held = deque(maxlen=5)
    for number, batch in enumerate(loader_of(Numbered(120), 2)):
        assert batch.tolist() == [[2 * number] * 1000, [2 * number + 1] * 1000]
        for older, kept in held:
            assert (kept == -1 - older).all()
        batch.fill_(-1 - number)
        held.append((number, batch))


def test_the_parts_of_a_batch_do_not_overlap():
    def two(samples):
        return (
            torch.stack(samples),
            torch.stack(samples) + 1,
            np.stack([s.numpy() for s in samples]),
        )

    for number, (a, b, c) in enumerate(loader_of(Numbered(40), 2, collate_fn=two)):
        a.fill_(-1)
        assert (b[0] == 2 * number + 1).all()
        assert (c[1] == 2 * number + 1).all()


class KeepsTheLast:
    """A collate_fn that gives out its last batch once more beside the new one."""

    def __init__(self):
        self.last = None

    def __call__(self, samples):
        batch = dlkit.default_collate(samples)
        pair = batch, batch if self.last is None else self.last
        self.last = batch
        return pair


def test_what_a_collate_fn_has_kept_is_not_written_over_by_anyone():
    loader = loader_of(Numbered(80), 2, num_workers=1, collate_fn=KeepsTheLast())
    for number, (batch, last) in enumerate(loader):
        before = max(number - 1, 0)
        assert (batch[0] == 2 * number).all()
        assert (last[0] == 2 * before).all()
        batch.fill_(-5)
        if number:
            last.fill_(-6)


class Caches:
    """A dataset that gives out the same tensors each time."""

    def __init__(self, n):
        self.rows = [torch.full((3000,), k) for k in range(n)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_writing_into_a_batch_does_not_reach_the_datasets_own_tensors(batch_size):
    loader = loader_of(Caches(6), batch_size, persistent_workers=True)
    expected = [batch.clone() for batch in loader]
    for _ in range(3):
        for batch, right in zip(loader, expected, strict=True):
            assert torch.equal(batch, right)
            batch.fill_(-1)


def ragged(samples):
    return torch.cat(samples)


class Ragged:
    """Sample k is as long as a list says."""

    def __init__(self, lengths):
        self.lengths = lengths

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, index):
        return torch.full((self.lengths[index],), index)


@pytest.mark.parametrize(
    "lengths",
    [
        [2**k for k in range(18)],
        [2**k for k in range(17, -1, -1)],
        [random.Random(k).randrange(50_000) for k in range(60)],
        [1, 100_000] * 20,
        [0] * 9,
    ],
    ids=["growing", "shrinking", "random", "by turns", "empty"],
)
@pytest.mark.parametrize("kept", [1, 20])
def test_batches_of_changing_size_are_right_and_memory_stays_within_its_bound(lengths, kept):
    with nothing_left():
        loader = loader_of(Ragged(lengths), 1, collate_fn=ragged, persistent_workers=True)
        for _ in range(2):
            held = deque(maxlen=kept)
            for number, batch in enumerate(loader):
                held.append((number, batch))
                for which, one in held:
                    assert len(one) == lengths[which]
                    assert (one == which).all()
                if loader._pool.shared_bytes:
                    assert loader._pool.shared_bytes <= loader.memory_bound()
        del loader, held, batch, one


def test_the_bound_holds_while_a_hundred_batches_are_kept_and_slots_are_used_again():
    with nothing_left():
        loader = loader_of(Numbered(300), 1, prefetch_factor=3, persistent_workers=True)
        kept = deque(maxlen=100)
        for batch in loader:
            kept.append(batch)
            assert loader._pool.shared_bytes <= loader.memory_bound()
        assert [int(one[0, 0]) for one in kept] == list(range(200, 300))
        del loader, kept, batch


def test_few_slots_are_made_for_many_batches(monkeypatch):
    made = torch.zeros(2, dtype=torch.int64).share_memory_()
    make = shared_memory.Ring._make

    def counted(ring, nbytes):
        made[dlkit.get_worker_info().id] += 1
        return make(ring, nbytes)

    monkeypatch.setattr(shared_memory.Ring, "_make", counted)
    for batch in loader_of(Numbered(1000), 1):
        assert batch.shape == (1, 1000)
    assert all(1 <= count <= 6 for count in made.tolist())


def test_tensors_freed_in_other_threads_return_their_slots():
    with nothing_left():
        loader = loader_of(Numbered(600), 1, persistent_workers=True)
        passing = queue.Queue(maxsize=3)
        wrong = []

        def consume():
            while (item := passing.get()) is not None:
                number, batch = item
                if not (batch == number).all():
                    wrong.append(number)
                del item, batch

        threads = [threading.Thread(target=consume) for _ in range(3)]
        for thread in threads:
            thread.start()
        for item in enumerate(loader):
            passing.put(item)
            assert loader._pool.shared_bytes <= loader.memory_bound()
        for _ in threads:
            passing.put(None)
        for thread in threads:
            thread.join()
        assert wrong == []
        del loader, item


def test_batches_outlive_their_workers_and_their_loader():
    loader = loader_of(Numbered(12), 2)
    kept = list(loader)
    del loader
    gc.collect()
    assert [int(batch[0, 0]) for batch in kept] == [0, 2, 4, 6, 8, 10]


def test_a_dataset_of_tensors_and_one_of_rows_come_as_from_pytorch():
    data = torch_data.TensorDataset(torch.arange(9000.0).reshape(300, 30), torch.arange(300))
    theirs = list(torch_data.DataLoader(data, 7, num_workers=2))
    assert_same(list(loader_of(data, 7)), theirs)
    assert_same(list(loader_of(data, 7, "thread")), theirs)


def test_a_stream_without_room_for_its_batches_fails_batch_by_batch_and_ends(monkeypatch):
    class Stream(torch_data.IterableDataset):
        def __iter__(self):
            return iter(torch.arange(10).repeat(1000, 1).T)

    def no_room(ring, nbytes):
        raise MemoryError(f"no shared memory for a batch of {nbytes:,} bytes")

    monkeypatch.setattr(shared_memory.Ring, "_make", no_room)
    loader = loader_of(Stream(), 2, num_workers=1)
    batches = iter(loader)
    for delivered in range(1, 6):
        with pytest.raises(MemoryError, match="no shared memory for a batch"):
            next(batches)
        assert loader.state_dict()["epoch"]["batches"] == delivered
    assert next(batches, "the end") == "the end"
