"""What can be said of a loader, its dataset and the machine without running anything."""

import itertools
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils import data as torch_data

from dlkit.control_groups import ROOT, memory_left
from dlkit.diagnose.clocks import available_cores
from dlkit.loader import DataLoader
from dlkit.structure import map_structure

_DEPTH = 4  # objects on the way from a dataset to a list of its own
_LOOKED_AT = 64  # files whose size is asked for


@dataclass(frozen=True)
class LoaderFacts:
    """A loader's settings, and what can be seen of its dataset without reading it.

    Attributes:
        kind: `"dlkit"` or `"torch"`.
        num_workers: of the loader.
        worker_method: `"inline"`, `"process"` or `"thread"`.
        start_method: how worker processes start; empty without them.
        batch_size: samples in a full batch, as seen.
        prefetch_factor: batches in flight for each worker.
        persistent_workers: whether workers live on.
        pin_memory: whether batches are pinned.
        in_order: whether batches come in order.
        batches: of an epoch; None if that is not known.
        dataset: name of its class.
        collate: name of the `collate_fn`.
        iterable: whether the dataset is a stream.
        reads_batches: whether the dataset reads a batch by one call.
        python_objects: objects in the largest list or dict that the dataset holds.
        file_bytes: mean size of the files that the dataset lists; None if it lists none.
        moves_to_device: whether the loader copies batches to a device.
    """

    kind: str = "torch"
    num_workers: int = 0
    worker_method: str = "inline"
    start_method: str = ""
    batch_size: int = 1
    prefetch_factor: int = 2
    persistent_workers: bool = False
    pin_memory: bool = False
    in_order: bool = True
    batches: int | None = None
    dataset: str = "Dataset"
    collate: str = "default_collate"
    iterable: bool = False
    reads_batches: bool = False
    python_objects: int = 0
    file_bytes: float | None = None
    moves_to_device: bool = False


@dataclass(frozen=True)
class MachineFacts:
    """What the machine offers.

    Attributes:
        cores: that this process may use.
        accelerator: whether there is one.
        shared_memory: free bytes of /dev/shm; None where there is none.
        open_files: how many files a process may open.
        descriptors: how many this process had open when the profile began.
        memory: bytes that are free or could be freed; None if the system does not say.
    """

    cores: float = 1.0
    accelerator: bool = False
    shared_memory: int | None = None
    open_files: int = 1024
    descriptors: int = 32
    memory: int | None = None


def loader_facts(loader: Any, batch_size: int) -> LoaderFacts:
    """Return a loader's settings.

    Args:
        loader: dlkit's or PyTorch's.
        batch_size: samples in its largest batch so far.
    """
    ours = isinstance(loader, DataLoader)
    workers = loader.num_workers
    method = loader.worker_method if ours else "process"
    start = ""
    if workers and method == "process":
        context = loader.multiprocessing_context or multiprocessing.get_context()
        start = context.get_start_method()
    collections = list(_collections(loader.dataset, _DEPTH))
    return LoaderFacts(
        kind="dlkit" if ours else "torch",
        num_workers=workers,
        worker_method=method if workers else "inline",
        start_method=start,
        batch_size=batch_size,
        prefetch_factor=loader.prefetch_factor or 2,
        persistent_workers=loader.persistent_workers,
        pin_memory=loader.pin_memory,
        in_order=getattr(loader, "in_order", True),
        batches=_length(loader),
        dataset=type(loader.dataset).__name__,
        collate=getattr(loader.collate_fn, "__name__", type(loader.collate_fn).__name__),
        iterable=isinstance(loader.dataset, torch_data.IterableDataset),
        reads_batches=bool(getattr(loader.dataset, "__getitems__", None))
        or (ours and type(loader.dataset) is torch_data.TensorDataset),
        python_objects=max(map(len, collections), default=0),
        file_bytes=_file_bytes(collections),
        moves_to_device=ours and loader.device is not None,
    )


def machine_facts() -> MachineFacts:
    """Return what the machine offers now."""
    return MachineFacts(
        cores=available_cores(),
        accelerator=torch.accelerator.is_available(),
        shared_memory=_free_shared_memory(),
        open_files=_open_files(),
        descriptors=_descriptors(),
        memory=free_memory(),
    )


def tensors_in(batch: Any) -> int:
    """Return how many tensors a nested batch holds.

    Example:
        >>> tensors_in({"x": torch.zeros(2), "y": [torch.zeros(1), 3]})
        2
    """
    found = []

    def count(part: Any) -> Any:
        found.append(isinstance(part, torch.Tensor))
        return part

    map_structure(count, batch)
    return sum(found)


def _length(loader: Any) -> int | None:
    if isinstance(loader.dataset, torch_data.IterableDataset) and not hasattr(
        loader.dataset, "__len__"
    ):
        return None
    told = dict(loader.__dict__)
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None
    finally:  # asking an iterable dataset for its length is noted in the loader
        loader.__dict__.clear()
        loader.__dict__.update(told)


def _collections(thing: Any, depth: int) -> list[Any]:
    """Return the lists and dicts that a dataset, or one inside of it, holds."""
    if depth == 0 or not hasattr(thing, "__dict__"):
        return []
    found: list[Any] = []
    for name, value in list(vars(thing).items()):
        if isinstance(value, list | tuple | dict):
            found.append(value)
        if name in ("dataset", "datasets"):
            inner = value if isinstance(value, list) else [value]
            for one in inner[:8]:
                found += _collections(one, depth - 1)
    return found


def _file_bytes(collections: list[Any]) -> float | None:
    """Return the mean size of the files that a collection lists; None if none does."""
    for collection in collections:
        if len(collection) < 2:
            continue
        values = collection.values() if isinstance(collection, dict) else collection
        sizes = [_size(value) for value in itertools.islice(values, _LOOKED_AT)]
        known = [size for size in sizes if size is not None]
        if len(known) > len(sizes) / 2:
            return sum(known) / len(known)
    return None


def _size(value: Any) -> int | None:
    """Return the size of the file that a path, or the first item of a tuple, names."""
    if isinstance(value, tuple) and value:
        value = value[0]
    if not isinstance(value, str | os.PathLike):
        return None
    try:
        return Path(value).stat().st_size
    except (OSError, ValueError):
        return None


def _free_shared_memory() -> int | None:
    try:
        system = os.statvfs("/dev/shm")
    except (AttributeError, OSError):
        return None
    return system.f_bavail * system.f_frsize


def _open_files() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 8192
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def _descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 32


def free_memory(root: Path = ROOT) -> int | None:
    """Return the bytes that are free or could be freed, on the machine and in its container.

    Args:
        root: where `proc` and `sys` are; another folder than `/` in tests.
    """
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    granted = memory_left(root)
    return min(found + ([] if granted is None else [granted]), default=None)
