"""The loader against PyTorch's: whatever is drawn, the same batches and random numbers."""

import copy
import pickle
import re

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loader_cases import (
    MAP_DATASETS,
    SAMPLERS,
    STREAMS,
    Case,
    build,
    cases,
    difference,
    random_state,
    seed_everything,
)
from torch.utils import data as torch_data

import dlkit.loader

thorough = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def step(iterator):
    """The next batch, or the type of what came instead."""
    try:
        return next(iterator)
    except StopIteration:
        return "the end"
    except Exception as error:
        return type(error)


def play(case, library, script, **options):
    """Carry out a script of steps on a loader; after each, record the batch and the random state.

    A step is a number: -1 opens a new iterator, k takes a batch from the k-th that is open.
    """
    seed_everything(case.seed)
    loader = build(case, library, **options)
    record, iterators = [random_state(loader)], []
    for action in script:
        if action < 0 or not iterators:
            iterators.append(iter(loader))
            record.append(random_state(loader))
        else:
            batch = step(iterators[action % len(iterators)])
            record += [batch, random_state(loader)]
    return record


def assert_same(case, script, **options):
    assert_alike(*(play(case, library, script, **options) for library in ("torch", "dlkit")))


def assert_alike(theirs, ours):
    for place, (a, b) in enumerate(zip(theirs, ours, strict=True)):
        found = difference(a, b, "record")
        assert found is None, f"entry {place} differs (PyTorch against dlkit): {found[:2000]}"


def epochs(lengths):
    """A script of one epoch after another, each left after that many batches."""
    return [action for k, length in enumerate(lengths) for action in [-1, *[k] * length]]


@thorough
@given(case=cases(), lengths=st.lists(st.integers(0, 120), min_size=1, max_size=3))
def test_epochs_that_may_end_early_have_pytorchs_batches_and_random_states(case, lengths):
    assert_same(case, epochs(lengths))


@thorough
@given(case=cases(), script=st.lists(st.integers(-1, 3), max_size=40))
def test_several_iterators_at_once_do_as_pytorchs_do(case, script):
    assert_same(case, [-1, *script])


@thorough
@given(
    # Without random numbers: how many were drawn before a bad index was met is nobody's business.
    case=cases(
        datasets=MAP_DATASETS,
        samplers=["negative", "numpy", "tensors", "out of range"],
        noises=[None],
    ),
)
def test_unusual_indices_are_read_or_refused_as_by_pytorch(case):
    case.order = "sampler"
    assert_same(case, epochs([12, 3]))


@pytest.mark.parametrize("dataset", [*MAP_DATASETS, *STREAMS])
@pytest.mark.parametrize("batch_size", [None, 1, 4])
@pytest.mark.parametrize("shuffle", [False, True])
def test_two_whole_epochs_of_every_dataset(dataset, batch_size, shuffle):
    case = Case(
        dataset=dataset, n=11, structure=("tuple", ["tensor", "int"]), batch_size=batch_size
    )
    case.order = "shuffle" if shuffle and dataset not in STREAMS else "in order"
    assert_same(case, epochs([13, 13]))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("order", ["sampler", "batches of sampler"])
@pytest.mark.parametrize("torch_classes", [False, True])
@pytest.mark.parametrize("draws", [1, 32, 33, 70])
def test_every_sampler_at_the_lengths_where_its_drawing_changes(
    sampler, order, torch_classes, draws
):
    for batch_size in (1, 16, 35):
        case = Case(
            dataset="tensors", n=35, order=order, sampler=sampler, draws=draws,
            batch_size=batch_size, sampler_generator=draws % 2 == 0, torch_classes=torch_classes,
        )  # fmt: skip
        assert_same(case, epochs([72, 1, 72]))


