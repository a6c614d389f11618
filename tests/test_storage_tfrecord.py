"""TFRecord: what others read and write, and batches that are what each of their records is."""

import os
import struct

import numpy as np
import pytest
import tfrecord
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_cases import DATASETS, assert_same
from tfrecord.tools.tfrecord2idx import create_index

from dlkit.storage import DatasetCorruptError, convert, open_dataset
from dlkit.storage.columns import DamagedRecordError
from dlkit.storage.example import (
    BYTES,
    FLOATS,
    INTS,
    MessageError,
    decode_varints,
    dump_example,
    find_features,
    load_example,
)
from dlkit.storage.tfrecord_batches import LAYOUTS
from dlkit.storage.tfrecord_frames import AFTER, BEFORE, CRC, masked_crc

IMAGES = DATASETS["images"]

# ---- other programs -----------------------------------------------------------------------------


def test_an_independent_reader_reads_our_tfrecord_and_its_index(tmp_path):
    data = [{"image": torch.arange(6, dtype=torch.uint8) + i, "label": i - 1, "p": np.float32(i)}
            for i in range(5)]  # fmt: skip
    path = tmp_path / "a.tfrecord"
    convert(data, path, progress=False)
    types = {"image": "byte", "label": "int", "p": "float", "image/shape": "int"}
    for index in (None, str(tmp_path / "a.tfindex")):
        # With an index it begins at a random record and goes round.
        records = list(tfrecord.tfrecord_loader(str(path), index, types))
        records.sort(key=lambda record: record["label"].item())
        for record, sample in zip(records, data, strict=True):
            assert bytes(record["image"]) == sample["image"].numpy().tobytes()
            assert record["label"].tolist() == [sample["label"]]
            assert record["p"].tolist() == [float(sample["p"])]
            assert record["image/shape"].tolist() == [6]
    create_index(str(path), str(tmp_path / "theirs"))
    assert (tmp_path / "theirs").read_text() == (tmp_path / "a.tfindex").read_text()


def test_our_checksums_are_those_that_an_independent_writer_makes(tmp_path):
    features = {"a": (b"x" * 300, "byte"), "b": ([1, -1, 2**40], "int"), "c": (0.5, "float")}
    writer = tfrecord.TFRecordWriter(str(tmp_path / "theirs.tfrecord"))
    for _ in range(3):
        writer.write(features)
    writer.close()
    theirs = (tmp_path / "theirs.tfrecord").read_bytes()
    length = struct.unpack("<Q", theirs[:8])[0]
    assert struct.unpack("<I", theirs[8:12])[0] == masked_crc(theirs[:8])
    content = theirs[12 : 12 + length]
    assert struct.unpack("<I", theirs[12 + length : 16 + length])[0] == masked_crc(content)
    stored = open_dataset(tmp_path / "theirs.tfrecord")
    assert len(stored) == 3
    expected = {"a": b"x" * 300, "b": torch.tensor([1, -1, 2**40]), "c": torch.tensor([0.5])}
    assert_same(stored[2], expected)


