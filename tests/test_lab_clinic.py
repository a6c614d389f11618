"""Each sick dataset has the fault that it is for, and its repaired twin has not."""

import pytest
import torch

from dlkit import DataLoader

pytest.importorskip("ipywidgets")

from dlkit.lab import clinic

FORK = {"multiprocessing_context": "fork"}


def numbers(loader):
    return torch.cat(list(loader)).tolist()


@pytest.mark.parametrize(("alone", "most"), [(True, 1), (False, 2)])
def test_a_lock_lets_one_reader_in_at_a_time(alone, most):
    dataset = clinic.Reader(alone)
    assert sorted(numbers(DataLoader(dataset, 4, num_workers=2, worker_method="thread"))) == list(
        range(32)
    )
    assert dataset.most_at_once == most


def test_forked_workers_move_one_position_in_a_shared_file(tmp_path):
    path = clinic.write_records(tmp_path / "records", 300)
    read = {}
    for shared in (True, False):
        records = clinic.Records(path, shared)
        read[shared] = numbers(DataLoader(records, 10, num_workers=2, **FORK))
        records.close()
    assert read[True] != list(range(300))
    assert read[False] == list(range(300))


def test_counting_users_of_strings_copies_their_pages():
    objects = clinic.memory_growth(clinic.Names(True, 200_000))
    array = clinic.memory_growth(clinic.Names(False, 200_000))
    if objects == [0.0] * 4:
        pytest.skip("this system does not say which pages a process has for itself")
    assert len(objects) == 4
    assert objects[-1] > 4 * max(array[-1], 1e6)


def test_a_lock_of_its_own_frees_a_forked_worker():
    dataset = clinic.Guarded(own_lock=True)
    with dataset.lock:
        assert numbers(DataLoader(dataset, num_workers=1, timeout=60, **FORK)) == [0, 1, 2, 3]


def test_a_child_runs_under_the_limits_that_it_is_given():
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    assert clinic.in_child(code, open_files=128) == "128"
    assert clinic.in_child("raise SystemExit(3)") == "ended with 3"
    assert clinic.in_child("raise ValueError('no')") == "ValueError: no"


def test_a_small_container_has_little_shared_memory():
    if clinic._small_container("true"):
        pytest.skip("this system does not let us have one")
    code = "import os; s = os.statvfs('/dev/shm'); print(s.f_blocks * s.f_frsize)"
    assert clinic.in_child(code, small_shared_memory=True) == str(64 * 1024)


def test_workers_that_live_on_are_started_once():
    def started(**settings):
        return clinic.workers_seen(DataLoader(range(4), num_workers=2, **settings), epochs=3)

    assert started() == 6
    assert started(persistent_workers=True) == 2


def test_messages_count_what_is_shown():
    messages = clinic.Messages()
    for text in ("\r", "\r 50%", "", "done\n"):
        messages.write(text)
    assert messages.count == 2