@pytest.mark.parametrize(
    "options", [{"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}]
)
@pytest.mark.parametrize(
    "case",
    [
        Case(dataset="tensors", n=23, batch_size=4),
        Case(dataset="samples", n=9, noise="torch", batch_size=2, loader_generator=True),
        Case(dataset="samples", n=9, noise="numpy", batch_size=None),
        Case(dataset="subset of samples", n=9, structure="str", noise="python", collate="list"),
        Case(dataset="sized stream", n=9, noise="torch", order="in order", batch_size=4),
        Case(dataset="tensors", n=23, order="sampler", sampler="one by one", draws=40),
        Case(dataset="list", n=6, structure=("dict", ["array", "str"]), order="random batches"),
    ],
    ids=lambda case: f"{case.dataset}, {case.order}" if isinstance(case, Case) else None,
)
def test_with_worker_processes_the_batches_are_pytorchs_too(case, options):
    assert_same(case, epochs([14, 2, 14]), **options)


@st.composite
def worker_options(draw):
    """Arguments about workers, for PyTorch's loader and for dlkit's."""
    theirs = {
        "num_workers": draw(st.integers(1, 3)),
        "prefetch_factor": draw(st.sampled_from([None, 1, 2, 5])),
        "persistent_workers": draw(st.booleans()),
        "multiprocessing_context": "fork",
    }
    ours = dict(theirs)
    if draw(st.booleans()):
        del ours["multiprocessing_context"]
        ours["worker_method"] = "thread"
    return theirs, ours


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    case=cases(noises=[None, "torch", "python", "numpy"]),
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=3),
    options=worker_options(),
)
def test_whatever_the_workers_the_batches_and_random_states_are_pytorchs(case, lengths, options):
    theirs, ours = options
    if "worker_method" in ours:
        case.noise = None  # threads share the generators that these draw from
    assert_alike(
        play(case, "torch", epochs(lengths), **theirs), play(case, "dlkit", epochs(lengths), **ours)
    )


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize(
    "case",
    [
        Case(n=9, order="sampler", sampler="at iter", batch_size=None, noise="python"),
        Case(n=9, order="sampler", sampler="at iter", batch_size=2, noise="python"),
        Case(n=9, order="sampler", sampler="own generator", batch_size=None, noise="torch"),
        Case(n=9, order="batches at iter", noise="python"),
        Case(n=9, order="random batches", noise="numpy"),
    ],
    ids=lambda case: f"{case.order}, {case.sampler}, {case.batch_size}",
)
def test_samplers_that_draw_at_once_draw_for_workers_what_they_draw_for_pytorchs(case, persistent):
    options = {"num_workers": 2, "persistent_workers": persistent}
    assert_same(case, epochs([12, 2, 12]), **options)


# ---- what belongs to whom -----------------------------------------------------------------------


