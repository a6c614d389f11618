"""`get_worker_info`: who am I, asked by a dataset inside a worker.

PyTorch's function reads a variable of its module, which suits a process with one worker in it.
Threads are workers beside each other in one process, so there the answer depends on who asks.
"""

import random
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data._utils import worker as torch_worker
from torch.utils.data._utils.worker import WorkerInfo


@dataclass(frozen=True, slots=True)
class WorkerRNG:
    """Generators of one thread worker, seeded as a process worker's global ones are.

    Attributes:
        random_generator: in place of the functions of `random`.
        torch_generator: for the `generator` argument of PyTorch's functions.
        numpy_generator: in place of the functions of `np.random`.
    """

    random_generator: random.Random
    torch_generator: torch.Generator
    numpy_generator: np.random.RandomState


class _OfThread(threading.local):
    info: WorkerInfo | None = None


_of_thread = _OfThread()


def get_worker_info() -> WorkerInfo | None:
    """Return the number and seed of the worker that calls, None outside of workers.

    The same as `torch.utils.data.get_worker_info`, which answers in dlkit's workers too: a dataset
    that takes its share by it does so under either loader.

    Returns:
        An object with `id`, `num_workers`, `seed`, `dataset`, `worker_method` ("multiprocessing" or
        "thread") and, in a thread, `rng`: generators of its own (`WorkerRNG`). The global ones are
        shared by all threads, so what each draws from them depends on how they take turns.

    Example:
        >>> get_worker_info() is None
        True
    """
    info: WorkerInfo | None = torch_worker.get_worker_info()
    return info


def in_thread_worker() -> bool:
    """Whether a worker thread asks, which shares its dataset with others.

    Example:
        >>> in_thread_worker()
        False
    """
    return _of_thread.info is not None


def set_process_info(info: WorkerInfo) -> None:
    """Say who this process is."""
    torch_worker._worker_info = info
    _of_thread.info = None  # a thread worker may have forked this process


def set_thread_info(info: WorkerInfo | None) -> None:
    """Say who this thread is."""
    _teach_torch()
    _of_thread.info = info


def worker_info(
    number: int, size: int, seed: int, dataset: Any, rng: WorkerRNG | None = None
) -> WorkerInfo:
    """Make PyTorch's description of a worker."""
    settings: dict[str, Any] = {"id": number, "num_workers": size, "seed": seed, "dataset": dataset}
    if rng is None:
        return WorkerInfo(**settings)
    try:
        settings_of_thread: dict[str, Any] = {"rng": rng, "worker_method": "thread"}
        return WorkerInfo(**settings, **settings_of_thread)
    except TypeError:  # a PyTorch whose WorkerInfo has no place for them
        return WorkerInfo(**settings)


def numpy_seed(base_seed: int, worker: int) -> list[int]:
    """The seed of NumPy's generator in a worker, which PyTorch mixes in a way of its own."""
    return list(torch_worker._generate_state(base_seed, worker))  # type: ignore[no-untyped-call]


def _answer() -> Any:
    # Runs with the globals of PyTorch's module, see below.
    return _dlkit_thread.info or _worker_info  # type: ignore[name-defined] # noqa: F821


def _teach_torch() -> None:
    """Let PyTorch's `get_worker_info` answer in threads too.

    Datasets have imported that function by name, so it is its body that has to change: no other
    object would be asked.
    """
    if torch_worker.__dict__.get("_dlkit_thread") is not _of_thread:
        torch_worker.__dict__["_dlkit_thread"] = _of_thread
        torch_worker.get_worker_info.__code__ = _answer.__code__
