"""The contract of every storage format: what goes in comes out, for every way of reading."""

import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storage_cases import DATASETS, NAMES, assert_same, collated
from worker_cases import WAYS, nothing_left

import dlkit
from dlkit import ConcatDataset, DataLoader, Subset, default_collate
from dlkit.datasets.base import Columns
from dlkit.storage import convert, open_dataset
from dlkit.storage.tfrecord_frames import crc32c


@pytest.fixture(params=NAMES)
def format(request):
    return request.param


@pytest.mark.parametrize("kind", DATASETS)
def test_every_sample_comes_back_as_the_original_would_be_collated(format, kind, tmp_path):
    data = DATASETS[kind]
    stored = convert(data, tmp_path / "data", format, progress=False)
    assert len(stored) == len(data)
    stored.verify()
    assert_same(collated(stored, range(len(data))), collated(data, range(len(data))))
    assert_same(collated(stored, range(-len(data), 0)), collated(data, range(-len(data), 0)))


@pytest.mark.parametrize("kind", DATASETS)
def test_reading_many_is_reading_one_after_another(format, kind, tmp_path):
    stored = convert(DATASETS[kind], tmp_path / "data", format, progress=False)
    n = len(stored)
    for indices in ([], list(range(n)), [n - 1, 0, 0, n // 2] if n else [], np.arange(n)[::-1]):
        samples = stored.__getitems__(indices)
        assert_same(list(samples), [stored[int(index)] for index in indices])


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"])),
            st.binary(max_size=20),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(allow_nan=False),
            st.lists(st.integers(0, 255), max_size=5).map(
                lambda x: torch.tensor(x, dtype=torch.uint8)
            ),
        ),
        max_size=6,
    )
)
def test_whatever_fits_into_a_sample_comes_back(format, tmp_path, data):
    stored = convert(data, tmp_path / "data", format, overwrite=True, progress=False)
    assert_same(collated(stored, range(len(data))), collated(data, range(len(data))))


def test_a_batch_of_tensors_is_gathered_not_stacked(format, tmp_path):
    data = DATASETS["images"]
    stored = convert(data, tmp_path / "data", format, progress=False)
    samples = stored.__getitems__([3, 1, 39])
    assert type(samples) is Columns
    assert_same(default_collate(samples), data.read_columns([3, 1, 39]))


def test_tensors_that_are_read_belong_to_the_reader_alone(format, tmp_path):
    stored = convert([torch.zeros(3), torch.zeros(3)], tmp_path / "data", format, progress=False)
    first = stored[0]
    first += 1
    assert stored[0].sum() == 0
    for sample in stored.__getitems__([1, 0]):
        sample += 1
    assert stored[1].sum() == 0


