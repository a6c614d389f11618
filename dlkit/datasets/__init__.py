"""Datasets: the protocols, the vectorised building blocks, and three sources of images.

Read `base` first (what a dataset is), then `rows` (the gather that makes it fast), then the sources
`digits`, `mnist` and `synthetic`, which import scikit-learn or torchvision only when called.
"""

from dlkit.datasets.base import (
    Columns,
    ConcatDataset,
    Dataset,
    IterableDataset,
    MapDataset,
    Subset,
    TensorDataset,
    TransformDataset,
    VectorisedDataset,
    random_split,
    read_samples,
    vectorised,
)
from dlkit.datasets.digits import digits
from dlkit.datasets.mnist import DatasetUnavailableError, mnist
from dlkit.datasets.synthetic import Cost, SyntheticImages, synthetic_images

__all__ = [
    "Columns",
    "ConcatDataset",
    "Cost",
    "Dataset",
    "DatasetUnavailableError",
    "IterableDataset",
    "MapDataset",
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
