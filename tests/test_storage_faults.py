"""Damage and accidents: cut and changed files, full disks, killed writers, replaced targets."""

import errno
import json
import multiprocessing
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from storage_cases import DATASETS, NAMES, assert_same, files_of, read_all
from worker_cases import Gate, eventually

from dlkit import DataLoader
from dlkit.storage import DatasetCorruptError, convert, formats, open_dataset
from dlkit.storage import convert as convert_function

SMALL = [(torch.arange(3, dtype=torch.uint8), "a"), (torch.arange(1, 4, dtype=torch.uint8), "ß")]


@pytest.fixture(params=NAMES)
def format(request):
    return request.param


@pytest.fixture
def small(format, tmp_path):
    path = tmp_path / f"small.{format}"
    convert(SMALL, path, format, progress=False)
    return path


# ---- damaged files ------------------------------------------------------------------------------


def test_a_file_cut_anywhere_is_refused_by_name(small):
    for file in files_of(small):
        whole = file.read_bytes()
        size = len(whole)
        for length in range(size - 1, -1, -1):
            os.truncate(file, length)
            with pytest.raises(DatasetCorruptError) as caught:
                read_all(small)
            assert str(small) in str(caught.value)
        file.write_bytes(whole)
    assert len(read_all(small)) == 2


def test_a_tfrecord_cut_anywhere_without_its_index_is_refused(tmp_path):
    path = tmp_path / "small.tfrecord"
    convert(SMALL, path, progress=False)
    (tmp_path / "small.tfindex").unlink()
    for length in range(path.stat().st_size - 1, -1, -1):
        os.truncate(path, length)
        with pytest.raises(DatasetCorruptError, match=r"small\.tfrecord"):
            read_all(path)


def assert_same_or_refused(path, expected):
    """Where a byte is changed that no sample depends on, samples must be as they were."""
    try:
        samples = read_all(path)
    except DatasetCorruptError as error:
        if str(path) not in str(error):
            raise AssertionError("the error does not name the file") from error
        return
    assert_same(samples, expected)


def test_a_changed_byte_changes_no_sample_in_silence(small):
    expected = read_all(small)
    for file in files_of(small):
        whole = file.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 150)):
            changed = bytearray(whole)
            changed[place] ^= 0x81
            file.unlink()  # a new file: pages of the old one may still be mapped
            file.write_bytes(changed)
            assert_same_or_refused(small, expected)
        file.write_bytes(whole)


def test_bytes_after_the_end_are_noticed_or_ignored_but_never_read(small):
    expected = read_all(small)
    for file in files_of(small):
        whole = file.read_bytes()
        file.write_bytes(whole + b"\0\xffmore")
        assert_same_or_refused(small, expected)
        file.write_bytes(whole)


HUGE = 3 << 30


def declare_huge(path, format):
    """Let a header of a small file announce some gigabytes."""
    if format == "memmap":
        (values,) = path.glob("0.values.*")
        content = values.read_bytes()
        values.write_bytes(content.replace(b"(2, 3)", b"(2, %d)" % HUGE))
        return
    content = bytearray(path.read_bytes())
    if format == "tfrecord":
        from dlkit.storage.tfrecord import masked_crc

        content[:8] = struct.pack("<Q", HUGE)
        content[8:12] = struct.pack("<I", masked_crc(bytes(content[:8])))
        path.with_suffix(".tfindex").unlink()
    elif format == "tar":  # one of another program, whose headers are believed
        import tarfile

        info = tarfile.TarInfo("0.bin")
        info.size = HUGE
        content = info.tobuf() + bytes(1024)
    else:  # the header says how many samples there are, and its checksum is right
        content = redeclared(bytes(content), HUGE)
    path.write_bytes(content)


def redeclared(content, length):
    """Our header inside a file's bytes, with another number of samples and the right checksum."""
    from dlkit.storage.files import END, END_MARK, _header_checksum, checksum

    if content.endswith(END_MARK):
        place, size, _, _ = END.unpack(content[-END.size :])
        data = json.loads(content[place : place + size])
    else:
        place = content.index(b'{"dlkit"')
        data, size = json.JSONDecoder().raw_decode(content[place:].decode("latin-1"))
    data.pop("crc32")
    data["length"] = length
    text = json.dumps({**data, "crc32": _header_checksum(data)}).encode()
    if content.endswith(END_MARK):
        end = END.pack(place, len(text), checksum(text), END_MARK)
        return content[:place] + text + end
    pytest.skip("its length cannot be changed without building the file anew; see the next test")


