"""Collating: PyTorch's function is the oracle wherever it accepts the samples."""

from collections import OrderedDict, UserDict, UserList, namedtuple
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils import data as torch_data

import dlkit
from dlkit.collate import (
    Padded,
    default_collate,
    default_convert,
    pad_collate,
    register_collate,
)
from dlkit.collate import default as module
from dlkit.datasets import Columns
from tests.structures import assert_same

Point = namedtuple("Point", ["x", "y"])

BATCHES: dict[str, list[Any]] = {
    "tensors": [torch.rand(2, 3), torch.rand(2, 3)],
    "tensors of two types": [torch.zeros(2), torch.zeros(2, dtype=torch.int32)],
    "scalars": [torch.tensor(1), torch.tensor(2)],
    "arrays": [np.arange(3.0), np.arange(3.0)],
    "arrays of uint16": [np.arange(3, dtype=np.uint16)] * 2,
    "array scalars": [np.array(1), np.array(2)],
    "numpy scalars": [np.float32(1.5), np.float32(2)],
    "numpy float64": [np.float64(1.5), np.float64(2)],
    "numpy bools": [np.bool_(True), np.bool_(False)],
    "ints": [1, 2, 3],
    "floats": [0.1, 0.2],
    "ints and floats": [1, 2.5],
    "bools": [True, False],
    "strings": ["a", "b"],
    "bytes": [b"a", b"b"],
    "tuples": [(torch.zeros(2), 1, "a"), (torch.ones(2), 2, "b")],
    "lists": [[1, 2.0], [3, 4.0]],
    "dicts": [{"a": 1, "b": {"c": torch.zeros(1)}}, {"a": 2, "b": {"c": torch.ones(1)}}],
    "ordered dicts": [OrderedDict(z=1, a=2), OrderedDict(z=3, a=4)],
    "user dicts": [UserDict(a=1), UserDict(a=2)],
    "user lists": [UserList([1, 2]), UserList([3, 4])],
    "read-only mappings": [MappingProxyType({"a": 1}), MappingProxyType({"a": 2})],
    "named tuples": [Point(1, torch.zeros(2)), Point(2, torch.ones(2))],
    "ranges": [range(3), range(3, 6)],
    "empty tuples": [(), ()],
    "deep": [[{"a": (Point(1, [np.ones(2)]), "x")}], [{"a": (Point(2, [np.zeros(2)]), "y")}]],
    "one sample": [(1, "a")],
}


@pytest.mark.parametrize("samples", BATCHES.values(), ids=BATCHES.keys())
def test_equals_pytorchs_default_collate(samples: list[Any]) -> None:
    assert_same(default_collate(samples), torch_data.default_collate(samples))


@pytest.mark.parametrize("samples", BATCHES.values(), ids=BATCHES.keys())
def test_default_convert_equals_pytorchs(samples: list[Any]) -> None:
    assert_same(default_convert(samples[0]), torch_data.default_convert(samples[0]))


leaves = st.sampled_from(["int", "float", "bool", "str", "tensor", "array"])
shapes = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        | st.lists(inner, min_size=1, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3)
    ),
    max_leaves=6,
)


def fill(shape: Any, seed: int) -> Any:
    if isinstance(shape, dict):
        return {key: fill(part, seed) for key, part in shape.items()}
    if isinstance(shape, list | tuple):
        return type(shape)(fill(part, seed + i) for i, part in enumerate(shape))
    return {
        "int": seed,
        "float": seed / 3,
        "bool": seed % 2 == 0,
        "str": str(seed),
        "tensor": torch.full((2, 2), seed),
        "array": np.full(3, seed, dtype=np.float32),
    }[shape]


@given(shape=shapes, count=st.integers(1, 4))
@settings(deadline=None, max_examples=150)
def test_any_nesting_equals_pytorchs(shape: Any, count: int) -> None:
    samples = [fill(shape, seed) for seed in range(count)]
    assert_same(default_collate(samples), torch_data.default_collate(samples))


