"""PackedStrings: a list of strings in two arrays. The oracle is the list."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from worker_cases import WAYS

import dlkit
from dlkit.datasets import PackedStrings, read_samples

TEXTS = st.lists(st.text(st.characters(codec=None), max_size=12), max_size=40)


@given(TEXTS)
def test_reads_like_the_list_it_was_made_of(texts):
    packed = PackedStrings(texts)
    assert list(packed) == texts
    assert len(packed) == len(texts)
    assert [packed[i] for i in range(-len(texts), len(texts))] == texts + texts
    assert packed.nbytes == sum(len(t.encode("utf-8", "surrogatepass")) + 8 for t in texts)


@given(TEXTS, st.data())
def test_slices_and_batches_are_those_of_the_list(texts, data):
    packed = PackedStrings(iter(texts))
    cut = data.draw(st.slices(len(texts)))
    assert list(packed[cut]) == texts[cut]
    if texts:
        places = data.draw(st.lists(st.integers(-len(texts), len(texts) - 1)))
        assert packed.__getitems__(places) == [texts[i] for i in places]
        assert read_samples(packed, np.array(places, dtype=np.int64)) == [texts[i] for i in places]


@given(TEXTS, TEXTS)
def test_is_equal_when_the_strings_are(one, other):
    assert (PackedStrings(one) == PackedStrings(other)) == (one == other)
    assert PackedStrings(one) != one
    assert list(pickle.loads(pickle.dumps(PackedStrings(one)))) == one
    assert copy.deepcopy(PackedStrings(one)) == PackedStrings(one)


def test_more_strings_than_the_first_array_has_room_for():
    texts = [str(i) * (i % 5) for i in range(5000)]
    assert list(PackedStrings(texts)) == texts


@pytest.mark.parametrize("index", [3, -4, 10**20])
def test_an_index_outside_is_refused_as_by_a_list(index):
    packed = PackedStrings(["a", "b", "c"])
    with pytest.raises(IndexError):
        packed[index]
    if abs(index) < 2**60:
        with pytest.raises(IndexError, match=f"index {index} is out of range for 3 strings"):
            packed.__getitems__([0, index])


def test_what_is_no_string_or_no_index_is_refused():
    with pytest.raises(TypeError, match="element 1 is a int: 7"):
        PackedStrings(["a", 7])
    with pytest.raises(TypeError):
        PackedStrings(["a"])["0"]
    with pytest.raises(TypeError):
        hash(PackedStrings([]))


class NamesAndPlaces(torch.utils.data.Dataset):
    """Strings inside of a dataset, and whether they lie in shared memory."""

    def __init__(self, names):
        self.names = names

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return self.names[index], self.names._region is not None


@pytest.mark.parametrize("way", ["fork", "forkserver"])
def test_workers_read_them(way):
    names = PackedStrings(f"image {number:05}" for number in range(20_000))
    loader = dlkit.DataLoader(NamesAndPlaces(names), 5_000, **WAYS[way])
    read = [name for batch, _ in loader for name in batch]
    assert read == list(names)


def test_a_started_worker_gets_them_as_shared_memory():
    names = PackedStrings(f"image {number:05}" for number in range(20_000))
    _, shared = next(iter(dlkit.DataLoader(NamesAndPlaces(names), 10, **WAYS["forkserver"])))
    assert bool(shared.all())
    assert list(names[:2]) == ["image 00000", "image 00001"]  # moved there in this process too


def test_shows_its_first_strings_and_its_size():
    assert repr(PackedStrings("abcd")) == (
        "PackedStrings(['a', 'b', 'c', ...]) of 4 strings, 36 bytes"
    )
