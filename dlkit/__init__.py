"""dlkit: a data-loading lab for deep learning.

The way of a batch, and the module that holds each step:

    dataset --indices--> sampler --> fetch --> collate --> worker boundary --> pin, copy --> batch
    datasets             samplers    fetch     collate     workers             device        loader

`import dlkit` needs torch, numpy and cloudpickle only; whatever else a module uses, it imports when
it is called.
"""

from dlkit import collate, datasets, samplers
from dlkit.collate import default_collate, default_convert, pad_collate, register_collate
from dlkit.datasets import (
    ConcatDataset,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    TransformDataset,
    random_split,
)
from dlkit.loader import DataLoader

__version__ = "0.1.0"

__all__ = [
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "IterableDataset",
    "Subset",
    "TensorDataset",
    "TransformDataset",
    "__version__",
    "collate",
    "datasets",
    "default_collate",
    "default_convert",
    "pad_collate",
    "random_split",
    "register_collate",
    "samplers",
]
