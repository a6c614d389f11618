"""Samples in files: seven formats, one way to write them, one dataset that reads them.

    convert(dataset, "train.arrow")  ->  train.arrow  ->  open_dataset("train.arrow")

| format   | library      | a shuffled read costs       | made for                               |
|----------|--------------|-----------------------------|----------------------------------------|
| memmap   | NumPy        | a gather                    | arrays of one shape                    |
| arrow    | pyarrow      | a gather                    | tables, text, bytes                    |
| hdf5     | h5py         | a gather, if contiguous     | arrays that other programs read        |
| parquet  | pyarrow      | decoding a row group        | small files, archives                  |
| tfrecord | google-crc32c| a checksum, or parsing      | files shared with TensorFlow           |
| tar      | Python       | parsing a member            | streaming whole shards                 |
| pickle   | Python       | unpickling                  | files of your own, and nobody else's   |

Read `schema` (what a sample is) and `columns` (many samples) first, then `dataset` (reading),
`convert` with `spool` (writing), and any format: `memmap` is the plainest.
"""

from dlkit.datasets.errors import DatasetCorruptError
from dlkit.storage.convert import convert
from dlkit.storage.dataset import StoredDataset
from dlkit.storage.formats import FORMATS, open_dataset
from dlkit.storage.schema import Field, Schema

__all__ = [
    "FORMATS",
    "DatasetCorruptError",
    "Field",
    "Schema",
    "StoredDataset",
    "convert",
    "open_dataset",
]
