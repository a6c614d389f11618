"""Tuning finds what the work calls for, keeps to its budget's order, and can be stopped."""

import multiprocessing
import threading

import pytest
from torch.utils import data as torch_data
from worker_cases import eventually

import dlkit
from dlkit.datasets import Cost, synthetic_images
from dlkit.diagnose.candidates import Tried, chosen, spread
from dlkit.diagnose.tune import _Search

WAITING = synthetic_images(4000, (1, 8, 8), cost=Cost(wait_seconds=0.004))


def make_loader(**settings):
    return dlkit.DataLoader(WAITING, batch_size=4, **settings)


@pytest.fixture(autouse=True)
def no_workers_left():
    threads = threading.active_count()
    yield
    assert multiprocessing.active_children() == []
    # PyTorch's queues end a thread of theirs a little later.
    eventually(lambda: threading.active_count() <= threads, "every thread has ended")


def test_samples_that_wait_get_workers_and_the_settings_can_be_used():
    found = dlkit.tune(make_loader, budget_seconds=2.0)
    assert found.settings["num_workers"] >= 2
    assert found.complete
    assert any(tried.runs for tried in found.table)
    assert make_loader(**found.settings).num_workers == found.settings["num_workers"]
    frame = found.to_pandas()
    assert {"num_workers", "predicted", "measured", "memory", "runs"} <= set(frame.columns)
    assert len(frame) == len(found.table)
    assert "samples/s" in str(found)


def test_each_setting_stands_in_the_table_once():
    table = dlkit.tune(make_loader, budget_seconds=0.3, max_workers=2).table
    settings = [str(tried.settings) for tried in table]
    assert len(set(settings)) == len(settings) == 1 + 2 * 2 * 2  # workers, method, prefetching
    assert all(tried.predicted > 0 for tried in table)


def test_pytorchs_loader_is_tuned_with_its_own_arguments():
    def torchs(**settings):
        return torch_data.DataLoader(WAITING, batch_size=4, **settings)

    found = dlkit.tune(torchs, budget_seconds=1.0, max_workers=1)
    assert all("worker_method" not in tried.settings for tried in found.table)


def test_only_arguments_that_the_function_takes_are_tuned():
    def few(num_workers):
        return dlkit.DataLoader(WAITING, batch_size=4, num_workers=num_workers)

    found = dlkit.tune(few, budget_seconds=0.5, max_workers=1)
    assert {name for tried in found.table for name in tried.settings} == {"num_workers"}
    with pytest.raises(TypeError, match="make_loader must take num_workers="):
        dlkit.tune(lambda batch_size: None)


def test_settings_that_take_too_much_memory_are_left_out():
    everything = dlkit.tune(make_loader, budget_seconds=0.3, max_workers=2).table
    limit = sorted(tried.memory for tried in everything)[2]
    found = dlkit.tune(make_loader, budget_seconds=0.3, max_workers=2, memory_limit=1.2 * limit)
    assert all(tried.memory <= 1.2 * limit for tried in found.table)
    with pytest.raises(ValueError, match="memory_limit must leave room"):
        dlkit.tune(make_loader, budget_seconds=0.3, memory_limit=1.0)


def test_another_thread_can_stop_it():
    stop = threading.Event()
    stop.set()
    found = dlkit.tune(make_loader, budget_seconds=0.3, stop=stop)
    assert not found.complete
    assert not any(tried.runs for tried in found.table)
    assert "num_workers" in found.settings  # the prediction still says something


def test_an_interrupt_ends_it_and_its_workers():
    calls = []

    def step(batch):
        calls.append(batch)
        if len(calls) > 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dlkit.tune(make_loader, budget_seconds=5.0, step=step)


def test_an_error_of_the_dataset_comes_through():
    class Broken(torch_data.Dataset):
        def __len__(self):
            return 100

        def __getitem__(self, index):
            raise OSError("damaged")

    with pytest.raises(OSError, match="damaged"):
        dlkit.tune(lambda **settings: dlkit.DataLoader(Broken(), **settings), budget_seconds=0.2)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"make_loader": 3}, TypeError, "make_loader must be callable"),
        ({"budget_seconds": 0}, ValueError, "budget_seconds must be more than 0"),
        ({"budget_seconds": None}, TypeError, "budget_seconds must be a number"),
        ({"memory_limit": "1G"}, TypeError, "memory_limit must be a number"),
        ({"max_workers": -1}, ValueError, "max_workers must be an integer of 0 or more"),
        ({"step": 1}, TypeError, "step must be callable"),
    ],
)
def test_impossible_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        dlkit.tune(**{"make_loader": make_loader, **arguments})


# ---- choosing, without a clock ------------------------------------------------------------------


def tried(workers, predicted, runs=(), **settings):
    return Tried({"num_workers": workers, **settings}, predicted, 1.0, list(runs))


def test_of_equal_settings_the_one_that_needs_fewest_workers_is_taken():
    ranked = [tried(4, 99, [100]), tried(2, 90, [98]), tried(1, 98, [90]), tried(0, 100)]
    assert chosen(ranked).settings == {"num_workers": 2}
    unmeasured = [tried(4, 100), tried(3, 99), tried(1, 50)]
    assert chosen(unmeasured).settings == {"num_workers": 3}


def test_each_kind_near_the_best_is_measured_where_it_is_cheapest():
    near = [
        tried(4, 100), tried(3, 100), tried(3, 99, worker_method="thread"), tried(1, 80),
        tried(4, 98, worker_method="thread"),
    ]  # fmt: skip
    assert [t.settings["num_workers"] for t in spread(near)] == [3, 3, 1]


def test_the_better_half_is_measured_again(monkeypatch):
    table = [tried(n, 100 - n) for n in range(4)]
    search = _Search(make_loader, None, None, None, float("inf"))
    true = {0: 50.0, 1: 99.0, 2: 100.0, 3: 60.0}
    monkeypatch.setattr(search, "_rate", lambda t, seconds: true[t.settings["num_workers"]])

    clock = iter(range(1000))
    monkeypatch.setattr("dlkit.diagnose.tune.time.perf_counter", lambda: float(next(clock)))
    search._deadline = 40.0
    assert search.run(table)
    runs = {t.settings["num_workers"]: len(t.runs) for t in table}
    assert runs[0] == runs[3] == 1
    assert runs[1] > 1
    assert runs[2] > 1
