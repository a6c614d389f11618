"""Samples are called slow when they are slow again, and not when something held them up once."""

import time

import pytest
import torch
from torch.utils import data as torch_data
from worker_cases import nothing_left

import dlkit
from dlkit.diagnose.findings import diagnose
from dlkit.diagnose.skew import FEW, Skew, read_again, skew_of

KINDS = {"torch": torch_data.DataLoader, "dlkit": dlkit.DataLoader}
every_kind = pytest.mark.parametrize("kind", KINDS)
WORKERS = {"num_workers": 2, "multiprocessing_context": "fork"}
every_way = pytest.mark.parametrize("settings", [{}, WORKERS], ids=["inline", "fork"])


class Uneven(torch_data.Dataset):
    """Samples of a millisecond; one in sixteen takes very long, or the 20th to 22nd that is read.

    The latter is what a busy machine does: it holds up whatever runs just then.
    """

    def __init__(self, held_up):
        self.held_up, self.read = held_up, 0

    def __len__(self):
        return 80

    def __getitem__(self, index):
        self.read += 1
        slow = self.read in (20, 21, 22) if self.held_up else index % 16 == 5
        time.sleep(0.06 if slow else 0.001)
        return torch.zeros(8)


@every_kind
@every_way
def test_what_is_slow_again_is_found_with_its_indices(kind, settings):
    with nothing_left():
        seen = dlkit.profile(KINDS[kind](Uneven(held_up=False), batch_size=8, **settings), steps=10)
    assert seen.slow_again > 5
    assert seen.costs.fetch_mean > 3 * skew_of(seen.sample_times).usual
    (found,) = (f for f in diagnose(seen) if f.name == "skewed_samples")
    assert all(index % 16 == 5 for index in skew_of(seen.sample_times).slow[:3])
    assert "read again" in found.evidence


@every_kind
@every_way
def test_what_was_held_up_once_is_not(kind, settings):
    seen = dlkit.profile(KINDS[kind](Uneven(held_up=True), batch_size=8, **settings), steps=10)
    assert skew_of(seen.sample_times) is not None  # the times alone look like it
    assert seen.slow_again < 5
    assert "skewed_samples" not in diagnose(seen).names
    usual = skew_of(seen.sample_times).usual
    assert seen.costs.fetch_mean < 1.5 * usual  # nor does it count as what samples cost


def test_nothing_is_read_again_where_no_sample_stands_out():
    assert dlkit.profile(dlkit.DataLoader(range(80), batch_size=8), steps=10).slow_again == 0


class Stream(torch_data.IterableDataset):
    """A stream; one sample in sixteen waits, or computes."""

    def __init__(self, computes):
        self.computes = computes

    def __iter__(self):
        for number in range(80):
            begun = time.thread_time()
            time.sleep(0.06 if number % 16 == 5 and not self.computes else 0.001)
            while number % 16 == 5 and self.computes and time.thread_time() < begun + 0.06:
                pass
            yield number


@pytest.mark.parametrize("computes", [True, False])
def test_a_stream_is_judged_by_computing_alone(computes):
    seen = dlkit.profile(dlkit.DataLoader(Stream(computes), batch_size=8), steps=10)
    assert skew_of(seen.sample_times) is not None
    assert ("skewed_samples" in diagnose(seen).names) == computes


def test_samples_that_take_very_long_are_not_all_read_again():
    read = []
    skew = Skew(0.001, 1.0, 0.5, slow=tuple(range(FEW)), ordinary=tuple(range(100, 100 + FEW)))
    read_again(read.append, skew, seconds=0)
    assert read == [*skew.ordinary, 0]
