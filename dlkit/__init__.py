"""dlkit: a data-loading lab for deep learning.

The way of a batch, and the module that holds each step:

    dataset --indices--> sampler --> fetch --> collate --> worker boundary --> pin, copy --> batch
    datasets             samplers    fetch     collate     workers             device        loader

README.md has the order in which all modules are read, from here to the command line.

Using it needs torch, numpy and cloudpickle only; whatever else a module wants, it imports when it
is called. The names below are imported at their first use, so that `dlkit --help` is there at once
and `dlkit doctor` can report a torch that does not import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlkit import collate, datasets, ddp, samplers
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
    from dlkit.diagnose.predict import predict
    from dlkit.diagnose.profiled import Profile
    from dlkit.diagnose.profiling import profile
    from dlkit.diagnose.sweep import sweep
    from dlkit.diagnose.tune import tune
    from dlkit.failures import SampleError, WorkerDiedError, WorkerTimeoutError
    from dlkit.loader import DataLoader
    from dlkit.trace import Trace
    from dlkit.workers.info import get_worker_info

__version__ = "0.1.0"

__all__ = [
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "IterableDataset",
    "Profile",
    "SampleError",
    "Subset",
    "TensorDataset",
    "Trace",
    "TransformDataset",
    "WorkerDiedError",
    "WorkerTimeoutError",
    "__version__",
    "collate",
    "datasets",
    "ddp",
    "default_collate",
    "default_convert",
    "get_worker_info",
    "pad_collate",
    "predict",
    "profile",
    "random_split",
    "register_collate",
    "samplers",
    "sweep",
    "tune",
]

# After `import dlkit` alone these are there as `dlkit.storage` and so on.
_MODULES = (
    "batch_size",
    "cache",
    "collate",
    "datasets",
    "ddp",
    "samplers",
    "storage",
    "streaming",
    "trace",
    "trainer",
    "transforms",
)
_HOMES = (
    "dlkit.loader",
    "dlkit.datasets",
    "dlkit.collate",
    "dlkit.failures",
    "dlkit.workers.info",
    "dlkit.trace",
    "dlkit.diagnose.predict",
    "dlkit.diagnose.profiled",
    "dlkit.diagnose.profiling",
    "dlkit.diagnose.sweep",
    "dlkit.diagnose.tune",
)


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it, and keep it."""
    if name in _MODULES:
        return import_module(f"dlkit.{name}")
    if name in __all__:
        home = next(module for module in map(import_module, _HOMES) if hasattr(module, name))
        globals()[name] = getattr(home, name)
        return globals()[name]
    raise AttributeError(f"module 'dlkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
