"""Independent readers and writers: what other programs read of ours, and we of theirs."""

import io
import tarfile
import weakref

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
from storage_cases import DATASETS, assert_same
from worker_cases import WAYS

from dlkit import DataLoader, default_collate
from dlkit.storage import DatasetCorruptError, convert, open_dataset, parquet

IMAGES = DATASETS["images"]


# ---- memmap -------------------------------------------------------------------------------------


def test_numpy_reads_the_columns_of_a_memmap(tmp_path):
    convert(IMAGES, tmp_path / "a.memmap", progress=False)
    (values,) = (tmp_path / "a.memmap").glob("0.values.*.npy")
    array = np.load(values, mmap_mode="r")
    assert np.array_equal(array, IMAGES.tensors[0].numpy())


@pytest.mark.parametrize("format", ["memmap", "tar"])
def test_the_header_of_an_array_is_not_evaluated_as_python(format, tmp_path, monkeypatch):
    # CPython 3.11 and 3.12 fail at times where two threads do so at once.
    def fail(_):
        raise SystemError("AST constructor recursion depth mismatch")

    data = [torch.full((2, 7), float(index)) for index in range(3)]  # of a shape of its own
    stored = convert(data, tmp_path / "a", format, progress=False)
    monkeypatch.setattr("ast.literal_eval", fail)
    assert_same(list(stored.__getitems__([2, 0])), [data[2], data[0]])


# ---- Arrow and Parquet --------------------------------------------------------------------------


def test_pyarrow_reads_our_file(tmp_path):
    convert(DATASETS["texts"], tmp_path / "a.arrow", progress=False)
    convert(DATASETS["texts"], tmp_path / "a.parquet", progress=False)
    for table in (
        pa.ipc.open_file(tmp_path / "a.arrow").read_all(),
        pq.read_table(tmp_path / "a.parquet"),
    ):
        assert table.to_pylist() == DATASETS["texts"]


@pytest.mark.parametrize("kind", ["file", "stream", "parquet"])
def test_arrow_files_of_other_programs_open(kind, tmp_path):
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(12.0).reshape(3, 2, 2))
    rows = {
        "n": pa.array([1, -2, 3], pa.int16()),
        "flag": [True, False, True],
        "text": ["", "ä", "b"],
        "wide": pa.array(["x", "yy", ""], pa.large_string()),
        "blob": [b"\0", b"", b"xyz"],
        "pair": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.float32(), 2)),
        "list": pa.array([[1], [], [2, 3]], pa.list_(pa.int64())),
        "tensor": tensors,
    }
    table = pa.table(rows)
    if kind == "parquet":
        pq.write_table(table, tmp_path / "a", row_group_size=2)
    else:
        new = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with new(str(tmp_path / "a"), table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    stored = open_dataset(tmp_path / "a")
    samples = [stored[index] for index in range(3)]
    for name in ("text", "wide", "blob"):
        assert [sample[name] for sample in samples] == table[name].to_pylist()
    for name in ("n", "flag", "pair", "list"):
        assert [sample[name].tolist() for sample in samples] == table[name].to_pylist()
    assert torch.equal(samples[2]["tensor"], torch.arange(8.0, 12).double().view(2, 2))
    assert [s["list"].tolist() for s in stored.__getitems__([2, 0])] == [[2, 3], [1]]


def test_arrow_columns_that_are_no_samples_are_named(tmp_path):
    for column, message in (
        ([1, None], "values that are missing"),
        ([{"a": 1}, {"a": 2}], "column 'x' is struct"),
    ):
        table = pa.table({"x": column})
        with pa.ipc.new_file(str(tmp_path / "a"), table.schema) as writer:
            writer.write_table(table)
        with pytest.raises(DatasetCorruptError, match=message):
            open_dataset(tmp_path / "a")


def test_a_parquet_file_is_decoded_group_by_group(tmp_path):
    data = [torch.full((1 << 18,), float(index)) for index in range(6)]  # a megabyte each
    stored = convert(data, tmp_path / "a.parquet", progress=False)
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 6
    assert [float(t[0]) for t in stored.__getitems__([5, 0, 5, 3])] == [5, 0, 5, 3]


def test_a_batch_from_many_groups_of_parquet_holds_few_of_them_at_once(tmp_path, monkeypatch):
    data = [torch.full((1 << 18,), float(index)) for index in range(6)]  # a megabyte each
    stored = convert(data, tmp_path / "a.parquet", progress=False)
    from_arrow, decoded, held = parquet.from_arrow, [], []

    def watched(*arguments):
        table = from_arrow(*arguments)
        decoded.append(weakref.ref(table))
        held.append(sum(one() is not None for one in decoded))
        return table

    monkeypatch.setattr(parquet, "from_arrow", watched)
    monkeypatch.setattr(parquet, "CACHE_BYTES", 0)
    assert [float(t[0]) for t in stored.__getitems__([5, 0, 2, 3, 1, 4])] == [5, 0, 2, 3, 1, 4]
    assert held == [1, 2, 2, 2, 2, 2]  # the one that is kept, and the next one


# ---- HDF5 ---------------------------------------------------------------------------------------


def test_h5py_reads_our_file(tmp_path):
    convert(IMAGES, tmp_path / "a.h5", progress=False)
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["0/values"], IMAGES.tensors[0].numpy())
        assert np.array_equal(file["1/values"], IMAGES.tensors[1].numpy())


