"""Vectorised datasets read the same samples as PyTorch's, in one call."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils import data as torch_data

import dlkit
from dlkit.datasets import Columns, read_samples, vectorised
from dlkit.datasets.base import MapDataset, VectorisedDataset
from dlkit.datasets.rows import row_reader
from tests.structures import assert_same

X, Y = torch.rand(12, 2, 3), torch.arange(12)


class Letters:
    """A dataset in plain Python, which insists on Python integers."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> str:
        assert type(index) is int, f"got a {type(index)}"
        return "abcdefghijkl"[index]


class LettersTogether(Letters):
    """The same with a batched read."""

    def __getitems__(self, indices: list[int]) -> list[str]:
        assert type(indices) is list
        return [self[index].upper() for index in indices]


def check_same_in_both(build: Any, indices: list[int]) -> None:
    """Compare batched reads of dlkit's datasets with single reads of PyTorch's."""
    ours, theirs = build(dlkit), build(torch_data)
    expected = [theirs[index] for index in indices]
    assert len(ours) == len(theirs)
    assert_same([ours[index] for index in indices], expected)
    assert_same(list(ours.__getitems__(indices)), expected)
    assert_same(list(ours.__getitems__(np.array(indices, dtype=np.int64))), expected)
    assert_same(list(vectorised(theirs).__getitems__(indices)), expected)


BUILDS = {
    "tensors": lambda m: m.TensorDataset(X, Y),
    "subset": lambda m: m.Subset(m.TensorDataset(X, Y), [11, 0, 3, 3, 7, 2, 1, 9, 8, 10, 4, 5]),
    "concat": lambda m: m.ConcatDataset(
        [
            m.TensorDataset(X[:3], Y[:3]),
            m.TensorDataset(X[3:4], Y[3:4]),
            m.TensorDataset(X[4:], Y[4:]),
        ]
    ),
    "concat of different shapes": lambda m: m.ConcatDataset(
        [m.TensorDataset(X[:6]), m.TensorDataset(Y[6:])]
    ),
    "concat with plain Python": lambda m: m.ConcatDataset([m.TensorDataset(X[:4]), Letters()]),
    "subset of concat of subsets": lambda m: m.Subset(
        m.ConcatDataset([m.Subset(m.TensorDataset(X, Y), range(5)), m.TensorDataset(X, Y)]),
        range(16, 2, -1),
    ),
    "subset of plain Python": lambda m: m.Subset(Letters(), range(12)),
}


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS.keys())
@given(indices=st.lists(st.integers(0, 11), min_size=0, max_size=9))
@settings(deadline=None, max_examples=40)
def test_batched_reads_equal_pytorchs_single_reads(build: Any, indices: list[int]) -> None:
    check_same_in_both(build, indices)


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS.keys())
@pytest.mark.parametrize("index", [-1, -5])
def test_negative_indices_count_from_the_end(build: Any, index: int) -> None:
    check_same_in_both(build, [index, 0])


@pytest.mark.parametrize(
    "tensor",
    [
        torch.rand(5, 3).bfloat16(),
        torch.rand(5, 3).half(),
        torch.rand(5, 3).to(torch.float8_e4m3fn),
        torch.rand(5, 3, dtype=torch.complex64),
        torch.rand(5) > 0.5,
        torch.rand(3, 5).T,
        torch.rand(10, 3)[::2],
        torch.rand(5, 3, requires_grad=True),
        torch.rand(5, 3, dtype=torch.complex64).conj(),
        torch.rand(5, 0),
        torch.rand(5, 3).to_sparse(),
        torch.nn.Parameter(torch.rand(5, 3)),
    ],
    ids=lambda t: f"{t.dtype}-{tuple(t.shape)}-{t.layout}",
)
def test_rows_of_any_kind_of_tensor_equal_indexing(tensor: torch.Tensor) -> None:
    rows = row_reader(tensor)(np.array([4, 0, -1, 0]))
    expected = torch.stack([tensor[i] for i in (4, 0, -1, 0)])
    assert rows.dtype == expected.dtype
    assert rows.requires_grad == expected.requires_grad
    assert torch.equal(rows.to_dense().resolve_conj(), expected.to_dense().resolve_conj())


def test_rows_are_copies() -> None:
    data = torch.zeros(3, 2)
    dlkit.TensorDataset(data).__getitems__([1]).columns[0].fill_(5)
    assert data.sum() == 0


def test_a_tensor_that_moved_into_shared_memory_is_still_read_where_it_is() -> None:
    data = torch.zeros(4, 2)
    dataset = dlkit.TensorDataset(data)
    dataset.__getitems__([0])
    data.share_memory_()
    data.fill_(3)
    assert dataset.__getitems__([1, 2]).columns[0].eq(3).all()


def test_a_tensor_that_came_to_need_gradients_gives_rows_in_the_graph() -> None:
    data = torch.zeros(4, 2)
    dataset = dlkit.TensorDataset(data)
    data.requires_grad_()
    dataset.__getitems__([1, 1]).columns[0].sum().backward()
    assert data.grad is not None
    assert data.grad[:, 0].tolist() == [0, 2, 0, 0]


def test_pickling_does_not_write_the_data_twice() -> None:
    dataset = dlkit.TensorDataset(torch.zeros(10_000, dtype=torch.uint8))
    dataset.__getitems__([1])
    written = pickle.dumps(dataset)
    assert len(written) < 12_000
    assert_same(list(pickle.loads(written).__getitems__([1])), list(dataset.__getitems__([1])))


