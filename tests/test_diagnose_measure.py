"""Measuring a loader finds what its parts cost, and leaves nothing changed and nothing running."""

import multiprocessing
import random
import threading
import time
from collections import UserDict

import numpy as np
import pytest
import torch
from torch.utils import data as torch_data
from worker_cases import eventually

import dlkit
from dlkit.datasets import Cost, synthetic_images
from dlkit.diagnose.clocks import Stopwatch, available_cores, cpu_seconds, one_torch_thread
from dlkit.diagnose.measure import measure_costs
from dlkit.diagnose.running import StoppedError, run_for, samples_in


def waiting(length=64, seconds=0.004):
    return synthetic_images(length, (1, 8, 8), cost=Cost(wait_seconds=seconds))


@pytest.fixture(autouse=True)
def nothing_left():
    threads = set(threading.enumerate())
    yield
    assert multiprocessing.active_children() == []
    # PyTorch's loader does not wait for the threads that feed its queues; they are about to end.
    eventually(lambda: set(threading.enumerate()) <= threads, "the end of all threads")


def test_sleeping_is_found_to_be_waiting_and_burning_to_be_computing():
    costs = measure_costs(dlkit.DataLoader(waiting(), 4), seconds=0.1, methods=())
    assert costs.fetch_mean >= 0.004
    assert costs.fetch_wait > 0.5
    burning = synthetic_images(64, (1, 8, 8), cost=Cost(cpu_seconds=0.004))
    costs = measure_costs(dlkit.DataLoader(burning, 4), seconds=0.1, methods=())
    assert costs.fetch_cpu_seconds >= 0.004
    assert costs.fetch_mean >= costs.fetch_cpu_seconds


def test_it_notes_the_settings_and_sizes_of_the_loader():
    loader = dlkit.DataLoader(
        waiting(40, 0), 8, num_workers=2, worker_method="thread", prefetch_factor=3, in_order=False
    )
    costs = measure_costs(loader, seconds=0.05, methods=())
    assert (costs.batch_size, costs.num_workers, costs.worker_method) == (8, 2, "thread")
    assert (costs.prefetch_factor, costs.in_order, costs.samples) == (3, False, 40)
    assert costs.sample_bytes == 8 * 8 * 4 + 8  # a float32 image and an int64 label
    assert costs.cores == available_cores()


def test_both_kinds_of_workers_are_measured_and_gone_afterwards():
    costs = measure_costs(dlkit.DataLoader(waiting(64, 0.0005), 8), seconds=0.1)
    assert set(costs.crossings) == {"inline", "process", "thread"}
    assert costs.crossings["process"].main_seconds > 0
    assert costs.worker_memory > 0