def test_pytorchs_default_collate_accepts_columns() -> None:
    columns = Columns(torch.arange(6).view(3, 2), torch.arange(3))
    assert_same(default_collate(columns), torch_data.default_collate(columns))
    assert_same(default_collate(list(columns)), default_collate(columns))


@dataclass
class Scene:
    image: torch.Tensor
    name: str
    boxes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert self.image.dim() == 1, "checks of a sample must not run on a batch"


def test_dataclasses_are_collated_field_by_field() -> None:
    batch = default_collate([Scene(torch.zeros(2), "a", [1]), Scene(torch.ones(2), "b", [2])])
    assert isinstance(batch, Scene)
    assert_same(batch.image, torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert_same([batch.name, batch.boxes], [["a", "b"], [torch.tensor([1, 2])]])


@pytest.fixture
def clean_registry() -> Any:
    before = dict(module._registry)
    yield
    module._registry.clear()
    module._registry.update(before)


@pytest.mark.usefixtures("clean_registry")
def test_a_registered_type_and_its_subclasses_use_the_users_rule() -> None:
    class Word(str):
        __slots__ = ()

    class Shout(Word):
        __slots__ = ()

    register_collate(Word, lambda words: "+".join(words))
    assert default_collate([{"w": Shout("a")}, {"w": Shout("b")}]) == {"w": "a+b"}


@pytest.mark.usefixtures("clean_registry")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_rule_for_a_built_in_type_is_used_in_place_of_ours(workers: int) -> None:
    register_collate(str, "+".join)
    register_collate(torch.Tensor, lambda rows: [int(row) for row in rows])
    assert default_collate([("a", 1), ("b", 2)])[0] == "a+b"
    dataset = dlkit.TensorDataset(torch.arange(4))
    loader = dlkit.DataLoader(dataset, 2, num_workers=workers)
    assert list(loader) == [[[0, 1]], [[2, 3]]]


def test_a_type_in_pytorchs_registry_uses_pytorchs_rule() -> None:
    from torch.utils.data._utils.collate import default_collate_fn_map

    class Celsius:
        def __init__(self, degrees: float) -> None:
            self.degrees = degrees

    default_collate_fn_map[Celsius] = lambda batch, *, collate_fn_map: sum(c.degrees for c in batch)
    try:
        assert default_collate([Celsius(1.0), Celsius(2.5)]) == 3.5
    finally:
        del default_collate_fn_map[Celsius]


@pytest.mark.parametrize(("kind", "function"), [("str", len), (str, "len")])
def test_registering_checks_its_arguments(kind: Any, function: Any) -> None:
    with pytest.raises(TypeError, match="must be"):
        register_collate(kind, function)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([torch.zeros(2), torch.zeros(3)], r"sample: shapes differ, \[2\] in sample 0 but \[3\]"),
        ([(1, torch.zeros(2)), (1, torch.zeros(1, 2))], r"sample\[1\]: shapes differ"),
        ([{"a": {"b": np.ones(2)}}, {"a": {"b": np.ones(1)}}], r"sample\['a'\]\['b'\]: shapes"),
        ([[1, 2], [1]], "length is 2 in sample 0 and 1 in sample 1"),
        ([{"x": [(0, [1])]}, {"x": [(0, [])]}], r"sample\['x'\]\[0\]\[1\]: .*equal size"),
        ([torch.zeros(2), np.zeros(2)], "types differ, Tensor in sample 0 but ndarray in sample 1"),
        ([1, "a"], "types differ, int in sample 0 but str in sample 1"),
        ([(1,), 5], "types differ, tuple in sample 0 but int"),
        ([{"a": 1}, 5], "types differ, dict in sample 0 but int"),
        ([{"a": 1}, {"b": 1}], r"sample 1 has no key 'a'"),
        ([object(), object()], "found builtins.object"),
        ([None, None], "NoneType"),
        ([np.array(["a"]), np.array(["b"])], "numpy arrays of <U1"),
        ([(1, {2}), (1, {3})], r"sample\[1\]: .*builtins.set"),
        ([], "the batch is empty"),
    ],
)
def test_an_error_names_the_path_and_what_clashes(samples: list[Any], message: str) -> None:
    with pytest.raises((RuntimeError, TypeError, KeyError), match=message):
        default_collate(samples)