def test_a_users_dataset_gets_python_integers() -> None:
    indices = np.array([3, 0])
    assert read_samples(Letters(), indices) == ["d", "a"]
    assert read_samples(LettersTogether(), indices) == ["D", "A"]


def test_only_pytorchs_own_classes_are_exchanged() -> None:
    class Mine(torch_data.TensorDataset):
        def __getitem__(self, index: int) -> Any:
            return "mine"

    mine = Mine(X)
    assert vectorised(mine) is mine


def test_protocols_recognise_datasets() -> None:
    assert isinstance(dlkit.TensorDataset(X), VectorisedDataset)
    assert not isinstance(Letters(), VectorisedDataset)
    dataset: MapDataset[str] = Letters()
    assert dataset[1] == "b"


def test_columns_are_a_sequence_of_samples() -> None:
    columns = Columns(X, Y)
    assert_same(list(columns), [(X[i], Y[i]) for i in range(12)])
    assert_same(list(columns[2:4]), [(X[2], Y[2]), (X[3], Y[3])])
    assert_same(columns[-1], (X[11], Y[11]))


def test_a_transform_sees_the_input_and_a_target_transform_the_target() -> None:
    pairs = dlkit.TransformDataset(
        dlkit.TensorDataset(X, Y), lambda x: x * 2, target_transform=lambda y: y + 1
    )
    assert_same(pairs[3], (X[3] * 2, Y[3] + 1))
    assert_same(pairs.__getitems__([3, 1]), [(X[3] * 2, Y[3] + 1), (X[1] * 2, Y[1] + 1)])
    assert dlkit.TransformDataset(Letters(), str.upper).__getitems__([1, 0]) == ["B", "A"]


@pytest.mark.parametrize("lengths", [[8, 4], [12], [0.5, 0.5], [0.5, 0.3, 0.2], [1 / 3] * 3])
def test_a_random_split_equals_pytorchs(lengths: list[float]) -> None:
    ours = dlkit.random_split(range(12), lengths, torch.Generator().manual_seed(3))
    theirs = torch_data.random_split(range(12), lengths, torch.Generator().manual_seed(3))
    assert [list(part) for part in ours] == [list(part) for part in theirs]


@pytest.mark.filterwarnings("ignore:a part of the split is empty")
@pytest.mark.parametrize("lengths", [[5, 5], [0.5, 0.4], [13, -1], [6.5, 5.5], []])
def test_a_split_that_does_not_add_up_is_refused(lengths: list[float]) -> None:
    with pytest.raises(ValueError, match="lengths must"):
        dlkit.random_split(range(12), lengths)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dlkit.TensorDataset(), ValueError, "at least one tensor"),
        (lambda: dlkit.TensorDataset(np.zeros(3)), TypeError, "argument 0 is a ndarray"),
        (lambda: dlkit.TensorDataset(torch.tensor(1)), ValueError, "no dimension"),
        (lambda: dlkit.TensorDataset(X, Y[1:]), ValueError, r"lengths \[12, 11\]"),
        (lambda: dlkit.ConcatDataset([]), ValueError, "at least one dataset"),
        (
            lambda: dlkit.ConcatDataset([dlkit.samplers.ShuffleBuffer([1], 1)]),
            TypeError,
            "dataset 0",
        ),
        (
            lambda: dlkit.TransformDataset(Letters(), "upper"),
            TypeError,
            "transform must be callable",
        ),
        (lambda: dlkit.ConcatDataset([Letters()])[12], IndexError, "index 12 .* 12 samples"),
        (lambda: dlkit.ConcatDataset([Letters()])[-13], IndexError, "index -13"),
        (lambda: dlkit.TensorDataset(X).__getitems__([12]), IndexError, "12"),
    ],
)
def test_a_bad_argument_is_named(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("index", "error"),
    [(1.5, IndexError), (True, TypeError), ("1", TypeError), (1 << 70, IndexError)],
)
def test_what_is_no_index_is_refused_and_never_rounded(index: Any, error: type[Exception]) -> None:
    both = dlkit.ConcatDataset([Letters(), Letters()])
    with pytest.raises(error, match=str(index)):
        both[index]
    for dataset in (both, dlkit.Subset(Letters(), np.arange(3)), dlkit.TensorDataset(X)):
        with pytest.raises(error, match=str(index)):
            dataset.__getitems__([index])


def test_exchanged_tensors_are_read_and_checked() -> None:
    dataset = dlkit.TensorDataset(X)
    dataset.tensors = (Y, Y + 1)
    assert_same(list(dataset.__getitems__([3])), [(Y[3], Y[3] + 1)])
    with pytest.raises(ValueError, match="at least one"):
        dataset.tensors = ()


def test_a_subclass_that_overrides_getitem_alone_is_obeyed() -> None:
    class Doubled(dlkit.TensorDataset):
        def __getitem__(self, index: int) -> Any:
            return 2 * super().__getitem__(index)[0]

    assert_same(read_samples(Doubled(Y), [3, 1]), [torch.tensor(6), torch.tensor(2)])


def test_a_subset_follows_a_list_that_is_shuffled_in_place() -> None:
    indices = [0, 1, 2]
    subset = dlkit.Subset(dlkit.TensorDataset(Y), indices)
    assert_same(list(subset.__getitems__([0])), [(Y[0],)])
    indices.reverse()
    assert_same(list(subset.__getitems__([0])), [(Y[2],)])
