"""What a profile measures beside the run, and that findings promise what `predict` says."""

import dataclasses
import io
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils import data as torch_data
from torch.utils.data import Dataset
from worker_cases import nothing_left

import dlkit
from dlkit.diagnose import faults_speed
from dlkit.diagnose.gains import enough_workers, gain, rate
from dlkit.diagnose.lock import lock_share
from dlkit.diagnose.seen_costs import lighter

KINDS = {"torch": torch_data.DataLoader, "dlkit": dlkit.DataLoader}
every_kind = pytest.mark.parametrize("kind", KINDS)
FORK = {"num_workers": 1, "multiprocessing_context": "fork"}


class Decoded(Dataset):
    """Pictures that are decoded by a library which leaves the lock."""

    def __init__(self):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).resize((1024, 1024)).save(file, "JPEG")
        self.packed = file.getvalue()

    def __len__(self):
        return 64

    def __getitem__(self, index):
        image = Image.open(io.BytesIO(self.packed))
        image.load()
        return torch.tensor(image.size)


class Parsed(Decoded):
    """Samples that Python itself works out."""

    def __getitem__(self, index):
        return torch.tensor(sum(number * number for number in range(20_000)))


class Asleep(Decoded):
    def __getitem__(self, index):
        time.sleep(0.03)  # going to sleep and waking up takes a core for a moment, too
        return index


@pytest.fixture(scope="module")
def decoded():
    return dlkit.profile(torch_data.DataLoader(Decoded(), batch_size=8, **FORK), steps=8)


@pytest.fixture(scope="module")
def parsed():
    return dlkit.profile(torch_data.DataLoader(Parsed(), batch_size=8, **FORK), steps=8)


@pytest.fixture(scope="module")
def asleep():
    loader = dlkit.DataLoader(Asleep(), batch_size=8, **FORK)
    return dlkit.profile(loader, steps=8, step=lambda _: time.sleep(0.004))


def test_decoding_is_seen_to_leave_pythons_lock_and_parsing_to_hold_it(decoded, parsed):
    assert decoded.lock_share < 0.4
    assert parsed.lock_share > 0.7
    assert decoded.costs.lock_share == decoded.lock_share
    assert f"{parsed.lock_share:.0%} of that computing" in parsed.summary()
    assert "a batch by a process" in parsed.summary()


def test_what_only_waits_holds_no_lock(asleep):
    assert asleep.lock_share == 0.0


def test_the_lock_is_measured_away_from_the_users_dataset():
    class Counting(Parsed):
        def __init__(self):
            super().__init__()
            self.read = 0

        def __getitem__(self, index):
            self.read += 1
            return super().__getitem__(index)

    dataset = Counting()
    with nothing_left():
        seen = dlkit.profile(dlkit.DataLoader(dataset, batch_size=4, **FORK), steps=3)
    assert seen.lock_share > 0.7
    assert dataset.read == 0


def test_without_workers_the_lock_is_measured_here_and_a_stream_is_not_used_up():
    assert dlkit.profile(dlkit.DataLoader(Parsed(), batch_size=4), steps=3).lock_share > 0.7

    class Stream(torch_data.IterableDataset):
        def __iter__(self):
            return iter(range(64))

    assert dlkit.profile(dlkit.DataLoader(Stream(), batch_size=4), steps=3).lock_share is None


def test_an_error_of_reading_comes_through_and_ends_the_looking():
    with nothing_left(), pytest.raises(ZeroDivisionError):
        lock_share(lambda number: 1 / number, [1, 1, 0])


@every_kind
def test_handing_over_is_measured_for_every_kind_of_worker_that_the_loader_has(kind):
    with nothing_left():
        loader = KINDS[kind](Asleep(), batch_size=8)
        seen = dlkit.profile(loader, steps=4)
        del loader
    methods = {"inline", "process"} | ({"thread"} if kind == "dlkit" else set())
    assert set(seen.crossings) == methods
    assert seen.crossings["process"].main_seconds > 0
    assumed = " ".join(seen.predict(num_workers=2, method="process").assumptions)
    assert "typically" not in assumed


def test_processes_and_threads_can_be_compared_from_one_profile(asleep):
    by_process = asleep.predict(num_workers=2, method="process")
    by_thread = asleep.predict(num_workers=2, method="thread")
    for found in (by_process, by_thread):
        assert "typically" not in " ".join(found.assumptions)
    # They wait, and hold no lock: both are near what two workers can do.
    assert by_thread.throughput == pytest.approx(by_process.throughput, rel=0.25)


@every_kind
def test_batches_that_cannot_be_sent_have_no_crossing_and_no_error(kind):
    loader = KINDS[kind](Asleep(), batch_size=4, collate_fn=lambda samples: threading.Lock())
    seen = dlkit.profile(loader, steps=3)
    assert "process" not in seen.crossings


def test_time_without_a_core_is_not_the_loaders(asleep):
    busy = dataclasses.replace(asleep, queued=0.5)
    assert busy.costs.collate_seconds <= 0.5 * asleep.costs.collate_seconds + 1e-5
    # Single samples were watched for it one by one.
    assert busy.costs.fetch_seconds == asleep.costs.fetch_seconds


def test_what_a_batch_costs_the_loop_beside_its_samples_is_seen_without_workers():
    seen = dlkit.profile(torch_data.DataLoader(range(400), batch_size=1), steps=200)
    assert 1e-6 < seen.costs.batch_seconds < 1e-2
    assert seen.predict(batch_size=8).throughput > 1.2 * seen.predict().throughput


def test_gains_are_those_that_predict_says(asleep):
    # What was idle and what waited is a machine's weather: here all workers worked all the time.
    busy = dataclasses.replace(asleep, has_step=False, seconds=1e-3)
    found = faults_speed.too_few_workers(busy)
    enough = enough_workers(busy)
    now = busy.predict(batches=48, band=False).throughput
    then = busy.predict(num_workers=enough, batches=48, band=False).throughput
    assert found.gain == pytest.approx(then / now - 1)
    assert f"num_workers={enough}" in found.code


def test_enough_workers_are_the_fewest_that_bring_nearly_all(asleep):
    best = max(rate(asleep.costs, num_workers=n) for n in range(1, 9))
    enough = enough_workers(asleep)
    assert rate(asleep.costs, num_workers=enough) >= best / 1.06
    assert enough == 1 or rate(asleep.costs, num_workers=enough - 1) < best / 1.04


def test_less_work_gains_in_proportion_where_nothing_else_is_done(asleep):
    alone = dataclasses.replace(asleep, has_step=False)
    assert gain(alone, lighter(alone.costs, 0.5)) == pytest.approx(1, abs=0.3)
    assert gain(alone, lighter(alone.costs, waiting=0.0)) > 2
    assert gain(alone) == 0
