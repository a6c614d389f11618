"""DiskCache: what a run has read the next one finds, whole or not at all."""

import errno
import os
import signal
import stat
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from worker_cases import WAYS, Gate, descriptors

import dlkit
from dlkit.cache import DiskCache, FingerprintError, RandomTransformWarning
from dlkit.cache.record_file import RecordFile
from dlkit.datasets import TensorDataset, TransformDataset
from tests.structures import assert_same


class Counting(torch.utils.data.Dataset):
    """Samples of all sorts; how often each was read is counted outside of what it is made of."""

    def __init__(self, length=20, factor=1):
        self.length = length
        self.factor = factor

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        READS.append(index)
        return torch.full((3,), index * self.factor), {"name": f"sample {index}", "n": [index]}


READS: list = []


@pytest.fixture(autouse=True)
def nothing_read():
    READS.clear()


def cached(folder, length=20, factor=1, **arguments):
    return DiskCache(Counting(length, factor), folder, key=f"{length} {factor}", **arguments)


PLAIN = [Counting()[i] for i in range(20)]


def test_the_next_run_reads_nothing_from_the_dataset(tmp_path):
    first = cached(tmp_path / "new" / "folder")
    assert_same(list(first.__getitems__([3, -1, 3, 0])), [PLAIN[i] for i in (3, 19, 3, 0)])
    READS.clear()
    again = cached(tmp_path / "new" / "folder")
    assert_same(list(again.__getitems__([0, 19, 3])), [PLAIN[i] for i in (0, 19, 3)])
    assert READS == []
    assert (again.info().hits, again.info().misses, again.info().samples) == (3, 0, 3)


@pytest.mark.parametrize("way", ["inline", "thread", "fork", "forkserver"])
def test_workers_fill_one_folder_and_read_from_it(tmp_path, way):
    cache = cached(tmp_path)
    loader = dlkit.DataLoader(cache, 5, **WAYS[way])
    expected = list(dlkit.DataLoader(Counting(), 5))
    for epoch in (1, 2):
        assert_same(list(loader), expected)
        assert (cache.info().hits, cache.info().misses) == (20 * (epoch - 1), 20)
    assert cache.info().samples == 20


def test_two_processes_fill_it_at_the_same_time(tmp_path):
    length, pids = 300, []
    with Gate() as gate:
        for seed in range(3):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    cache = cached(tmp_path, length)
                    order = np.random.default_rng(seed).permutation(length).tolist()
                    gate.wait()
                    good = all(int(cache[i][0][0]) == i for i in order)
                    status = 0 if good and cache.info().damaged == 0 else 1
                finally:
                    os._exit(status)
            pids.append(pid)
        gate.await_arrivals(3)
        gate.open(3)
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    cache = cached(tmp_path, length)
    READS.clear()
    assert [int(x[0]) for x, _ in cache.__getitems__(range(length))] == list(range(length))
    assert READS == []


def test_another_transform_never_gives_what_the_earlier_one_made(tmp_path):
    rows = TensorDataset(torch.arange(10))
    for factor in (2, 3, 2):
        cache = DiskCache(TransformDataset(rows, lambda x, f=factor: x * f), tmp_path)
        assert int(cache[4][0]) == 4 * factor
    assert cache.info().hits == 1  # of the first run
    cache.dataset.transform = torch.neg
    assert int(cache[4][0]) == -4


# ---- faults -------------------------------------------------------------------------------------


def files_of(cache):
    return cache.folder / cache.key / "index", cache.folder / cache.key / "records"


