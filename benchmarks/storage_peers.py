"""The loaders of other projects over the same samples, each used as its documentation advises.

    webdataset              WebDataset().decode().to_tuple().batched()          our own tar file
    mosaicml-streaming      StreamingDataset + DataLoader                       MDS shards
    litdata                 StreamingDataset + StreamingDataLoader              optimized chunks
    Hugging Face datasets   load_from_disk().with_format("torch") + DataLoader  Arrow files

None of them has to be installed; those that are not are named. All four go together into an
environment of their own, not into the project's: mosaicml-streaming 0.13 wants numpy below 2.2. All
read in order, which is what their formats are made for.
"""

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils import data as torch_data

from benchmarks.measure import one_pass


@dataclass(frozen=True)
class Samples:
    """What is read: a part of a dataset of images with labels.

    Attributes:
        folder: where a peer may write its files.
        name: of the kind of samples.
        shape: of an image, a uint8 tensor; None if images are bytes.
        pairs: images with labels.
        shard: the same as a tar file.
        batch_size: samples in a batch.
    """

    folder: Path
    name: str
    shape: tuple[int, ...] | None
    pairs: Sequence[Any]
    shard: Path
    batch_size: int

    def images(self) -> list[Any]:
        """Return arrays, or bytes."""
        return [image if isinstance(image, bytes) else image.numpy() for image, _ in self.pairs]

    def labels(self) -> list[int]:
        """Return the labels as integers."""
        return [int(label) for _, label in self.pairs]


Pass = Callable[[], int]


def webdataset(samples: Samples) -> Pass:
    """Read the shard with `webdataset`."""
    import webdataset

    images = "0" if samples.shape is None else "0.npy"
    batch_size, count = samples.batch_size, len(samples.pairs)

    def run() -> int:
        shard = webdataset.WebDataset(str(samples.shard), shardshuffle=False)
        batches = shard.decode().to_tuple(images, "1.cls").batched(batch_size)
        seen = 0
        for _, labels in batches:
            seen += len(labels)
            if seen >= count:
                break
        return seen

    return run


def streaming(samples: Samples) -> Pass:
    """Read MDS shards with `mosaicml-streaming`."""
    from streaming import MDSWriter, StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    folder = samples.folder / f"{samples.name}.mds"
    sides = ",".join(map(str, samples.shape or ()))
    columns = {"x": f"ndarray:uint8:{sides}" if sides else "bytes", "y": "int"}
    with MDSWriter(out=str(folder), columns=columns) as writer:
        for image, label in zip(samples.images(), samples.labels(), strict=True):
            writer.write({"x": image, "y": label})
    clean_stale_shared_memory()  # of an earlier run that was killed
    dataset = StreamingDataset(local=str(folder), shuffle=False, batch_size=samples.batch_size)
    return _passes(torch_data.DataLoader(dataset, samples.batch_size), samples)


class _Pairs:
    """What `litdata.optimize` calls in its worker."""

    def __init__(self, samples: Samples) -> None:
        self.images, self.labels = samples.images(), samples.labels()

    def __call__(self, index: int) -> tuple[Any, int]:
        return self.images[index], self.labels[index]


def litdata(samples: Samples) -> Pass:
    """Read optimized chunks with `litdata`."""
    os.environ.setdefault("DATA_OPTIMIZER_CACHE_FOLDER", str(samples.folder / "litdata"))
    import litdata

    folder, count = str(samples.folder / f"{samples.name}.lit"), len(samples.pairs)
    litdata.optimize(_Pairs(samples), list(range(count)), folder, num_workers=1, chunk_bytes="64MB")
    dataset = litdata.StreamingDataset(folder, shuffle=False)
    settings: dict[str, Any] = {"batch_size": samples.batch_size}
    if samples.shape is None:
        settings["collate_fn"] = _collate_views
    return _passes(litdata.StreamingDataLoader(dataset, **settings), samples)


def _collate_views(samples: Sequence[Any]) -> tuple[list[bytes], torch.Tensor]:
    """Collate bytes that come as views of a chunk, which PyTorch takes for sequences of numbers."""
    images, labels = zip(*samples, strict=True)
    return [bytes(image) for image in images], torch.tensor(labels)


def datasets(samples: Samples) -> Pass:
    """Read an Arrow table with Hugging Face's `datasets`."""
    import datasets

    array = {2: datasets.Array2D, 3: datasets.Array3D}.get(len(samples.shape or ()))
    image = array(samples.shape, "uint8") if array else datasets.Value("binary")
    features = datasets.Features({"x": image, "y": datasets.Value("int64")})
    columns = {"x": samples.images(), "y": samples.labels()}
    folder = str(samples.folder / f"{samples.name}.hf")
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(folder)
    table = datasets.load_from_disk(folder).with_format("torch")
    return _passes(torch_data.DataLoader(table, samples.batch_size), samples)


def _passes(loader: Any, samples: Samples) -> Pass:
    return one_pass(loader, len(samples.pairs))


# name: module, the format of dlkit's that is compared, what makes the peer's pass
PEERS: dict[str, tuple[str, str, Callable[[Samples], Pass]]] = {
    "webdataset": ("webdataset", "tar", webdataset),
    "mosaicml-streaming": ("streaming", "memmap", streaming),
    "litdata": ("litdata", "memmap", litdata),
    "Hugging Face datasets": ("datasets", "arrow", datasets),
}


def is_installed(name: str) -> bool:
    """Whether a peer can be imported."""
    return importlib.util.find_spec(PEERS[name][0]) is not None
