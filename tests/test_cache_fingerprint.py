"""A fingerprint is equal for what does the same, and another one when anything changes."""

import collections
import enum
import functools
import os
import re
import runpy
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import v2

from dlkit.cache import FingerprintError, fingerprint
from dlkit.datasets import Subset, TensorDataset, TransformDataset

SIZE = 3


def helper(x):
    return x * SIZE


def transform(x):
    return helper(x)


def made(source):
    """The function `f` of a few lines of code, as a notebook would define it."""
    scope = {"__name__": "__main__"}
    exec(source, scope)
    return scope["f"]


DIFFERENT = {
    "constant": ("def f(x): return x + 1", "def f(x): return x + 2"),
    "type of constant": ("def f(x): return x + 1", "def f(x): return x + 1.0"),
    "operator": ("def f(x): return x + 1", "def f(x): return x - 1"),
    "attribute": ("def f(x): return x.min()", "def f(x): return x.max()"),
    "default": ("def f(x, k=1): return x * k", "def f(x, k=2): return x * k"),
    "keyword default": ("def f(x, *, k=1): return x * k", "def f(x, *, k=2): return x * k"),
    "global": ("K = 1\ndef f(x): return x * K", "K = 2\ndef f(x): return x * K"),
    "function that is called": (
        "def g(x): return x + 1\ndef f(x): return g(x)",
        "def g(x): return x + 2\ndef f(x): return g(x)",
    ),
    "closure": (
        "def m(k):\n  def g(x): return x * k\n  return g\nf = m(1)",
        "def m(k):\n  def g(x): return x * k\n  return g\nf = m(2)",
    ),
    "inner function": (
        "def f(x): return [(lambda y: y + 1)(z) for z in x]",
        "def f(x): return [(lambda y: y + 2)(z) for z in x]",
    ),
    "method": (
        "class C:\n  def __call__(self, x): return x + 1\nf = C()",
        "class C:\n  def __call__(self, x): return x + 2\nf = C()",
    ),
    "attribute of an object": (
        "class C:\n  def __init__(self, k): self.k = k\nf = C(1)",
        "class C:\n  def __init__(self, k): self.k = k\nf = C(2)",
    ),
    "class attribute": ("class f:\n  k = 1", "class f:\n  k = 2"),
    "base class": (
        "class B:\n  def g(self): return 1\nclass f(B): pass",
        "class B:\n  def g(self): return 2\nclass f(B): pass",
    ),
    "slot": (
        "class C:\n  __slots__ = ('k',)\n  def __init__(self, k): self.k = k\nf = C(1)",
        "class C:\n  __slots__ = ('k',)\n  def __init__(self, k): self.k = k\nf = C(2)",
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_another_behaviour_has_another_fingerprint(name):
    one, other = DIFFERENT[name]
    assert fingerprint(made(one)) == fingerprint(made(one))
    assert fingerprint(made(one)) != fingerprint(made(other))


def test_line_numbers_and_the_place_of_a_file_do_not_count():
    source = "def f(x):\n    return x + 1\n"
    assert fingerprint(made(source)) == fingerprint(made("\n\n# moved\n" + source))


def test_a_global_that_is_changed_later_counts(monkeypatch):
    before = fingerprint(transform)
    monkeypatch.setattr(sys.modules[__name__], "SIZE", 4)
    assert fingerprint(transform) != before


class Colour(enum.IntEnum):
    RED = 1
    BLUE = 2


PAIRS = {
    "regular expression": (re.compile("a"), re.compile("b")),
    "deque": (collections.deque([1]), collections.deque([2])),
    "ordered dict": (collections.OrderedDict(a=1), collections.OrderedDict(a=2)),
    "enum": (Colour.RED, Colour.BLUE),
    "bool and int": (True, 1),
    "list and tuple": ([1, 2], (1, 2)),
    "nesting": ([1, [2]], [[1], 2]),
    "cut of strings": (["ab", "c"], ["a", "bc"]),
    "array type": (np.zeros(2, "f4"), np.zeros(2, "i4")),
    "array shape": (np.zeros((2, 3)), np.zeros((3, 2))),
    "array content": (np.array([1, 2]), np.array([1, 3])),
    "objects in an array": (np.array(["a", None], object), np.array(["a", 1], object)),
    "tensor": (torch.tensor([1.0]), torch.tensor([2.0])),
    "bfloat16": (torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.float16)),
    "sparse": (torch.eye(2).to_sparse(), (2 * torch.eye(2)).to_sparse()),
    "partial": (functools.partial(int, base=2), functools.partial(int, base=3)),
    "method's object": ("a".upper, "b".upper),
    "torchvision": (v2.Resize(32), v2.Resize(33)),
    "composed": (v2.Compose([v2.Resize(8)]), v2.Compose([v2.CenterCrop(8)])),
    "dataset": (Subset(range(5), [1, 2]), Subset(range(5), [2, 1])),
    "transform of a dataset": (
        TransformDataset(TensorDataset(torch.zeros(3)), helper),
        TransformDataset(TensorDataset(torch.zeros(3)), transform),
    ),
    "scalar": (np.float32(1), np.float32(2)),
    "slice": (slice(1), slice(2)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_other_values_have_other_fingerprints(name):
    one, other = PAIRS[name]
    assert fingerprint(one) == fingerprint(one)
    assert fingerprint(one) != fingerprint(other)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


def kinds(value):
    """A value with the types of its parts, so that 1 and True differ."""
    if isinstance(value, list | tuple):
        return type(value), [kinds(part) for part in value]
    if isinstance(value, dict):
        return dict, sorted((key, repr(kinds(part))) for key, part in value.items())
    return type(value), repr(value)


@given(VALUES, VALUES)
def test_plain_values_have_equal_fingerprints_exactly_when_they_are_equal(one, other):
    assert (fingerprint(one) == fingerprint(other)) == (kinds(one) == kinds(other))


def test_values_that_refer_to_themselves_end():
    loop: list = [1]
    loop.append(loop)
    other: list = [1]
    other.append(other)
    assert fingerprint(loop) == fingerprint(other) != fingerprint([1, [1]])


def test_the_same_objects_in_another_order_of_sharing_are_the_same():
    shared = [1.5, "x"]
    assert fingerprint([shared, shared]) == fingerprint([[1.5, "x"], [1.5, "x"]])


def test_a_memory_map_counts_as_its_file(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.arange(5))
    before = fingerprint(np.load(path, mmap_mode="r"))
    assert fingerprint(np.load(path, mmap_mode="r")) == before
    np.save(path, np.arange(6))
    assert fingerprint(np.load(path, mmap_mode="r")) != before


def test_a_path_counts_with_what_is_there(tmp_path):
    path = tmp_path / "a.txt"
    missing = fingerprint(path)
    path.write_text("one")
    assert missing != fingerprint(path)


def test_what_has_no_state_is_named_with_the_way_to_it():
    class Locked:
        def __init__(self):
            self.lock = threading.Lock()

        def __call__(self, x):
            return x

    with pytest.raises(FingerprintError, match=r"cannot tell what \.transform\.lock does.*key="):
        fingerprint(TransformDataset([1], Locked()))


def test_is_the_same_in_another_process(tmp_path, project, capsys):
    script = tmp_path / "names.py"
    script.write_text(
        "import torch\nfrom torchvision.transforms import v2\nfrom dlkit.cache import fingerprint\n"
        "K = {'b', 'a', 'c'}\n"
        "class C:\n    def __call__(self, x): return x in {1, 2, 3, 'x', 'y'} or x in K\n"
        "print(fingerprint(C(), lambda x: x + 1, v2.Resize(3), torch.ones(2), {'k': 1}))\n"
    )
    other = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(project)},
    ).stdout
    runpy.run_path(str(script), run_name="__main__")  # where strings have other hashes
    assert capsys.readouterr().out == other
