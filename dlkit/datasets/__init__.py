"""Datasets: the protocols, the vectorised building blocks, and three sources of images.

Read `base` first (what a dataset is), then `tensors` and `rows` (the gather that makes it fast) and
`combine`, `strings` for a million of them, then the sources: `digits` (which imports scikit-learn
when called), `mnist` (with `idx` and `download`) and `synthetic`.
"""

from torch.utils.data import Dataset, IterableDataset

from dlkit.datasets.base import Columns, MapDataset, VectorisedDataset, read_samples
from dlkit.datasets.combine import (
    ConcatDataset,
    Subset,
    TransformDataset,
    random_split,
    vectorised,
)
from dlkit.datasets.digits import digits
from dlkit.datasets.errors import DatasetCorruptError
from dlkit.datasets.mnist import DatasetUnavailableError, mnist
from dlkit.datasets.strings import PackedStrings
from dlkit.datasets.synthetic import Cost, SyntheticImages, synthetic_images
from dlkit.datasets.tensors import TensorDataset

__all__ = [
    "Columns",
    "ConcatDataset",
    "Cost",
    "Dataset",
    "DatasetCorruptError",
    "DatasetUnavailableError",
    "IterableDataset",
    "MapDataset",
    "PackedStrings",
    "Subset",
    "SyntheticImages",
    "TensorDataset",
    "TransformDataset",
    "VectorisedDataset",
    "digits",
    "mnist",
    "random_split",
    "read_samples",
    "synthetic_images",
    "vectorised",
]
