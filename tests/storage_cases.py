"""What tests of storage share: data sets of every kind, and how two samples are compared."""

from pathlib import Path

import numpy as np
import torch

from dlkit import TensorDataset, default_collate
from dlkit.storage import FORMATS, open_dataset

NAMES = list(FORMATS)
TEXTS = ["", "a", "größe", "\U0001f600\0x", "e\u0301", "\n"]


DTYPES = (
    *("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128", "bfloat16", "float8_e4m3fn"),
)


def every_dtype():
    values = torch.tensor([0.0, 1.0, 2.0, 0.5])
    return [{name: (values + row).to(getattr(torch, name)) for name in DTYPES} for row in range(2)]


DATASETS = {
    "images": TensorDataset(
        torch.arange(40 * 12).remainder(256).to(torch.uint8).view(40, 1, 3, 4), torch.arange(40)
    ),
    "texts": [{"text": text, "blob": text.encode() * 2, "n": i} for i, text in enumerate(TEXTS)],
    "numbers": [(i, i / 3, i % 2 == 0, np.float32(i), np.int16(-i)) for i in range(5)],
    "shapes": [(torch.randn(i, 3), f"{i}") for i in range(6)],
    "dimensions": [torch.zeros(2), torch.ones(2, 3), torch.tensor(4.0)],
    "strings": ["a", "", "ß"],
    "dtypes": every_dtype(),
    "no bytes": [(torch.zeros(0, 3), 1), (torch.zeros(0, 3), 2)],
    "arrays": [{"x": np.arange(6.0).reshape(2, 3) * i} for i in range(3)],
    "big-endian": [np.arange(3, dtype=">i4") + i for i in range(2)],
    "none": [],
    "one": [(torch.ones(2), "one")],
}


def assert_same(ours, theirs):
    """Check two batches or samples for equality, types included."""
    assert type(ours) is type(theirs), (type(ours), type(theirs))
    if isinstance(ours, torch.Tensor):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        bits = [t.contiguous().reshape(-1).view(torch.uint8) for t in (ours, theirs)]
        assert torch.equal(*bits)
    elif isinstance(ours, dict):
        assert list(ours) == list(theirs)
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    else:
        assert ours == theirs


def collated(dataset, indices):
    """Each sample as a batch of one, so that shapes may differ."""
    return [default_collate([native(dataset[index])]) for index in indices]


def native(sample):
    """A sample whose arrays torch can take: default_collate refuses other byte orders."""
    if isinstance(sample, np.ndarray):
        return sample.astype(sample.dtype.newbyteorder("="))
    return sample


def read_all(path: Path):
    """Open a dataset, compare its checksums, and read every sample."""
    stored = open_dataset(path, trusted=True)
    stored.verify()
    return [stored[index] for index in range(len(stored))]


def files_of(path: Path):
    """The files that make up a dataset."""
    return sorted(path.iterdir()) if path.is_dir() else [path]