def test_a_tfrecord_reads_without_its_index_and_with_one_of_another_file(tmp_path):
    path, index = tmp_path / "a.tfrecord", tmp_path / "a.tfindex"
    convert(IMAGES, path, progress=False)
    whole = index.read_text()
    for text in ("", "0 nonsense\n", "0 99999999999999\n", whole[: len(whole) // 2], "5 100\n"):
        index.write_text(text)
        assert open_dataset(path)[39][1] == 39
    index.unlink()
    assert open_dataset(path)[39][1] == 39


# ---- batches ------------------------------------------------------------------------------------

LABELS = (0, 1, -1, 127, 128, 300, -300, 2**62, -(2**63))


def mixed():
    """Records of some sizes and layouts, several of each size that differ in structure."""
    for number in range(60):
        label = LABELS[number * 7 % len(LABELS)]
        shape = ((2, 3), (3, 2), (6,))[number % 3]
        image = torch.arange(6).reshape(shape) + number
        text = "x" * (number % 4 // 2)
        yield {"image": image, "label": label, "p": np.float32(number), "t": text, "u": number * 40}


def count_long_way(stored):
    """Count how many records are parsed by themselves."""
    reader, numbers = stored.reader, []
    long_way = reader.record

    def record(number):
        numbers.append(number)
        return long_way(number)

    reader.record = record
    return numbers


@pytest.mark.parametrize("indices", [range(60), range(59, -1, -1), [3] * 9, [1, 4, 1, 7, 10, 0]])
def test_a_batch_of_records_of_many_layouts_is_what_each_of_them_is(tmp_path, indices):
    data = list(mixed())
    stored = convert(data, tmp_path / "a.tfrecord", progress=False)
    for _ in range(2):  # the second time the layouts are known
        assert_same(list(stored.__getitems__(list(indices))), [stored[i] for i in indices])


def test_records_that_are_alike_are_not_parsed_one_by_one(tmp_path):
    data = [(torch.full((4, 5), i % 256, dtype=torch.uint8), i % 300) for i in range(600)]
    stored = convert(data, tmp_path / "a.tfrecord", progress=False)
    parsed = count_long_way(stored)
    images, labels = stored.__getitems__(range(600)).columns
    assert labels.tolist() == [i % 300 for i in range(600)]
    assert torch.equal(images[599], data[599][0])
    # One of each size, and the first record, which has the header of the file.
    assert len(parsed) <= 3
    parsed.clear()
    stored.__getitems__(range(1, 600))
    assert parsed == []


def test_records_that_no_two_are_alike_are_read_one_by_one(tmp_path):
    data = [(bytes(i), i) for i in range(40)]
    stored = convert(data, tmp_path / "a.tfrecord", progress=False)
    parsed = count_long_way(stored)
    assert [sample[0] for sample in stored.__getitems__(range(40))] == [bytes(i) for i in range(40)]
    assert sorted(parsed) == list(range(40))


def test_sizes_of_which_few_layouts_are_known_do_not_stop_others(tmp_path):
    shapes = [(1, 16), (16, 1), (2, 8), (8, 2), (4, 4), (16,)]  # more than are remembered
    assert len(shapes) > LAYOUTS
    data = [torch.arange(16).reshape(shape) + i for i, shape in enumerate(shapes * 8)]
    stored = convert(data, tmp_path / "a.tfrecord", progress=False)
    for _ in range(2):
        assert_same(list(stored.__getitems__(range(48))), data)


@pytest.mark.parametrize("change", [0x01, 0x80, 0x81, 0x7F])
def test_a_changed_byte_with_a_right_checksum_is_read_or_refused_as_alone(tmp_path, change):
    """Where another program wrote nonsense, a batch must not believe its layout."""
    path = tmp_path / "a.tfrecord"
    data = [(torch.tensor([i, 2], dtype=torch.uint8), 300 + i, np.float32(i)) for i in range(7)]
    stored = convert(data, path, progress=False)
    stored.__getitems__(range(1, 7))  # learn the layout
    start, size = stored.reader._index[3].tolist()
    whole = path.read_bytes()
    with path.open("r+b") as file:
        for place in range(start, start + size):
            content = bytearray(whole[start : start + size])
            content[place - start] ^= change
            if place - start >= BEFORE and place - start < size - AFTER:
                content[-AFTER:] = CRC.pack(masked_crc(bytes(content[BEFORE:-AFTER])))
            file.seek(start)
            file.write(content)
            file.flush()  # the file is mapped, so its reader sees it
            try:
                alone = [stored.reader.record(i) for i in range(1, 7)]
            except DamagedRecordError:
                with pytest.raises(DatasetCorruptError, match="record 3"):
                    stored.__getitems__(range(1, 7))
                continue
            together = list(stored.__getitems__(range(1, 7)))
            for (image, label, p), sample in zip(alone, together, strict=True):
                assert np.array_equal(image, sample[0])
                assert (label, p) == (sample[1], sample[2])
    assert os.path.getsize(path) == len(whole)


def test_a_damaged_record_in_a_batch_is_named_and_the_others_are_read(tmp_path):
    path = tmp_path / "a.tfrecord"
    convert([(torch.full((30,), i), i) for i in range(20)], path, progress=False)
    content = path.read_bytes()
    row = np.full(30, 11).tobytes()
    assert content.count(row) == 1
    path.unlink()
    path.write_bytes(content.replace(row, row[:-1] + b"\1"))
    stored = open_dataset(path)
    indices = [5, 11, 2, 7, 9, 13]
    with pytest.raises(DatasetCorruptError, match="record 11: its content fails its checksum"):
        stored.__getitems__(indices)
    indices.remove(11)
    assert [int(label) for _, label in stored.__getitems__(indices)] == indices


def test_records_of_other_programs_are_read_in_batches_too(tmp_path):
    writer = tfrecord.TFRecordWriter(str(tmp_path / "a.tfrecord"))
    for i in range(12):
        writer.write(
            {
                "image": (bytes([i]) * 50, "byte"),
                "boxes": ([i / 2] * (3 if i % 4 else 5), "float"),
                "ids": ([i, -i, 1000 * i], "int"),
            }
        )
    writer.close()
    stored = open_dataset(tmp_path / "a.tfrecord")
    parsed = count_long_way(stored)
    samples = list(stored.__getitems__(range(12)))
    assert len(parsed) < 12
    for i, sample in enumerate(samples):
        assert sample["image"] == bytes([i]) * 50
        assert sample["boxes"].tolist() == [i / 2] * (3 if i % 4 else 5)
        assert sample["ids"].tolist() == [i, -i, 1000 * i]


# ---- the message --------------------------------------------------------------------------------


def test_an_example_is_what_protobuf_makes_of_it():
    from tfrecord.example_pb2 import Example

    features = {"ä": (BYTES, [b"", b"\0x"]), "f": (FLOATS, [1.5, -2.0]), "i": (INTS, [0, -1, 300])}
    message = Example.FromString(dump_example(features))
    assert list(message.features.feature["ä"].bytes_list.value) == [b"", b"\0x"]
    assert list(message.features.feature["f"].float_list.value) == [1.5, -2.0]
    assert list(message.features.feature["i"].int64_list.value) == [0, -1, 300]
    back = load_example(message.SerializeToString())
    assert {name: (kind, list(values)) for name, (kind, values) in back.items()} == features


def test_every_cut_of_an_example_is_read_or_refused():
    content = dump_example({"a": (BYTES, [b"xyz"]), "i": (INTS, [1, 2**40])})
    for end in range(len(content)):
        try:
            load_example(content[:end])
        except MessageError:
            continue
        assert end == 0, end  # the empty message is one


@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6), min_size=1, max_size=4))
def test_varints_are_decoded_as_protobuf_encodes_them(rows):
    from tfrecord.example_pb2 import Int64List

    for row in rows:
        content = Int64List(value=row).SerializeToString()
        features = dump_example({"i": (INTS, row)})
        assert load_example(features)["i"][1].tolist() == row
        _, spans = find_features(features)["i"]
        assert b"".join(features[start:stop] for start, stop in spans) == content[2:]