@pytest.mark.parametrize("dataset", ["tensors", "subset", "concat"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_batch_belongs_to_its_user_and_the_dataset_stays_as_it_was(dataset, batch_size):
    case = Case(dataset=dataset, n=7, batch_size=batch_size, order="in order")
    loader = build(case, "dlkit")
    before = [copy.deepcopy(batch) for batch in loader]
    for batch in loader:
        for column in batch:
            column.zero_()
    assert difference(before, list(loader)) is None


class Doubled(torch_data.TensorDataset):
    def __getitem__(self, index):
        return tuple(2 * tensor for tensor in super().__getitem__(index))


def test_a_subclass_of_pytorchs_dataset_is_read_through_its_own_getitem():
    dataset = Doubled(torch.arange(5))
    (batch,), *_ = dlkit.loader.DataLoader(dataset, batch_size=5)
    assert batch.tolist() == [0, 2, 4, 6, 8]


def test_a_subclass_of_dlkits_dataset_is_read_through_its_own_getitem():
    class DoubledOurs(dlkit.datasets.TensorDataset):
        def __getitem__(self, index):
            return tuple(2 * tensor for tensor in super().__getitem__(index))

    (batch,), *_ = dlkit.loader.DataLoader(DoubledOurs(torch.arange(5)), batch_size=5)
    assert batch.tolist() == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("classes", [torch_data, dlkit.datasets])
def test_a_subset_follows_its_indices_when_they_change(classes):
    subset = classes.Subset(classes.TensorDataset(torch.arange(10)), [0, 1, 2])
    loader = dlkit.loader.DataLoader(subset, batch_size=3)
    assert [batch.tolist() for (batch,) in loader] == [[0, 1, 2]]
    subset.indices[:] = [7, 8, 9]
    assert [batch.tolist() for (batch,) in loader] == [[7, 8, 9]]


@pytest.mark.parametrize("classes", [torch_data, dlkit.datasets])
def test_a_tensor_dataset_follows_its_tensors_when_they_are_exchanged(classes):
    dataset = classes.TensorDataset(torch.arange(4))
    loader = dlkit.loader.DataLoader(dataset, batch_size=4)
    assert [batch.tolist() for (batch,) in loader] == [[0, 1, 2, 3]]
    dataset.tensors = (torch.arange(4) + 10,)
    assert [batch.tolist() for (batch,) in loader] == [[10, 11, 12, 13]]


@pytest.mark.parametrize("classes", [torch_data, dlkit.datasets])
def test_keys_of_a_subset_may_be_of_any_type(classes):
    subset = classes.Subset({"a": 1, "b": 2, "c": 3}, ["c", "a"])
    assert [b.tolist() for b in dlkit.loader.DataLoader(subset, batch_size=2)] == [[3, 1]]


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
@pytest.mark.parametrize("started", [False, True])
def test_a_loader_can_be_copied_and_pickled(copied, started):
    loader = dlkit.loader.DataLoader(
        torch_data.TensorDataset(torch.arange(6)), 2, True, generator=torch.Generator()
    )
    if started:
        next(iter(loader))
    twin = copied(loader)
    if copied is copy.copy:
        twin.generator.manual_seed(0)
        ours = list(loader)
        twin.generator.manual_seed(0)
    else:
        ours = list(loader)
    assert difference(ours, list(twin)) is None


# ---- what PyTorch refuses -----------------------------------------------------------------------

FIVE = torch_data.TensorDataset(torch.arange(5))


class Five(torch_data.IterableDataset):
    def __iter__(self):
        return iter(range(5))


BAD_ARGUMENTS = [
    (FIVE, {"batch_size": 0}),
    (FIVE, {"batch_size": -2}),
    (FIVE, {"batch_size": 2.0}),
    (FIVE, {"batch_size": True}),
    (FIVE, {"batch_size": "2"}),
    (FIVE, {"batch_size": None, "drop_last": True}),
    (FIVE, {"drop_last": 1}),
    (FIVE, {"drop_last": None}),
    (FIVE, {"drop_last": "yes"}),
    (FIVE, {"shuffle": True, "sampler": [1, 2]}),
    (FIVE, {"batch_sampler": [[1]], "batch_size": 2}),
    (FIVE, {"batch_sampler": [[1]], "batch_size": None}),
    (FIVE, {"batch_sampler": [[1]], "shuffle": True}),
    (FIVE, {"batch_sampler": [[1]], "sampler": [1]}),
    (FIVE, {"batch_sampler": [[1]], "drop_last": True}),
    (FIVE, {"num_workers": -1}),
    (FIVE, {"timeout": -1}),
    (FIVE, {"prefetch_factor": 2}),
    (FIVE, {"prefetch_factor": -1, "num_workers": 1}),
    (FIVE, {"persistent_workers": True}),
    (FIVE, {"multiprocessing_context": "spawn"}),
    (FIVE, {"multiprocessing_context": "no such", "num_workers": 1}),
    (FIVE, {"multiprocessing_context": 5, "num_workers": 1}),
    (FIVE, {"no_such_argument": 1}),
    (FIVE, {"sampler": 5}),
    (FIVE, {"batch_sampler": 5}),
    (FIVE, {"timeout": 3}),
    ([], {"shuffle": True}),
    ([], {}),
    (Five(), {"shuffle": True}),
    (Five(), {"sampler": [1]}),
    (Five(), {"batch_sampler": [[1]]}),
    (Five(), {"batch_size": 0}),
    (Five(), {"batch_size": None, "drop_last": True}),
    (5, {}),
    (5, {"shuffle": True}),
    (None, {}),
    ([1, "a"], {"batch_size": 2}),
    ([torch.zeros(2), torch.zeros(3)], {"batch_size": 2}),
    ([{"a": 1}, {"b": 1}], {"batch_size": 2}),
    ([[1, 2], [1]], {"batch_size": 2}),
    ([None, None], {}),
    ([object()], {}),
    (FIVE, {"collate_fn": 5}),
    (FIVE, {"generator": 5}),
    (FIVE, {"sampler": [9]}),
]


def without_addresses(value):
    """An id that is the same in every process of a parallel run."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))[:60]


def outcome(loader_class, dataset, arguments):
    """The type of error that making a loader and reading an epoch ends with, or the batches."""
    try:
        return list(loader_class(dataset, **arguments))
    except Exception as error:
        return type(error)


@pytest.mark.parametrize(("dataset", "arguments"), BAD_ARGUMENTS, ids=without_addresses)
def test_what_pytorch_refuses_is_refused_with_the_same_type_of_error(dataset, arguments):
    torch.manual_seed(0)
    theirs = outcome(torch_data.DataLoader, dataset, arguments)
    torch.manual_seed(0)
    ours = outcome(dlkit.loader.DataLoader, dataset, arguments)
    if isinstance(theirs, type):
        assert isinstance(ours, type), f"PyTorch raises {theirs.__name__}, dlkit gives {ours}"
        if theirs is AssertionError:  # what PyTorch only asserts may be refused more plainly
            theirs = Exception
        assert issubclass(ours, theirs) or issubclass(theirs, ours), (theirs, ours)
    else:
        assert not isinstance(ours, type), f"PyTorch gives {theirs}, dlkit raises {ours.__name__}"
        assert difference(theirs, ours) is None


@pytest.mark.parametrize("classes", [torch_data, dlkit.datasets])
@pytest.mark.parametrize("index", [1.5, "a", None, [0]])
def test_an_index_that_is_no_integer_is_refused_and_not_rounded(classes, index):
    loader = dlkit.loader.DataLoader(classes.TensorDataset(torch.arange(5)), sampler=[index])
    if index == [0]:
        assert difference(list(loader), list(torch_data.DataLoader(FIVE, sampler=[index]))) is None
        return
    with pytest.raises((TypeError, IndexError)):
        list(loader)


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch_size": 2},
        {"num_workers": np.int64(0)},
        {"pin_memory": False, "timeout": 0},
        {"shuffle": 0},
        {"shuffle": 1},
        {"generator": torch.Generator()},
        {"sampler": (4, 1)},
        {"sampler": range(3)},
        {"sampler": torch.tensor([3, 1])},
        {"batch_size": None, "sampler": [[1, 2], [0]]},
        {"batch_size": None, "sampler": torch_data.BatchSampler(range(5), 2, False)},
        {"batch_sampler": [[0, 1], [], [2]], "collate_fn": len},
        {"batch_sampler": ((0, 1), (2,))},
        {"batch_sampler": torch.arange(4).reshape(2, 2)},
    ],
    ids=without_addresses,
)
def test_what_pytorch_accepts_is_accepted(arguments):
    dataset = torch_data.TensorDataset(torch.arange(5), torch.arange(10).reshape(5, 2))
    torch.manual_seed(0)
    theirs = outcome(torch_data.DataLoader, dataset, arguments)
    if isinstance(arguments.get("generator"), torch.Generator):
        arguments["generator"].manual_seed(67280421310721)
    torch.manual_seed(0)
    ours = outcome(dlkit.loader.DataLoader, dataset, arguments)
    assert not isinstance(theirs, type)
    assert not isinstance(ours, type), ours
    assert difference(theirs, ours) is None


@pytest.mark.parametrize(
    "name", ["batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"]
)
def test_what_pytorch_fixes_after_construction_is_fixed(name):
    for loader_class in (torch_data.DataLoader, dlkit.loader.DataLoader):
        loader = loader_class(FIVE)
        with pytest.raises(ValueError, match=name):
            setattr(loader, name, None)


@settings(max_examples=100, deadline=None)
@given(case=cases())
def test_the_length_and_the_public_attributes_are_pytorchs(case):
    theirs, ours = build(case, "torch"), build(case, "dlkit")

    def length(loader):
        try:
            return len(loader)
        except Exception as error:
            return type(error)

    assert length(ours) == length(theirs)
    for name in (
        *("batch_size", "drop_last", "num_workers", "pin_memory", "timeout", "worker_init_fn"),
        *("multiprocessing_context", "prefetch_factor", "persistent_workers", "pin_memory_device"),
        "in_order",
    ):
        assert getattr(ours, name) == getattr(theirs, name), name