@pytest.mark.parametrize("way", ["inline", "thread", "fork"])
def test_workers_of_every_kind_read_the_same(format, way, tmp_path):
    data = DATASETS["images"]
    stored = convert(data, tmp_path / "data", format, progress=False)
    stored[0]  # opened here too, so that a fork meets an open file
    settings = {"batch_size": 8, "shuffle": True}
    theirs = DataLoader(data, **settings, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    with nothing_left():
        ours = DataLoader(stored, **settings, **WAYS[way], generator=generator)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
        del ours, one, other


def test_a_worker_that_starts_from_nothing_reads_every_format(tmp_path):
    data = DATASETS["images"]
    stored = [convert(data, tmp_path / name, name, progress=False) for name in NAMES]
    for dataset in stored:
        dataset[0]  # opened here too: nothing of that may travel
    settings = {"batch_size": 8}
    with nothing_left():
        # One for all of them: starting one takes seconds.
        workers = WAYS["spawn"] | {"num_workers": 1}
        ours = DataLoader(ConcatDataset(stored), **settings, **workers)
        theirs = DataLoader(ConcatDataset([data] * len(NAMES)), **settings)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
        del ours, one, other


def test_workers_read_text_and_bytes_of_any_length(format, tmp_path):
    stored = convert(DATASETS["texts"], tmp_path / "data", format, progress=False)
    for way in ("thread", "fork"):
        batches = list(DataLoader(stored, batch_size=2, **WAYS[way]))
        assert_same(batches, list(DataLoader(DATASETS["texts"], batch_size=2)))


def test_a_pickled_dataset_is_a_path_and_opens_when_it_is_read(format, tmp_path):
    stored = convert(DATASETS["images"], tmp_path / "data", format, progress=False)
    sent = pickle.dumps(stored)
    assert len(sent) < 2000
    received = pickle.loads(sent)
    assert len(received) == 40
    assert_same(received[7], stored[7])


def test_a_worker_does_not_mix_two_versions_of_a_file(format, tmp_path):
    path = tmp_path / "data"
    sent = pickle.dumps(convert([1, 2, 3], path, format, progress=False))
    convert([1, 2, 4], path, format, overwrite=True, progress=False)
    with pytest.raises(RuntimeError, match="was replaced since this dataset was opened"):
        pickle.loads(sent)[0]


def test_threads_read_at_once(format, tmp_path):
    stored = convert(DATASETS["shapes"], tmp_path / "data", format, progress=False)
    expected = [stored[index] for index in range(len(stored))]
    start, wrong = threading.Barrier(4), []

    def work():
        start.wait()
        for _ in range(20):
            try:
                assert_same([stored[index] for index in range(len(stored))], expected)
            except BaseException as error:
                wrong.append(error)
                return

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_child_of_fork_reads_what_its_parent_had_opened(format, tmp_path):
    stored = convert(DATASETS["images"], tmp_path / "data", format, progress=False)
    expected = stored[5]
    child = os.fork()
    if child == 0:
        try:
            assert_same(stored[5], expected)
            assert_same(stored[39][1], torch.tensor(39))
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert_same(stored[5], expected)


def test_parts_and_sums_of_stored_datasets_are_datasets(format, tmp_path):
    stored = convert(DATASETS["images"], tmp_path / "data", format, progress=False)
    both = ConcatDataset([stored, Subset(stored, [3, 4])])
    images, labels = default_collate(both.__getitems__([41, 0, 40]))
    assert labels.tolist() == [4, 0, 3]
    assert torch.equal(images, DATASETS["images"].tensors[0][[4, 0, 3]])


def test_every_format_converts_into_every_other(tmp_path):
    data, path = DATASETS["texts"], None
    for round in range(2):
        for name in NAMES:
            source = data if path is None else open_dataset(path, trusted=True)
            path = tmp_path / f"{round}.{name}"
            convert(source, path, name, progress=False)
    stored = open_dataset(path, trusted=True)
    assert_same(collated(stored, range(6)), collated(data, range(6)))


def test_progress_is_drawn_for_the_samples_that_are_still_to_read(tmp_path, monkeypatch):
    drawn = []

    class Bar:
        def __init__(self, total, initial, **_):
            drawn.append([total, initial])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, count):
            drawn[-1].append(count)

    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    convert(range(2000), tmp_path / "a.memmap")
    assert drawn == [[2000, 0, 1, 1024, 975]]
    convert(range(2000), tmp_path / "b.memmap", progress=False)
    assert len(drawn) == 1
    for name, value in (("progress", 1), ("overwrite", "yes")):
        with pytest.raises(ValueError, match=f"{name} must be True or False"):
            convert(range(2), tmp_path / "c.memmap", **{name: value})


# ---- opening ------------------------------------------------------------------------------------


def test_the_content_says_which_format_it_is_whatever_the_name(format, tmp_path):
    convert(DATASETS["one"], tmp_path / "data.bin", format, progress=False)
    assert open_dataset(tmp_path / "data.bin", trusted=True).format == format


def test_the_suffix_chooses_the_format_to_write(tmp_path):
    suffixes = {"a.arrow": "arrow", "a.h5": "hdf5", "a.tfrecord": "tfrecord", "a.tar": "tar",
                "a.parquet": "parquet", "a.memmap": "memmap", "a.pkl": "pickle"}  # fmt: skip
    for name, format in suffixes.items():
        assert convert([1], tmp_path / name, progress=False).format == format
    with pytest.raises(ValueError, match=r"suffix of 'a\.txt' stands for no format"):
        convert([1], tmp_path / "a.txt")


def test_a_pickle_opens_only_for_who_trusts_it(tmp_path):
    convert([1], tmp_path / "a.pickle", progress=False)
    with pytest.raises(PermissionError, match="runs whatever code its author put into it"):
        open_dataset(tmp_path / "a.pickle")
    with pytest.raises(TypeError, match="trusted must be True or False"):
        open_dataset(tmp_path / "a.pickle", trusted="yes")
    assert open_dataset(tmp_path / "a.pickle", trusted=True)[0] == 1


