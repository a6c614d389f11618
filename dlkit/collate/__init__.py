"""Samples to a batch: from a list of n samples to one sample whose tensors have n rows.

    [(image [1, 28, 28], 7), (image [1, 28, 28], 2)]  ->  [images [2, 1, 28, 28], tensor([7, 2])]

`default_collate` goes down into tuples, lists, mappings and dataclasses until it meets something
that can be stacked (`stacking`), with PyTorch's results for everything that PyTorch accepts.
`pad_collate` does the same for sequences of different lengths, which cannot be stacked until they
are padded. An error names the path inside the sample, as you would write it: `sample['boxes'][2]`.
"""

from dlkit.collate.default import default_collate, default_convert, register_collate
from dlkit.collate.padding import Padded, pad_collate

__all__ = ["Padded", "default_collate", "default_convert", "pad_collate", "register_collate"]