def test_a_header_that_announces_gigabytes_allocates_nothing(small, format):
    declare_huge(small, format)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DatasetCorruptError, match=str(small)):
        read_all(small)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000  # kilobytes


@pytest.mark.parametrize("format", ["arrow", "parquet"])
def test_a_schema_that_announces_gigabytes_allocates_nothing(format, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from dlkit.storage.files import Header
    from dlkit.storage.schema import Field, Schema

    huge = Schema("tuple", (Field("0", "tensor", "uint8", (HUGE,), 1),))
    about = {b"dlkit": Header(huge, 1).dumps().encode()}
    table = pa.table({"0": pa.array([b"abc"], pa.binary(3))}).replace_schema_metadata(about)
    if format == "arrow":
        with pa.ipc.new_file(str(tmp_path / "a"), table.schema) as writer:
            writer.write_table(table)
    else:
        pq.write_table(table, tmp_path / "a")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DatasetCorruptError):
        read_all(tmp_path / "a")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_damaged_record_is_named_by_its_number(tmp_path):
    for name in ("tfrecord", "tar", "pickle"):
        path = tmp_path / f"a.{name}"
        convert([b"first" * 9, b"second" * 9, b"third" * 9], path, name, progress=False)
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content.replace(b"second" * 9, b"sEcond" * 9))
        stored = open_dataset(path, trusted=True)
        assert stored[0] == b"first" * 9
        with pytest.raises(DatasetCorruptError, match=rf"a\.{name}, record 1: .*checksum"):
            stored.__getitems__([2, 0, 1])
        with pytest.raises(DatasetCorruptError, match="record 1"):
            stored.verify()
        loader = DataLoader(stored, batch_size=3, on_error="skip")
        assert list(loader) == [[b"first" * 9, b"third" * 9]]


def test_offsets_that_lead_outside_are_refused_before_they_are_followed(tmp_path):
    path = tmp_path / "a.memmap"
    convert(["abc", "de", "f"], path, progress=False)
    (offsets,) = path.glob("0.offsets.*")
    content = bytearray(offsets.read_bytes())
    for wrong in (-5, 99, 2**62):
        content[-16:-8] = struct.pack("<q", wrong)
        offsets.write_bytes(content)
        stored = open_dataset(path)
        assert stored[0] == "abc"
        with pytest.raises(DatasetCorruptError, match=r"record [12]: it is said to take elements"):
            stored.__getitems__([0, 1, 2])


# ---- permissions, full disks --------------------------------------------------------------------


