"""A file takes another one's place whole, or not at all."""

import os

import pytest

from dlkit.files import replacing


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("failing", ["block", "replace"])
def test_what_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path, monkeypatch, durable, failing
):
    path = tmp_path / "figures.json"
    path.write_bytes(b"old")

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    def write():
        with replacing(path, durable) as file:
            file.write(b"new")
            if failing == "block":
                fail()

    if failing == "replace":
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_at_once_leave_one_of_the_two_files(tmp_path):
    path = tmp_path / "figures.json"
    with replacing(path) as one, replacing(path) as other:
        one.write(b"one")
        other.write(b"other")
    assert path.read_bytes() == b"one"  # whose block ended last
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named_as_the_system_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"), replacing(tmp_path / "missing" / "a"):
        raise AssertionError("it was never opened")