@pytest.mark.parametrize("options", [{}, {"chunks": (4, 2)}, {"compression": "gzip"}])
def test_hdf5_files_of_other_programs_open(options, tmp_path):
    values = np.random.default_rng(0).random((10, 5))
    with h5py.File(tmp_path / "a", "w") as file:
        file.create_dataset("x", data=values, **options)
        file.create_dataset("y", data=np.arange(10), **({} if not options else {"chunks": (3,)}))
        file.create_dataset("t", data=[f"ß{index}" for index in range(10)])
    stored = open_dataset(tmp_path / "a")
    for index in range(10):
        sample = {"t": f"ß{index}", "x": torch.from_numpy(values[index]), "y": torch.tensor(index)}
        assert_same(stored[index], sample)
    batch = default_collate(stored.__getitems__([9, 2, 2]))
    assert_same(batch["x"], torch.from_numpy(values[[9, 2, 2]]))


@pytest.mark.parametrize("way", ["thread", "fork", "spawn"])
def test_workers_read_chunked_hdf5_through_the_library(way, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.arange(64).reshape(32, 2), chunks=(5, 1))
    stored = open_dataset(tmp_path / "a.h5")
    stored[0]  # a handle of this process, which the workers must not use
    workers = WAYS[way] | ({"num_workers": 1} if way == "spawn" else {})
    batches = list(DataLoader(stored, batch_size=5, **workers))
    assert torch.cat([batch["x"] for batch in batches]).tolist() == stored_rows(32)


def stored_rows(count):
    return [[2 * row, 2 * row + 1] for row in range(count)]


def test_hdf5_values_in_other_files_are_not_followed(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1, 2]
    (tmp_path / "secret").write_bytes(bytes(16))
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["x"] = h5py.ExternalLink("other.h5", "/x")
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("x", (2,), "i8", external=[(str(tmp_path / "secret"), 0, 16)])
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((2,), "i8")
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "x", (2,))
        file.create_virtual_dataset("x", layout)
    for name, message in (
        ("link", "is a link to somewhere else"),
        ("external", "keeps its values in other files"),
        ("virtual", "keeps its values in other files"),
    ):
        with pytest.raises(DatasetCorruptError, match=message):
            open_dataset(tmp_path / f"{name}.h5")


def test_hdf5_chunks_that_were_never_written_are_no_zeros(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("x", (8,), "i8", chunks=(4,))
        dataset[:4] = 1
    with pytest.raises(DatasetCorruptError, match="has 1 of its 2 chunks"):
        open_dataset(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("x", (1 << 40,), "u1", chunks=(1 << 20,))
    with pytest.raises(DatasetCorruptError, match="has 0 bytes in the file"):
        open_dataset(tmp_path / "b.h5")


# ---- tar ----------------------------------------------------------------------------------------


def test_webdataset_reads_our_shard(tmp_path):
    data = [{"jpg": b"\xff\xd8" + bytes([i]), "cls": i, "name": f"ä{i}",
             "mask": torch.arange(4).view(2, 2) * i} for i in range(5)]  # fmt: skip
    path = tmp_path / "a.tar"
    convert(data, path, progress=False)
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False).decode())
    assert len(samples) == 5
    for i, sample in enumerate(samples):
        assert sample["jpg"] == data[i]["jpg"]
        assert sample["cls"] == i
        assert sample["name.txt"] == f"ä{i}"
        assert np.array_equal(sample["mask.npy"], data[i]["mask"].numpy())


def test_shards_that_webdataset_wrote_open(tmp_path):
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        for i in range(4):
            writer.write({"__key__": f"{i:06}", "jpg": bytes([i]) * 3, "cls": i})
    stored = open_dataset(tmp_path / "a.tar")
    assert len(stored) == 4
    assert stored[3] == {"cls": b"3", "jpg": b"\3\3\3"}


def add(archive, name, content=b"", **more):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in more.items():
        setattr(member, key, value)
    archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/etc/passwd.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"]
)
def test_a_member_that_leads_out_of_the_archive_is_refused(name, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "good.txt", b"x")
        add(archive, name, b"x")
    with pytest.raises(DatasetCorruptError, match=r"a\.tar, record 1: .*leads out of the archive"):
        open_dataset(tmp_path / "a.tar")
    assert not (tmp_path.parent / "evil.txt").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_no_plain_file_is_refused(kind, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "a.txt", type=kind, linkname="/etc/passwd")
    with pytest.raises(DatasetCorruptError, match=r"'a\.txt' is no plain file, which is refused"):
        open_dataset(tmp_path / "a.tar")


def test_samples_of_a_shard_must_have_the_same_fields(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("0.jpg", "0.cls", "1.jpg"):
            add(archive, name, b"x")
    with pytest.raises(DatasetCorruptError, match=r"record 1: sample '1' has the fields \['jpg'\]"):
        open_dataset(tmp_path / "a.tar")


# ---- pickle -------------------------------------------------------------------------------------


def test_a_plain_pickle_of_a_list_opens(tmp_path):
    import pickle

    (tmp_path / "a.pkl").write_bytes(pickle.dumps([(1, "a"), (2, "b")]))
    assert open_dataset(tmp_path / "a.pkl", trusted=True)[1] == (torch.tensor(2), "b")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(DatasetCorruptError, match="holds a dict, not a list of samples"):
        open_dataset(tmp_path / "a.pkl", trusted=True)