@pytest.mark.parametrize("block", [b"\x80", b"\x01\xff", b"\x80" * 10 + b"\x01"])
def test_an_integer_that_does_not_end_is_refused(block):
    with pytest.raises(MessageError, match="a number does not end"):
        decode_varints(np.frombuffer(block, np.uint8)[None])


FEATURES = st.dictionaries(
    st.text(max_size=3),
    st.one_of(
        st.tuples(st.just(BYTES), st.lists(st.binary(max_size=200), max_size=3)),
        st.tuples(st.just(FLOATS), st.lists(st.floats(width=32, allow_nan=False), max_size=3)),
        st.tuples(st.just(INTS), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)),
    ),
    max_size=4,
)


@settings(deadline=None)
@given(FEATURES, st.randoms(use_true_random=False))
def test_an_example_that_was_damaged_anywhere_is_read_or_refused(features, random):
    content = bytearray(dump_example(features))
    for _ in range(min(20, len(content))):
        changed = bytearray(content)
        changed[random.randrange(len(content))] = random.randrange(256)
        try:
            found = load_example(bytes(changed))
        except MessageError:
            continue
        for _, (start, stop) in _spans(bytes(changed)):
            assert 0 <= start <= stop <= len(content)
        assert all(kind in (BYTES, FLOATS, INTS) for kind, _ in found.values())


def _spans(content):
    for name, (_, spans) in find_features(content).items():
        for span in spans:
            yield name, span