def filled(folder, length=4):
    cache = cached(folder, length, check_random=False)
    cache.__getitems__(range(length))
    return cache


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damage_anywhere_is_noticed_and_repaired(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    path = data.draw(st.sampled_from(files_of(filled(folder))))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        content = content[:place]
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cache = cached(folder, 4, check_random=False)
        assert_same(list(cache.__getitems__(range(4))), PLAIN[:4])
    READS.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(list(cached(folder, 4, check_random=False).__getitems__(range(4))), PLAIN[:4])
    assert READS == []


def test_damage_is_told_and_counted(tmp_path):
    _, records = files_of(filled(tmp_path))
    content = bytearray(records.read_bytes())
    content[5] ^= 1
    records.write_bytes(content)
    cache = cached(tmp_path, 4)
    with pytest.warns(UserWarning, match=r"record 0 in .*records is damaged; reading it from the"):
        cache[0]
    assert (cache.info().damaged, cache.info().misses) == (1, 1)


def test_an_entry_that_claims_a_huge_record_reserves_nothing(tmp_path):
    records = RecordFile(tmp_path, 2)
    records.append(0, b"abc")
    from dlkit.cache.record_file import _ENTRY, _HEADER_BYTES, _entry_crc

    entry = _ENTRY.pack(0, 1 << 62, 7, _entry_crc(0, 0, 1 << 62, 7))
    with open(tmp_path / "index", "r+b") as index:
        index.seek(_HEADER_BYTES)
        index.write(entry)
    again = RecordFile(tmp_path, 2)
    with pytest.raises(ValueError, match=r"record 0 in .* is damaged"):
        again.read(0)
    again.close()
    records.close()


def test_a_writer_that_is_killed_between_record_and_entry_leaves_a_working_cache(tmp_path):
    with Gate() as gate:
        pid = os.fork()
        if pid == 0:
            cache = cached(tmp_path, 4, check_random=False)
            cache[0]
            os.write(cache._files[1]._data, b"half a record")
            gate.wait()
            os._exit(0)
        gate.await_arrivals()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    cache = cached(tmp_path, 4, check_random=False)
    assert_same(list(cache.__getitems__(range(4))), PLAIN[:4])
    READS.clear()
    assert_same(list(cached(tmp_path, 4).__getitems__(range(4))), PLAIN[:4])
    assert READS == []


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def half_written(descriptor, data):
    return real_write(descriptor, data[: len(data) // 2])


real_write = os.write


@pytest.mark.parametrize("write", [full_disk, half_written])
def test_a_full_disk_leaves_a_working_uncached_dataset_and_one_warning(
    tmp_path, monkeypatch, write
):
    cache = cached(tmp_path, check_random=False)
    cache[0]
    monkeypatch.setattr(os, "write", write)
    with pytest.warns(UserWarning, match=r"cannot write to .*uncached") as told:
        twice = [*cache.__getitems__(range(20)), *cache.__getitems__(range(20))]
    assert_same(twice, [*PLAIN, *PLAIN])
    assert len(told) == 1
    monkeypatch.undo()
    assert cache.info().samples == 1
    READS.clear()
    assert_same(cached(tmp_path, check_random=False)[0], PLAIN[0])
    assert READS == []


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="needs /dev/full")
def test_a_device_that_is_really_full(tmp_path, monkeypatch):
    cache = cached(tmp_path, check_random=False)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        monkeypatch.setattr(os, "write", lambda _, data: real_write(full, data))
        with pytest.warns(UserWarning, match="No space left on device"):
            assert_same(cache[5], PLAIN[5])
    finally:
        os.close(full)


def test_a_folder_that_cannot_be_made_leaves_a_working_uncached_dataset(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match=r"cannot open .*uncached"):
        cache = cached(tmp_path / "file" / "folder")
    assert_same(list(cache.__getitems__(range(20))), PLAIN)
    assert cache.info().samples == 0


@pytest.mark.skipif(os.name != "posix", reason="about owners of files")
def test_files_that_others_can_write_are_not_read(tmp_path):
    _, records = files_of(filled(tmp_path))
    records.chmod(0o666)
    before = descriptors()
    with pytest.raises(PermissionError, match="records are pickles"):
        cached(tmp_path, 4)
    assert descriptors() == before
    records.unlink()
    records.symlink_to(__file__)
    with pytest.warns(UserWarning, match="cannot open"):
        cached(tmp_path, 4)


def test_files_are_readable_by_their_owner_only(tmp_path):
    for path in files_of(filled(tmp_path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_closes_its_files(tmp_path):
    before = descriptors()
    cache = filled(tmp_path)
    del cache
    assert descriptors() == before


# ---- room ---------------------------------------------------------------------------------------


def test_stores_what_fits_and_reads_the_rest(tmp_path):
    one = filled(tmp_path / "a", 1).info().nbytes
    cache = cached(tmp_path / "b", max_bytes=5 * one + 50, check_random=False)
    for _ in range(2):
        assert_same(list(cache.__getitems__(range(20))), PLAIN)
    info = cache.info()
    assert info.samples == 5
    assert info.nbytes <= 5 * one + 50
    assert (info.hits, info.refused) == (5, 30)


def test_makes_room_by_removing_what_was_opened_longest_ago(tmp_path):
    old, newer = filled(tmp_path, 2), filled(tmp_path, 3)
    os.utime(files_of(old)[0], (1, 1))
    size = old.info().nbytes + newer.info().nbytes
    one = old.info().nbytes // 2
    (tmp_path / "precious.txt").write_text("not a cache")
    cache = cached(tmp_path, 9, max_bytes=size + one // 2, check_random=False)
    cache[0]
    assert not files_of(old)[0].exists()
    assert files_of(newer)[0].exists()
    assert (tmp_path / "precious.txt").exists()
    assert cache.info().samples == 1


def test_clear_removes_the_samples(tmp_path):
    cache = filled(tmp_path)
    cache.clear()
    assert cache.info().samples == 0
    READS.clear()
    cache[0]
    assert READS == [0]


def test_a_pass_that_clears_the_cache_in_its_middle_goes_on(tmp_path):
    class Clears:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            if index == 2:
                cache.clear()
            return index

    cache = DiskCache(Clears(), tmp_path, key="clears", check_random=False)
    before = descriptors()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no file that is still in use has been closed
        for _ in range(2):
            assert [cache[index] for index in range(4)] == [0, 1, 2, 3]
    assert cache.info().samples == 1
    assert descriptors() == before


# ---- nonsense -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"folder": 5}, TypeError, "folder must be a path, but got 5"),
        ({"max_bytes": 0}, ValueError, "max_bytes must be a positive integer, but got 0"),
        ({"dataset": 5}, TypeError, "dataset must be map-style"),
        ({"dataset": [open(os.devnull)]}, FingerprintError, "cannot tell what"),  # noqa: SIM115
    ],
)
def test_nonsense_is_refused(tmp_path, arguments, error, match):
    with pytest.raises(error, match=match):
        DiskCache(**{"dataset": [1], "folder": tmp_path, **arguments})


def test_caching_a_random_transform_warns(tmp_path):
    noisy = TransformDataset(TensorDataset(torch.zeros(3)), lambda x: x + torch.rand(1))
    with pytest.warns(RandomTransformWarning, match=r"DiskCache\(dataset, \.\.\.\)\.then"):
        DiskCache(noisy, tmp_path)


def test_samples_that_cannot_be_pickled_are_passed_on(tmp_path):
    cache = DiskCache([lambda: 1, 2], tmp_path, key="functions", check_random=False)
    with pytest.warns(UserWarning, match="cannot pickle sample 0, a function"):
        assert cache[0]() == 1