@pytest.mark.parametrize(
    "samples",
    [
        [torch.zeros(2), torch.zeros(3)],
        [[1, 2], [1]],
        [object(), object()],
        [np.array(["a"]), np.array(["b"])],
        [{"a": 1}, {"b": 1}],
        [torch.zeros(2), np.zeros(2)],
    ],
)
def test_an_error_has_the_type_that_pytorch_raises(samples: list[Any]) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011  (its type is what is asked for)
        torch_data.default_collate(samples)
    with pytest.raises(theirs.type):
        default_collate(samples)


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    side=st.sampled_from(["left", "right"]),
    multiple=st.integers(1, 5),
    inner=st.sampled_from([(), (2,), (2, 3)]),
)
@settings(deadline=None, max_examples=150)
def test_padding_keeps_the_data_and_marks_it(
    lengths: list[int], side: str, multiple: int, inner: tuple[int, ...]
) -> None:
    sequences = [torch.rand(length, *inner) + 1 for length in lengths]
    padded = pad_collate(
        sequences, padding_value=-1.0, padding_side=side, pad_to_multiple_of=multiple
    )
    assert padded.lengths.tolist() == lengths
    assert padded.values.shape[1] % multiple == 0
    assert padded.values.shape[1] - max(lengths) < multiple
    assert torch.equal(padded.mask.sum(1), padded.lengths)
    for row, sequence in enumerate(sequences):
        assert torch.equal(padded.values[row][padded.mask[row]], sequence)
        assert (padded.values[row][~padded.mask[row]] == -1).all()
    expected = torch.nn.utils.rnn.pad_sequence(
        sequences, batch_first=True, padding_value=-1.0, padding_side=side
    )
    width = expected.shape[1]
    got = padded.values[:, :width] if side == "right" else padded.values[:, -width:]
    if width:
        assert torch.equal(got, expected)


def test_padding_happens_inside_any_structure() -> None:
    batch = pad_collate(
        [
            {"tokens": [1, 2, 3], "label": 0, "name": "a", "feature": np.ones((2, 4))},
            {"tokens": [4], "label": 1, "name": "b", "feature": np.ones((1, 4))},
        ]
    )
    assert batch["tokens"].values.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert batch["tokens"].values.dtype == torch.int64
    assert batch["feature"].values.shape == (2, 2, 4)
    assert batch["label"].tolist() == [0, 1]
    assert batch["name"] == ["a", "b"]


def test_a_batch_of_equal_lengths_has_the_same_structure_as_any_other() -> None:
    assert isinstance(pad_collate([[1, 2], [3, 4]]), Padded)
    assert isinstance(pad_collate([[1, 2], [3]]), Padded)


def test_an_empty_list_does_not_turn_integers_into_floats() -> None:
    assert pad_collate([[1, 2], []]).values.dtype == torch.int64


@pytest.mark.parametrize(
    ("options", "samples", "message"),
    [
        ({"padding_side": "up"}, [[1]], "padding_side"),
        ({"pad_to_multiple_of": 0}, [[1]], "pad_to_multiple_of"),
        ({}, [torch.zeros(2, 3), torch.zeros(2, 4)], "only the first dimension may differ"),
        ({}, [{"a": [1]}, {"a": "x"}], r"cannot pad sample\['a'\]"),
    ],
)
def test_padding_errors_say_what_is_wrong(
    options: dict[str, Any], samples: list[Any], message: str
) -> None:
    with pytest.raises((ValueError, RuntimeError, TypeError), match=message):
        partial(pad_collate, **options)(samples)
