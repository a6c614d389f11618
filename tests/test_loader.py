"""The loader as its user meets it: arguments, attributes, errors, state. Batches are compared with
PyTorch's in `test_loader_differential`."""

import inspect
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils import data as torch_data

import dlkit
from dlkit import DataLoader, TensorDataset
from tests.structures import assert_same

X, Y = torch.rand(10, 3), torch.arange(10)


class Stream(torch_data.IterableDataset[int]):
    """Counts up to n, and may lie about it."""

    def __init__(self, n: int, says: int | None = None) -> None:
        self.n, self.says, self.reads = n, says, 0

    def __iter__(self) -> Iterator[int]:
        for i in range(self.n):
            self.reads += 1
            yield i

    def __len__(self) -> int:
        return self.n if self.says is None else self.says


class Liar:
    """Says 10 and has 7."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> int:
        return list(range(7))[index]


def test_the_signature_is_pytorchs() -> None:
    theirs = inspect.signature(torch_data.DataLoader).parameters
    ours = inspect.signature(DataLoader).parameters
    assert [name for name in ours if name in theirs] == list(theirs)
    for name, parameter in theirs.items():
        assert ours[name].kind == parameter.kind
        assert ours[name].default == parameter.default
    beyond = [p for name, p in ours.items() if name not in theirs]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in beyond)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"batch_size": 4, "shuffle": True, "drop_last": True},
        {"batch_size": None},
        {"batch_sampler": [[1, 2], [3]]},
        {"num_workers": 2, "persistent_workers": True, "timeout": 3},
        {"num_workers": 1, "prefetch_factor": 5, "multiprocessing_context": "spawn"},
    ],
)
def test_attributes_are_pytorchs(arguments: dict[str, Any]) -> None:
    ours, theirs = DataLoader(range(8), **arguments), torch_data.DataLoader(range(8), **arguments)
    names = [
        *("dataset", "batch_size", "num_workers", "pin_memory", "drop_last", "timeout"),
        *("worker_init_fn", "generator", "prefetch_factor", "persistent_workers"),
        *("pin_memory_device", "in_order"),
    ]
    assert {n: getattr(ours, n) for n in names} == {n: getattr(theirs, n) for n in names}
    assert type(ours.sampler).__name__ == type(theirs.sampler).__name__
    assert type(ours.batch_sampler).__name__ == type(theirs.batch_sampler).__name__
    assert ours.collate_fn.__name__ == theirs.collate_fn.__name__
    assert type(ours.multiprocessing_context) is type(theirs.multiprocessing_context)
    assert len(ours) == len(theirs)


@pytest.mark.parametrize(
    "name", ["batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"]
)
def test_what_makes_the_batches_cannot_be_changed_afterwards(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        setattr(DataLoader(range(3)), name, None)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be a positive integer, but got 0"),
        ({"batch_size": -1}, ValueError, "batch_size .* got -1"),
        ({"batch_size": 2.0}, ValueError, r"batch_size .* got 2\.0"),
        ({"batch_size": True}, ValueError, "batch_size .* got True"),
        ({"batch_size": "2"}, ValueError, "batch_size .* got '2'"),
        ({"sampler": [0], "shuffle": True}, ValueError, "sampler and shuffle=True exclude"),
        ({"batch_sampler": [[0]], "batch_size": 2}, ValueError, "batch_sampler already"),
        ({"batch_sampler": [[0]], "shuffle": True}, ValueError, "batch_sampler already"),
        ({"batch_sampler": [[0]], "drop_last": True}, ValueError, "batch_sampler already"),
        ({"batch_size": None, "drop_last": True}, ValueError, "batch_size=None"),
        ({"drop_last": 1}, ValueError, "drop_last"),
        ({"num_workers": -1}, ValueError, "num_workers .* got -1"),
        ({"num_workers": 1.5}, TypeError, r"num_workers .* got 1\.5"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"timeout": 3}, ValueError, "timeout needs num_workers > 0"),
        ({"timeout": "3", "num_workers": 1}, TypeError, "timeout .* got '3'"),
        ({"timeout": float("nan"), "num_workers": 1}, ValueError, "timeout .* got nan"),
        ({"timeout": float("inf"), "num_workers": 1}, ValueError, "timeout .* got inf"),
        ({"prefetch_factor": 1.5, "num_workers": 1}, TypeError, r"prefetch_factor .* got 1\.5"),
        ({"device": "spoon"}, ValueError, "device .* got 'spoon'"),
        ({"prefetch_factor": 2}, ValueError, "prefetch_factor needs num_workers > 0"),
        ({"prefetch_factor": -2, "num_workers": 1}, ValueError, "prefetch_factor"),
        ({"persistent_workers": True}, ValueError, "persistent_workers=True needs"),
        ({"multiprocessing_context": "fork"}, ValueError, "needs num_workers > 0"),
        ({"multiprocessing_context": "spoon", "num_workers": 1}, ValueError, "spoon"),
        ({"multiprocessing_context": 5, "num_workers": 1}, TypeError, "context"),
        ({"generator": 3}, TypeError, "generator"),
        ({"collate_fn": 3}, TypeError, "collate_fn"),
    ],
)
def test_a_bad_argument_is_named_with_its_value(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        DataLoader(range(4), **arguments)


@pytest.mark.parametrize(
    "arguments", [{"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}]
)
def test_an_iterable_dataset_takes_no_order(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="IterableDataset sets its own order"):
        DataLoader(Stream(3), **arguments)


def test_an_empty_dataset_gives_no_batch_and_cannot_be_shuffled() -> None:
    assert list(DataLoader([])) == []
    with pytest.raises(ValueError, match="empty"):
        DataLoader([], shuffle=True)


def test_an_index_out_of_range_names_the_index_the_length_and_the_batch() -> None:
    with pytest.raises(IndexError) as caught:
        list(DataLoader(TensorDataset(X), batch_size=2, sampler=[1, 10]))
    notes = "\n".join(caught.value.__notes__)
    assert "indices [1, 10]" in notes
    assert "yielded index 10, but the dataset has 10 samples" in notes


def test_a_dataset_shorter_than_its_len_is_found_out() -> None:
    with pytest.raises(IndexError) as caught:
        list(DataLoader(Liar(), batch_size=4))
    assert "fewer samples than its __len__ says" in "\n".join(caught.value.__notes__)


def test_an_error_in_the_dataset_keeps_its_type_and_says_which_samples() -> None:
    class Broken(Liar):
        def __getitem__(self, index: int) -> int:
            raise UnicodeDecodeError("utf-8", b"x", 0, 1, "bad byte")

    with pytest.raises(UnicodeDecodeError) as caught:
        next(iter(DataLoader(Broken(), batch_size=3)))
    assert caught.value.__notes__ == ["while fetching the samples with indices [0, 1, 2]"]


def test_samples_that_do_not_stack_say_where_and_which() -> None:
    samples = [{"x": torch.zeros(2)}, {"x": torch.zeros(3)}]
    with pytest.raises(RuntimeError, match=r"sample\['x'\]: shapes differ, \[2\]") as caught:
        next(iter(DataLoader(samples, batch_size=2)))
    assert "indices [0, 1]" in caught.value.__notes__[0]


def test_stop_iteration_in_a_dataset_does_not_end_the_epoch_in_silence() -> None:
    class Stops(Liar):
        def __getitem__(self, index: int) -> int:
            return next(iter([]))

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(DataLoader(Stops()))


def test_after_an_error_the_next_batch_follows() -> None:
    class Hole(Liar):
        def __getitem__(self, index: int) -> int:
            if index == 3:
                raise ValueError("hole")
            return index

    iterator = iter(DataLoader(Hole(), batch_size=2))
    assert next(iterator).tolist() == [0, 1]
    with pytest.raises(ValueError, match="hole"):
        next(iterator)
    assert next(iterator).tolist() == [4, 5]


def test_an_interrupted_batch_comes_again_when_the_pass_is_resumed() -> None:
    class Interrupted(Liar):
        armed = True

        def __getitem__(self, index: int) -> int:
            if index == 5 and self.armed:
                raise KeyboardInterrupt
            return index

    dataset = Interrupted()
    loader = DataLoader(dataset, batch_size=2)
    iterator = iter(loader)
    received = next(iterator).tolist() + next(iterator).tolist()
    with pytest.raises(KeyboardInterrupt):
        next(iterator)
    dataset.armed = False
    loader.load_state_dict(loader.state_dict())
    received += [i for batch in loader for i in batch.tolist()]
    assert received == list(range(10))


def test_an_iterator_that_is_used_after_an_interrupt_counts_the_batch_it_lost() -> None:
    class Interrupted(Liar):
        armed = True

        def __getitem__(self, index: int) -> int:
            if index == 2 and self.armed:
                raise KeyboardInterrupt
            return index

    dataset = Interrupted()
    loader = DataLoader(dataset, batch_size=1)
    iterator = iter(loader)
    received = [next(iterator), next(iterator)]
    with pytest.raises(KeyboardInterrupt):
        next(iterator)
    dataset.armed = False
    received += [next(iterator), next(iterator)]
    assert [int(batch) for batch in received] == [0, 1, 3, 4]
    assert loader.last_indices == [4]
    loader.load_state_dict(loader.state_dict())
    assert int(next(iter(loader))) == 5


def test_it_is_what_isinstance_asks_for() -> None:
    loader = DataLoader(TensorDataset(X), batch_size=2, shuffle=True)
    assert isinstance(loader, torch_data.DataLoader)
    assert isinstance(loader.sampler, torch_data.RandomSampler)
    assert isinstance(loader.batch_sampler, torch_data.BatchSampler)
    assert isinstance(loader.dataset, torch_data.TensorDataset)
    assert isinstance(DataLoader(X).sampler, torch_data.SequentialSampler)
    assert isinstance(dlkit.Subset(X, [1]), torch_data.Subset)
    assert isinstance(dlkit.ConcatDataset([X]), torch_data.ConcatDataset)


@pytest.mark.parametrize("says", [2, 3])
def test_a_stream_longer_than_its_length_warns(says: int) -> None:
    loader = DataLoader(Stream(9, says), batch_size=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in loader:  # nobody asked for the length, so nobody was told a wrong one
            pass
    len(loader)
    with pytest.warns(UserWarning, match="the length of Stream promised") as caught:
        list(loader)
    assert f"promised {-(-says // 2)} batches" in str(caught[0].message)


def test_a_stream_as_long_as_its_length_does_not_warn() -> None:
    loader = DataLoader(Stream(9), batch_size=2)
    assert len(loader) == 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(loader)) == 5


@pytest.mark.parametrize("workers", [0, 2])
def test_the_last_indices_are_those_of_the_delivered_batch(workers: int) -> None:
    loader = DataLoader(
        TensorDataset(Y), batch_size=3, shuffle=True, num_workers=workers, collate_fn=None
    )
    assert loader.last_indices is None
    for (labels,) in loader:
        assert loader.last_indices == labels.tolist()


def test_the_last_index_of_an_unbatched_loader_is_one_sample() -> None:
    loader = DataLoader(TensorDataset(Y), batch_size=None, sampler=[4, 2])
    for (label,) in loader:
        assert loader.last_indices == [int(label)]


def test_a_users_collate_fn_gets_a_list_of_samples() -> None:
    def by_label(samples: list[Any]) -> list[int]:
        samples.sort(key=lambda sample: -int(sample[1]))
        return [int(label) for _, label in samples]

    assert next(iter(DataLoader(TensorDataset(X, Y), 4, collate_fn=by_label))) == [3, 2, 1, 0]
    workers = DataLoader(TensorDataset(X, Y), 4, collate_fn=by_label, num_workers=1)
    assert next(iter(workers)) == [3, 2, 1, 0]


def test_iterators_of_one_loader_do_not_disturb_each_other() -> None:
    loader = DataLoader(range(6), batch_size=2)
    one, other = iter(loader), iter(loader)
    assert next(one).tolist() == next(other).tolist() == [0, 1]
    assert [b.tolist() for b in one] == [b.tolist() for b in other] == [[2, 3], [4, 5]]
    assert len(one) == 3


def test_a_loader_can_be_pickled_with_its_state() -> None:
    loader = DataLoader(TensorDataset(X), 2, shuffle=True, generator=torch.Generator())
    expected = list(loader)
    loader = DataLoader(TensorDataset(X), 2, shuffle=True, generator=torch.Generator())
    copy = pickle.loads(pickle.dumps(loader))
    assert_same(list(copy), expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_can_be_pickled_after_a_pass_and_in_one(workers: int) -> None:
    loader = DataLoader(TensorDataset(X), 2, num_workers=workers)
    expected = list(loader)
    assert_same(list(pickle.loads(pickle.dumps(loader))), expected)
    iterator = iter(loader)
    next(iterator)
    assert_same(list(pickle.loads(pickle.dumps(loader))), expected)


def state_after(loader: DataLoader[Any], batches: int) -> dict[str, Any]:
    iterator = iter(loader)
    for _ in range(batches):
        next(iterator)
    return loader.state_dict()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: DataLoader(TensorDataset(X[1:]), 2), "length 10, but this one has 9"),
        (lambda: DataLoader(range(10), 2), "dataset 'TensorDataset', but this one has 'range'"),
        (lambda: DataLoader(TensorDataset(X), 3), "batch_size 2, but this one has 3"),
        (lambda: DataLoader(TensorDataset(X), 2, drop_last=True), "drop_last"),
        (lambda: DataLoader(TensorDataset(X), 2, shuffle=True), "does not fit this sampler"),
        (lambda: DataLoader(Stream(4), 2), "dataset 'TensorDataset'"),
    ],
)
def test_a_state_of_another_loader_is_refused_and_changes_nothing(other: Any, message: str) -> None:
    state = state_after(DataLoader(TensorDataset(X), 2), 2)
    loader = other()
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict(state)
    assert len(list(loader)) == len(list(other()))


@pytest.mark.parametrize("state", [{}, {"epoch": None}, None, []])
def test_nonsense_is_no_state(state: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="state"):
        DataLoader(range(3)).load_state_dict(state)


def test_a_stream_without_a_state_is_read_again_with_a_warning() -> None:
    state = state_after(DataLoader(Stream(9), 2), 3)
    stream = Stream(9)
    loader = DataLoader(stream, 2)
    loader.load_state_dict(state)
    with pytest.warns(UserWarning, match="Stream has no state_dict .* 3 batches"):
        assert [b.tolist() for b in loader] == [[6, 7], [8]]
    assert stream.reads == 9


def test_a_stream_is_read_again_over_a_batch_that_failed_before() -> None:
    class Stumbles:
        def __init__(self) -> None:
            self.at = -1

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> int:
            self.at += 1
            if self.at == 1:
                raise ValueError("stumbled")
            if self.at == 5:
                raise StopIteration
            return self.at

    class Path(torch_data.IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            return Stumbles()

    loader = DataLoader(Path(), batch_size=None)
    iterator = iter(loader)
    assert next(iterator) == 0
    with pytest.raises(ValueError, match="stumbled"):
        next(iterator)
    assert next(iterator) == 2
    state = loader.state_dict()
    other = DataLoader(Path(), batch_size=None)
    other.load_state_dict(state)
    with pytest.warns(UserWarning, match="read again"):
        assert list(other) == [3, 4]


def test_a_stream_with_a_state_is_continued_without_reading_again() -> None:
    class Saved(Stream):
        position = 0

        def __iter__(self) -> Iterator[int]:
            while self.position < self.n:
                self.position += 1
                self.reads += 1
                yield self.position - 1
            self.position = 0

        def state_dict(self) -> dict[str, int]:
            return {"position": self.position}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.position = state["position"]

    state = state_after(DataLoader(Saved(9), 2), 3)
    stream = Saved(9)
    loader = DataLoader(stream, 2)
    loader.load_state_dict(state)
    assert [b.tolist() for b in loader] == [[6, 7], [8]]
    assert stream.reads == 3


@pytest.mark.parametrize("workers", [(0, 2), (2, 0), (1, 2)])
def test_a_pass_continues_with_another_number_of_workers(workers: tuple[int, int]) -> None:
    def make(number: int) -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(1)
        return DataLoader(
            TensorDataset(X, Y), 3, shuffle=True, generator=generator, num_workers=number
        )

    expected = list(make(0))
    state = state_after(make(workers[0]), 2)
    loader = make(workers[1])
    loader.load_state_dict(state)
    assert_same(list(loader), expected[2:])


def test_pinning_without_an_accelerator_warns_and_loads() -> None:
    if torch.accelerator.is_available():
        pytest.skip("there is an accelerator")
    with pytest.warns(UserWarning, match="no accelerator"):
        assert len(list(DataLoader(range(3), pin_memory=True))) == 3


def test_importing_dlkit_imports_only_its_core() -> None:
    code = (
        "import sys; before = set(sys.modules); import torch, numpy, cloudpickle; "
        "core = set(sys.modules); import dlkit, dlkit.streaming; "
        "[getattr(dlkit, name) for name in dlkit.__all__]; "
        "heavy = {'matplotlib', 'torchvision', 'sklearn', 'ipywidgets', 'pandas', 'tqdm', "
        "'torchmetrics', 'psutil', 'IPython', 'scipy', 'PIL'}; "
        "print(sorted(heavy & {name.split('.')[0] for name in set(sys.modules) - core}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_importing_dlkit_alone_does_not_import_torch() -> None:
    code = "import sys, dlkit; print('torch' in sys.modules, dlkit.__version__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split()[0] == "False", result.stderr


def test_nothing_else_is_exported_than_exists() -> None:
    assert all(hasattr(dlkit, name) for name in dlkit.__all__)
    assert set(dlkit.__all__) <= set(dir(dlkit))
    with pytest.raises(AttributeError, match="no attribute 'Loader'"):
        dlkit.Loader  # noqa: B018


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, None])
def test_a_generator_that_the_dataset_draws_from_too_is_continued(batch_size: int | None) -> None:
    class Noisy:
        def __init__(self, generator: torch.Generator) -> None:
            self.generator = generator

        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> torch.Tensor:
            return index + torch.rand(1, generator=self.generator)

    def make() -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(3)
        return DataLoader(Noisy(generator), batch_size, shuffle=True, generator=generator)

    for stop in range(len(make()) + 1):
        loader = make()
        iterator = iter(loader)
        for _ in range(stop):
            next(iterator)
        state = loader.state_dict()
        expected = [*iterator, *loader]
        other = make()
        other.load_state_dict(state)
        assert_same([*other, *other], expected)
