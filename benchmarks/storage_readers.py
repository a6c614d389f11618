"""Datasets over stored files as users write them: one sample at a time, with each format's library.

They read the very files that `dlkit.storage.convert` wrote, of samples `(image, label)` where the
image is a uint8 array of one shape, or bytes.
"""

import io
import json
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import data as torch_data


class Plain(torch_data.Dataset[tuple[Any, int]]):
    """A file of n samples; a subclass opens it when it is first read, and reads one.

    Args:
        path: what `convert` wrote.
        length: number of samples.
        shape: of an image; None if images are bytes.
    """

    def __init__(self, path: Path, length: int, shape: tuple[int, ...] | None) -> None:
        self.path, self.length, self.shape = path, length, shape
        self.file: Any = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if self.file is None:
            self.file = self.open()
        return self.read(index)

    def open(self) -> Any:
        """Open the file."""
        raise NotImplementedError

    def read(self, index: int) -> tuple[Any, int]:
        """Read one sample."""
        raise NotImplementedError

    def image(self, content: bytes) -> Any:
        """Make a tensor of an image's bytes, unless it is bytes itself."""
        if self.shape is None:
            return content
        return torch.from_numpy(np.frombuffer(content, np.uint8).reshape(self.shape).copy())


class Memmap(Plain):
    """`numpy.load(mmap_mode="r")`."""

    def open(self) -> Any:
        """Map the arrays."""
        parts = [f"{n}.{p}" for n in (0, 1) for p in ("values", "offsets")]
        files = {part: next(iter(self.path.glob(f"{part}.*")), None) for part in parts}
        return {p: np.load(file, mmap_mode="r") for p, file in files.items() if file is not None}

    def read(self, index: int) -> tuple[Any, int]:
        """Copy a row."""
        values = self.file["0.values"]
        label = int(self.file["1.values"][index])
        if self.shape is None:
            start, end = self.file["0.offsets"][index : index + 2]
            return values[start:end].tobytes(), label
        return torch.from_numpy(np.array(values[index])), label


class Arrow(Plain):
    """`pyarrow.ipc.open_file` over a memory map."""

    def open(self) -> Any:
        """Map the table."""
        import pyarrow as pa

        return pa.ipc.open_file(pa.memory_map(str(self.path))).read_all()

    def read(self, index: int) -> tuple[Any, int]:
        """Take the scalars of a row."""
        return self.image(self.file[0][index].as_py()), self.file[1][index].as_py()


class Parquet(Plain):
    """`pyarrow.parquet.ParquetFile.read_row_group`; the last group is kept, as anybody would."""

    def open(self) -> Any:
        """Read the footer."""
        import pyarrow.parquet as pq

        file = pq.ParquetFile(self.path)
        rows = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
        self.starts = np.cumsum([0, *rows])
        self.kept: tuple[int, Any] = (-1, None)
        return file

    def read(self, index: int) -> tuple[Any, int]:
        """Decode a row group, and take a row."""
        group = int(np.searchsorted(self.starts, index, side="right")) - 1
        if self.kept[0] != group:
            self.kept = group, self.file.read_row_group(group, use_threads=False)
        row = index - int(self.starts[group])
        table = self.kept[1]
        return self.image(table[0][row].as_py()), table[1][row].as_py()


class Hdf5(Plain):
    """`h5py.Dataset.__getitem__`."""

    def open(self) -> Any:
        """Open the file."""
        import h5py

        return h5py.File(self.path, "r")

    def read(self, index: int) -> tuple[Any, int]:
        """Read a row."""
        values, label = self.file["0/values"], int(self.file["1/values"][index])
        if self.shape is None:
            start, end = self.file["0/offsets"][index : index + 2]
            return values[start:end].tobytes(), label
        return torch.from_numpy(values[index]), label


class TFRecord(Plain):
    """Seek by the index, parse by protobuf: what the `tfrecord` package does, in any order."""

    def open(self) -> Any:
        """Read the index."""
        self.index = np.loadtxt(self.path.with_suffix(".tfindex"), np.int64, ndmin=2)
        return self.path.open("rb")

    def read(self, index: int) -> tuple[Any, int]:
        """Read a record."""
        from tfrecord.example_pb2 import Example

        self.file.seek(int(self.index[index, 0]))
        (size,) = struct.unpack("<Q", self.file.read(12)[:8])
        features = Example.FromString(self.file.read(size)).features.feature
        return self.image(features["0"].bytes_list.value[0]), features["1"].int64_list.value[0]


class Tar(Plain):
    """`tarfile`, with the members in a list."""

    def open(self) -> Any:
        """Go through all members."""
        archive = tarfile.open(self.path)  # noqa: SIM115
        self.members = archive.getmembers()
        return archive

    def read(self, index: int) -> tuple[Any, int]:
        """Read both members of a sample."""
        image, label = (self.file.extractfile(m).read() for m in self.members[2 * index :][:2])
        if self.shape is None:
            return image, int(label)
        return torch.from_numpy(np.load(io.BytesIO(image))), int(label)


class Pickle(Plain):
    """Seek and `pickle.load`."""

    def open(self) -> Any:
        """Read the places from the end of the file."""
        content = self.path.read_bytes()
        place, size, _, _ = struct.unpack("<QQI8s", content[-28:])
        start, length, _ = json.loads(content[place : place + size])["index"]
        self.places = [p for p, _, _ in struct.iter_unpack("<QQI", content[start : start + length])]
        return self.path.open("rb")

    def read(self, index: int) -> tuple[Any, int]:
        """Load a sample."""
        self.file.seek(self.places[index])
        image, label = pickle.load(self.file)
        return (image if self.shape is None else torch.from_numpy(image)), int(label)


READERS: dict[str, type[Plain]] = {
    "memmap": Memmap, "arrow": Arrow, "parquet": Parquet, "hdf5": Hdf5, "tfrecord": TFRecord,
    "tar": Tar, "pickle": Pickle,
}  # fmt: skip
