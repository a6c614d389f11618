"""How fast each format is on this machine: the same samples, read in order and shuffled.

    samples -> convert to each format -> for order, for workers: one pass, timed

For the notebook and its widget; `benchmarks/storage.py` measures with more care, and the peers too.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlkit.loader import DataLoader
from dlkit.storage.convert import convert
from dlkit.storage.dataset import StoredDataset
from dlkit.storage.formats import FORMATS
from dlkit.storage.tfrecord_frames import index_path

ORDERS = ("in order", "shuffled")


@dataclass(frozen=True)
class Throughput:
    """How fast one format was read in one way.

    Attributes:
        format: its name.
        order: `"in order"` or `"shuffled"`.
        workers: threads that read; with 0 the training loop reads.
        samples_per_second: the best of the repeats.
    """

    format: str
    order: str
    workers: int
    samples_per_second: float


def write_all(dataset: Any, folder: Path, name: str = "data") -> dict[str, StoredDataset]:
    """Convert a dataset to every format.

    Args:
        dataset: map-style.
        folder: where to; what is there of an earlier call is replaced.
        name: of the files, without their suffix.

    Returns:
        The stored datasets by the name of their format.
    """
    return {
        format: convert(
            dataset, folder / f"{name}.{format}", format, overwrite=True, progress=False
        )
        for format in FORMATS
    }


def bytes_on_disk(stored: StoredDataset) -> int:
    """Return how many bytes a stored dataset takes, its index included."""
    path = stored.path
    parts = [*path.iterdir()] if path.is_dir() else [path]
    if stored.format == "tfrecord":  # files of other formats may have the same name before the dot
        parts.append(index_path(path))
    return sum(part.stat().st_size for part in parts if part.is_file())


def measure(
    stored: Mapping[str, StoredDataset],
    *,
    batch_size: int = 256,
    samples: int = 2048,
    workers: Sequence[int] = (0,),
    repeats: int = 2,
) -> list[Throughput]:
    """Time one pass over each format for each order and number of worker threads.

    Args:
        stored: datasets of the same length, by format.
        batch_size: samples in a batch.
        samples: of one pass, drawn from the whole dataset if they are shuffled.
        workers: numbers of threads.
        repeats: passes, of which the fastest counts.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     stored = {"memmap": convert(range(9), f"{folder}/a.memmap", progress=False)}
        ...     found = measure(stored, batch_size=4, samples=9)
        >>> [(one.format, one.order, one.samples_per_second > 0) for one in found]
        [('memmap', 'in order', True), ('memmap', 'shuffled', True)]
    """
    found = []
    for format, dataset in stored.items():
        for order in ORDERS:
            count = len(dataset)
            drawn = np.arange(count)
            if order == "shuffled":
                drawn = np.random.default_rng(0).permutation(count)
            for threads in workers:
                loader = DataLoader(
                    dataset,
                    batch_size,
                    sampler=drawn[:samples].tolist(),
                    num_workers=threads,
                    worker_method="thread" if threads else "process",
                )
                rate = max(_pass(loader, min(samples, count)) for _ in range(repeats))
                found.append(Throughput(format, order, threads, rate))
    return found


def _pass(loader: Any, samples: int) -> float:
    start = time.perf_counter()
    for _ in loader:
        pass
    return samples / (time.perf_counter() - start)