def test_a_pickle_runs_nothing_before_it_is_trusted(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    for name in ("a.pickle", "a.arrow", "a"):
        (tmp_path / name).write_bytes(pickle.dumps([Trap()]))
        with pytest.raises(PermissionError):
            open_dataset(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_dataset_is_said_to_be_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_dataset(tmp_path / "missing.arrow")
    (tmp_path / "text").write_text("hello, world")
    with pytest.raises(dlkit.storage.DatasetCorruptError, match=r"text: it begins with 68 65 6c"):
        open_dataset(tmp_path / "text")
    with pytest.raises(dlkit.storage.DatasetCorruptError, match=r"no index\.json"):
        open_dataset(tmp_path)
    for format in ("zip", ["arrow"]):
        with pytest.raises(ValueError, match="format must be one of memmap, arrow"):
            open_dataset(tmp_path / "text", format)
    with pytest.raises(TypeError, match="path must be a str or a path"):
        open_dataset(3)


def test_an_index_that_is_none_is_refused(format, tmp_path):
    stored = convert([1, 2, 3], tmp_path / "data", format, progress=False)
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"index {index} is out of range for 3 samples"):
            stored[index]
        with pytest.raises(IndexError):
            stored.__getitems__([0, index])
    with pytest.raises(IndexError, match="indices must be integers"):
        stored.__getitems__([0.5])


def test_a_library_that_is_missing_is_named_with_the_extra_that_brings_it(tmp_path, monkeypatch):
    libraries = {"arrow": "pyarrow", "parquet": "pyarrow", "hdf5": "h5py"}
    for name in [name for name in sys.modules if name.partition(".")[0] in ("pyarrow", "h5py")]:
        monkeypatch.setitem(sys.modules, name, None)
    for name, library in {**libraries, "tfrecord": "google_crc32c"}.items():
        monkeypatch.setitem(sys.modules, library, None)
        crc32c.cache_clear()
        with pytest.raises(ModuleNotFoundError, match=f"this needs {library}: pip install"):
            convert([1], tmp_path / name, name, progress=False)
    assert convert([1], tmp_path / "m", "memmap", progress=False)[0] == 1


def test_importing_storage_imports_no_library_of_a_format():
    code = (
        "import sys, dlkit.storage\n"
        "print({'pyarrow', 'h5py', 'google_crc32c', 'joblib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


# ---- what cannot be stored ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        ([(1, [2, 3])], TypeError, r"sample 0: field '1' is a builtins\.list"),
        ([1, None], TypeError, "sample 1: field 'value' is a builtins.NoneType"),
        ([{"a": 1}, {"b": 1}], ValueError, r"sample 1: it is a dict of 1 fields \(b\)"),
        ([{1: 2}], TypeError, "keys of a stored dictionary must be strings, got 1"),
        ([1, "a"], ValueError, "sample 1: field 'value' is str, but those before are int64"),
        ([1, 2.5], ValueError, "sample 1: field 'value' is float64"),
        ([2**63], ValueError, "which no int64 can hold"),
        ([torch.zeros(2).to_sparse()], TypeError, "which cannot be stored"),
        ([np.array(["a"])], TypeError, "of <U1, which cannot be stored"),
        (["\ud800"], ValueError, "sample 0: .*surrogates not allowed"),
        ([(1, 2), (1, 2, 3)], ValueError, "sample 1: it is a tuple of 3 fields"),
    ],
)
def test_a_sample_that_cannot_be_stored_is_named(samples, error, message, format, tmp_path):
    with pytest.raises(error, match=message):
        convert(samples, tmp_path / "data", format, progress=False)
    assert not (tmp_path / "data").exists()


def test_a_stream_has_no_order_to_store():
    with pytest.raises(TypeError, match="dataset must be map-style"):
        convert(iter([1]), "never-written.arrow")


def test_a_stored_dataset_says_what_it_is(tmp_path):
    stored = convert(DATASETS["images"], tmp_path / "a.arrow", progress=False)
    assert repr(stored) == (
        "<arrow dataset of 40 samples (0: uint8 [1, 3, 4], 1: int64 []) in a.arrow>"
    )
    assert isinstance(stored, torch.utils.data.Dataset)