class Squares(torch_data.Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        return torch.tensor(index**2)


def test_pytorchs_loader_is_measured_with_its_own_workers():
    loader = torch_data.DataLoader(Squares(), batch_size=4, num_workers=1)
    before = dict(vars(loader))
    costs = measure_costs(loader, seconds=0.1)
    assert set(costs.crossings) == {"inline", "process"}
    assert costs.fetch_group == 1
    assert vars(loader) == before


def test_random_generators_are_as_before():
    generator = torch.Generator().manual_seed(3)
    loader = dlkit.DataLoader(Squares(), 4, shuffle=True, generator=generator)

    def states():
        return (
            torch.get_rng_state().tolist(), generator.get_state().tolist(), random.getstate(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
        )  # fmt: skip

    before = states()
    expected = [batch.tolist() for batch in loader]
    generator.set_state(torch.tensor(before[1], dtype=torch.uint8))
    measure_costs(loader, seconds=0.05, methods=("process",))
    assert states() == before
    assert [batch.tolist() for batch in loader] == expected


def test_torchs_threads_are_as_before():
    before = torch.get_num_threads()
    with one_torch_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


class Stream(torch_data.IterableDataset):
    def __iter__(self):
        return iter(torch.arange(10))


@pytest.mark.parametrize(
    "loader",
    [
        dlkit.DataLoader(dlkit.TensorDataset(torch.arange(50)), 5),
        dlkit.DataLoader(Squares(), batch_size=None),
        dlkit.DataLoader(Stream(), batch_size=3),
        dlkit.DataLoader(Stream(), batch_size=None),
        dlkit.DataLoader(Squares(), 64),  # one batch, which is not full
        dlkit.DataLoader(Squares(), batch_sampler=[[0, 1], [2, 3, 4]]),
        torch_data.DataLoader(dlkit.TensorDataset(torch.arange(50)), 5),
    ],
    ids=["tensors", "unbatched", "stream", "unbatched stream", "one batch", "sampler", "torch"],
)
def test_every_kind_of_loader_can_be_measured_and_predicted(loader):
    costs = measure_costs(loader, seconds=0.02, methods=("process",))
    assert dlkit.predict(costs, num_workers=2).throughput > 0


def test_steps_are_timed_with_the_cores_that_they_keep_busy():
    loader = dlkit.DataLoader(Squares(), 4)
    costs = measure_costs(loader, step=lambda _: time.sleep(0.01), seconds=0.2, methods=())
    assert min(costs.step_seconds) >= 0.009
    assert costs.step_cores < 0.5

    def burn(_):
        end = time.process_time() + 0.01
        while time.process_time() < end:
            pass

    costs = measure_costs(loader, step=burn, seconds=0.2, methods=())
    assert costs.step_cores > 0.5


class Broken(Squares):
    def __getitem__(self, index):
        if index == 9:
            raise OSError("sample 9 is damaged")
        return super().__getitem__(index)


@pytest.mark.parametrize("kind", [dlkit.DataLoader, torch_data.DataLoader])
def test_an_error_of_the_dataset_comes_through_and_nothing_is_left(kind):
    with pytest.raises(OSError, match="sample 9 is damaged"):
        measure_costs(kind(Broken(), batch_size=4), seconds=5.0)


def test_an_error_of_a_step_comes_through():
    def step(batch):
        raise ZeroDivisionError("no step")

    with pytest.raises(ZeroDivisionError, match="no step"):
        measure_costs(dlkit.DataLoader(Squares(), 4), step=step, seconds=0.05)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1, 2],), TypeError, "loader must be a dlkit or PyTorch DataLoader"),
        ((dlkit.DataLoader(Squares()), 3), TypeError, "step must be callable"),
        ((dlkit.DataLoader(Squares()), None, "1"), TypeError, "seconds must be a number"),
        ((dlkit.DataLoader(Squares()), None, 0), ValueError, "seconds must be more than 0"),
        ((dlkit.DataLoader(Squares()), None, 1, ["fork"]), ValueError, "methods must hold"),
        ((dlkit.DataLoader([]),), ValueError, "loader must have at least one batch"),
    ],
)
def test_impossible_arguments_are_refused(arguments, error, message):
    names = ("loader", "step", "seconds", "methods")
    given = dict(zip(names, arguments, strict=False))
    with pytest.raises(error, match=message):
        measure_costs(given.pop("loader"), **given)


def test_a_stopwatch_tells_computing_from_waiting():
    with Stopwatch() as watch:
        watch.start()
        time.sleep(0.02)
        slept = watch.lap()
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
        burnt = watch.lap()
    assert slept.wall >= 0.02 > slept.cpu
    assert burnt.cpu >= 0.02
    assert burnt.alone >= burnt.cpu


def test_the_cpu_seconds_of_a_process_that_is_gone_are_unknown():
    assert cpu_seconds(2**22 + 1) is None


# ---- running a loader ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [dlkit.DataLoader, torch_data.DataLoader])
@pytest.mark.parametrize("persistent", [False, True])
def test_running_counts_samples_over_epochs_and_ends_the_workers(kind, persistent):
    loader = kind(Squares(), batch_size=4, num_workers=1, persistent_workers=persistent)
    measured = run_for(loader, 0.2, again=True)
    assert measured.batches >= 3
    assert measured.throughput == pytest.approx(4 * measured.batches / measured.seconds)
    assert 0 <= measured.wait_share <= 1
    assert measured.next_first_batch is not None


def test_running_stops_when_asked_to():
    stop = threading.Event()
    seen = []

    def step(batch):
        seen.append(batch)
        if len(seen) == 5:
            stop.set()

    with pytest.raises(StoppedError):
        run_for(dlkit.DataLoader(Squares(), 4, num_workers=1), 3600, step, stop)
    assert len(seen) == 5


def test_an_interrupt_ends_the_workers():
    def step(batch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_for(dlkit.DataLoader(Squares(), 4, num_workers=2, persistent_workers=True), 1, step)


def test_a_loader_without_batches_is_refused():
    with pytest.raises(ValueError, match="must yield at least one batch"):
        run_for(dlkit.DataLoader([]), 1.0)


@pytest.mark.parametrize(
    ("batch", "samples"),
    [
        (torch.zeros(5, 2), 5), (torch.tensor(1.0), 1), ([torch.zeros(3), torch.zeros(3)], 3),
        ({"text": ["a", "b"], "label": torch.zeros(2)}, 2), ("word", 1), ([], 1), ({}, 0),
        (UserDict(ids=torch.zeros(4, 9)), 4), ([UserDict(ids=torch.zeros(4, 9))], 4),
    ],
)  # fmt: skip
def test_samples_of_a_batch_are_counted(batch, samples):
    assert samples_in(batch) == samples