def test_what_may_not_be_read_or_written_is_reported_as_such(format, tmp_path):
    convert(SMALL, tmp_path / "closed", format, progress=False)
    for file in files_of(tmp_path / "closed"):
        file.chmod(0)
    (tmp_path / "closed folder").mkdir(mode=0o555)
    os.chmod(tmp_path, 0o755)
    for parent in tmp_path.parents:
        if parent.name.startswith("pytest"):
            os.chmod(parent, 0o755)
    said, saying = os.pipe()
    child = os.fork()
    if child == 0:
        answers = []
        if os.geteuid() == 0:  # who may do everything
            os.setuid(65534)
        for work in (
            lambda: open_dataset(tmp_path / "closed", format, trusted=True),
            lambda: convert(SMALL, tmp_path / "closed folder" / "a", format, progress=False),
        ):
            try:
                work()
                answers.append("nothing")
            except BaseException as error:
                answers.append(type(error).__name__)
        os.write(saying, " ".join(answers).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(saying)
    assert os.read(said, 1000).decode() == "PermissionError PermissionError"
    os.close(said)


def test_a_full_disk_leaves_the_old_file_whole_and_the_samples_read_so_far(format, tmp_path):
    path = tmp_path / "data"
    convert([1, 2], path, format, progress=False)
    random = np.random.default_rng(0)  # incompressible
    data = [torch.from_numpy(random.integers(0, 256, 50_000, np.uint8)) for _ in range(60)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing fails with EFBIG
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
        with pytest.raises(OSError) as caught:  # noqa: PT011
            convert(data, path, format, overwrite=True, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert "of 60 samples are kept in" in caught.value.__notes__[0]
    assert [int(sample) for sample in read_all(path)] == [1, 2]
    stored = convert(data, path, format, overwrite=True, progress=False)
    assert_same([stored[index] for index in range(60)], data)
    assert not list(tmp_path.glob(".*"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small file system needs root")
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this system does not let us mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_no_space_left_while_the_target_is_written_is_reported(format, small_disk):
    path = small_disk / "data"
    convert([1, 2], path, format, progress=False)
    random = np.random.default_rng(0)
    # The samples fit once, not twice: what fails is writing the target.
    data = [torch.from_numpy(random.integers(0, 256, 10_000, np.uint8)) for _ in range(60)]
    with pytest.raises(OSError) as caught:  # noqa: PT011
        convert(data, path, format, overwrite=True, progress=False)
    assert caught.value.errno == errno.ENOSPC or "No space left" in str(caught.value)
    assert "60 of 60 samples are kept in" in caught.value.__notes__[0]
    assert [int(sample) for sample in read_all(path)] == [1, 2]
    assert {file.name for file in (small_disk / ".data.converting").iterdir()} == {"samples"}


# ---- writers that stop, and others at the same time ---------------------------------------------


class Counted:
    """Numbers that stand for work, each of which may stop the reader."""

    def __init__(self, length, at=lambda index: None, start=0):
        self.length, self.at, self.start, self.read = length, at, start, []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.at(index)
        self.read.append(index)
        return torch.full((2000,), float(self.start + index))


def stop_at(place):
    def at(index):
        if index == place:
            raise KeyboardInterrupt

    return at


def test_a_conversion_that_was_stopped_goes_on_where_it_was(format, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[convert_function.__module__], "BLOCK_SAMPLES", 4)
    path = tmp_path / "data"
    with pytest.raises(KeyboardInterrupt) as caught:
        convert(Counted(20, stop_at(11)), path, format, progress=False)
    assert "9 of 20 samples are kept" in caught.value.__notes__[0]
    assert not path.exists()
    again = Counted(20)
    stored = convert(again, path, format, progress=False)
    assert again.read == [0, *range(9, 20)]  # the first is compared
    assert [int(stored[index][0]) for index in range(20)] == list(range(20))
    assert not list(tmp_path.glob(".*"))


def test_what_was_kept_of_another_dataset_is_not_used(tmp_path):
    for number, other in enumerate((Counted(20, start=100), Counted(21))):
        path = tmp_path / f"{number}.memmap"
        with pytest.raises(KeyboardInterrupt):
            convert(Counted(20, stop_at(11)), path, progress=False)
        stored = convert(other, path, progress=False)
        numbers = [int(stored[index][0]) for index in range(len(other))]
        assert numbers == [other.start + index for index in range(len(other))]


def test_a_spool_that_was_damaged_is_used_up_to_the_damage(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[convert_function.__module__], "BLOCK_SAMPLES", 1)
    for number, cut in enumerate((1, 5, 8_000, 30_000, 10**9)):
        path = tmp_path / f"{number}.memmap"
        spool = tmp_path / f".{number}.memmap.converting" / "samples"
        with pytest.raises(KeyboardInterrupt):
            convert(Counted(8, stop_at(6)), path, progress=False)
        content = spool.read_bytes()
        spool.write_bytes(content[: max(0, len(content) - cut)])
        stored = convert(Counted(8), path, progress=False)
        assert [int(stored[index][0]) for index in range(8)] == list(range(8))


def write_and_be_killed(path, format, moment):
    """Convert in a process that is killed after the first table, or before the file is moved."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        module = formats.format_module(format)
        write = module.write

        def tables_until_the_end(tables):
            for table in tables:
                yield table
                os.kill(os.getpid(), signal.SIGKILL)

        class Tables:
            def __init__(self, tables):
                self.tables = tables

            def __iter__(self):
                return tables_until_the_end(self.tables)

        if moment == "write":
            module.write = lambda target, header, tables: write(target, header, Tables(tables))
        else:
            module.install = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        convert(FLOATS, path, format, overwrite=True, progress=False)
    finally:
        os._exit(1)


FLOATS = [torch.full((2000,), float(index)) for index in range(20)]


@pytest.mark.parametrize("moment", ["write", "install"])
def test_a_writer_killed_in_the_middle_leaves_the_old_file_whole(format, moment, tmp_path):
    path = tmp_path / "data"
    convert([1, 2, 3], path, format, progress=False)
    assert write_and_be_killed(path, format, moment) == -signal.SIGKILL
    assert [int(sample) for sample in read_all(path)] == [1, 2, 3]
    convert(FLOATS, path, format, overwrite=True, progress=False)
    assert_same(read_all(path), FLOATS)
    assert not list(tmp_path.glob(".*"))


def test_readers_and_a_writer_at_once_see_one_version_or_the_other(format, tmp_path):
    path = tmp_path / "data"
    versions = [[torch.full((50,), float(version))] * 8 for version in range(2)]
    convert(versions[0], path, format, progress=False)
    old = open_dataset(path, trusted=True)
    before = [old[index] for index in range(8)]
    stop, wrong, seen = threading.Event(), [], set()

    def read():
        while not stop.is_set():
            try:
                numbers = {float(sample[0]) for sample in read_all(path)}
                if len(numbers) != 1:
                    wrong.append(numbers)
                seen.update(numbers)
            except BaseException as error:
                wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(1, 7):
        convert(versions[turn % 2], path, format, overwrite=True, progress=False)
    eventually(lambda: wrong or seen)
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert_same([old[index] for index in range(8)], before)  # whoever has it open keeps it


def _convert_at_gate(path, gate):
    convert(Counted(3, lambda index: gate.wait() if index == 1 else None), path, progress=False)


def test_a_second_writer_of_the_same_path_is_told_so(tmp_path):
    path = tmp_path / "a.memmap"
    with Gate() as gate:
        other = multiprocessing.get_context("fork").Process(
            target=_convert_at_gate, args=(path, gate)
        )
        other.start()
        gate.await_arrivals()
        with pytest.raises(BlockingIOError, match="another process is converting to this path"):
            convert([1], path, progress=False)
        gate.open()
        other.join()
    assert other.exitcode == 0
    assert len(open_dataset(path)) == 3


def test_nothing_is_replaced_without_being_asked(format, tmp_path):
    path = tmp_path / "data"
    convert([1], path, format, progress=False)
    with pytest.raises(FileExistsError, match="overwrite=True replaces it"):
        convert([2], path, format, progress=False)
    assert read_all(path) == [1]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("keep me")
    with pytest.raises(FileExistsError, match=r"which the format .* cannot replace"):
        convert([2], tmp_path / "folder", format, overwrite=True, progress=False)
    with pytest.raises(FileNotFoundError, match=r"the folder of .* does not exist"):
        convert([2], tmp_path / "no" / "folder", format, progress=False)


def test_an_old_version_of_a_memmap_is_deleted_when_the_new_one_is_there(tmp_path):
    path = tmp_path / "a.memmap"
    convert(DATASETS["shapes"], path, progress=False)
    convert([1], path, overwrite=True, progress=False)
    assert len(files_of(path)) == 2


def test_replacing_a_memmap_touches_no_file_of_others(tmp_path):
    ours, theirs = tmp_path / "a.memmap", tmp_path / "shards"
    convert([1], ours, progress=False)
    np.save(ours / "mine.npy", np.arange(3))
    convert([2], ours, overwrite=True, progress=False)
    assert read_all(ours) == [2]
    assert np.load(ours / "mine.npy").tolist() == [0, 1, 2]
    theirs.mkdir()
    (theirs / "index.json").write_text('{"shards": [], "version": 2}')
    with pytest.raises(FileExistsError, match="shards is a folder, which the format memmap cannot"):
        convert([1], theirs, "memmap", overwrite=True, progress=False)
    assert [path.name for path in tmp_path.joinpath("shards").iterdir()] == ["index.json"]


def test_files_are_closed_when_they_are_no_longer_read(small):
    def open_files():
        folder = "/proc/self/fd"
        return sum(str(small) in os.path.realpath(f"{folder}/{n}") for n in os.listdir(folder))

    stored = open_dataset(small, trusted=True)
    stored[0]
    del stored
    assert open_files() == 0
    assert str(small) not in Path("/proc/self/maps").read_text()
