"""Memory that the parts of a batch are written into.

Wherever dlkit makes a batch, it asks here for a place first. There is one in a worker, for as long
as it collates: a slot of shared memory, so that the batch need not be copied to get out of its
process, or in a thread memory that an earlier batch has left. Everywhere else the answer is None,
and the batch is made in new memory.

    with writing_into(slot):
        batch = default_collate(samples)      # torch.stack(samples, out=<a piece of the slot>)
"""

import contextlib
import ctypes
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Bytes = npt.NDArray[np.uint8]
# Smaller parts, such as labels, have memory of their own: who keeps the labels of an epoch must not
# keep its images too.
LARGE = 1 << 14  # bytes


class Memory(Protocol):
    """Memory that hands out its pieces one after another."""

    def take(self, nbytes: int) -> Bytes | None:
        """Return `nbytes` that nobody else was given, or None if so much is not left."""
        ...


class _Here(threading.local):
    # Of a thread, not of a process: threads that a dataset has started make tensors of their own.
    memory: Memory | None = None


here = _Here()


@contextmanager
def writing_into(memory: Memory) -> Iterator[None]:
    """Let batches that this thread makes inside the `with` be written into `memory`."""
    here.memory = memory
    try:
        yield
    finally:
        here.memory = None


class Target:
    """Where one worker writes its batches: into `memory`, unless that is None."""

    def __init__(self) -> None:
        self.memory: Memory | None = None

    def writing(self, make: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a function that does what `make` does, and writes its batch into the memory."""

        def run(samples: Any) -> Any:
            if self.memory is None:
                return make(samples)
            with writing_into(self.memory):
                return make(samples)

        return run


def prepared_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any] | None:
    """Return an uninitialised array in the memory that is written into; None if there is none.

    Example:
        >>> prepared_array((2, 3), np.dtype("float32")) is None
        True
    """
    piece = _piece(math.prod(shape) * dtype.itemsize)
    return None if piece is None else piece.view(dtype).reshape(shape)


def prepared_tensor(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor | None:
    """Return an uninitialised tensor in the memory that is written into; None if there is none."""
    piece = _piece(math.prod(shape) * dtype.itemsize)
    return None if piece is None else torch.frombuffer(piece, dtype=dtype).view(shape)


def _piece(nbytes: int) -> Bytes | None:
    memory = here.memory
    return None if memory is None or nbytes < LARGE else memory.take(nbytes)


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of malloc.h


def keep_freed_memory() -> None:
    """Let this process keep what the samples of a batch took, for those of the next one.

    malloc would give memory of that size back to the system each time, and touching new pages takes
    a tenth of the time of decoding an image; several threads also wait for each other there. (This
    is about glibc's malloc; others are left as they are, and so is one that the user has set by
    `MALLOC_TRIM_THRESHOLD_` or `MALLOC_MMAP_THRESHOLD_`.)
    """
    if {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys():
        return
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 1 << 25)  # bytes from which an allocation is one of the system's
        mallopt(_TRIM_THRESHOLD, 1 << 27)  # free bytes at the heap's end that are given back
