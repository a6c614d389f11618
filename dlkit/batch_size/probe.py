"""The largest batch that fits into the device's memory, found by trying.

1 fits, 2 fits, 4 fits, ... 64 does not  ->  halve between 32 and 64
"""

import gc
from collections.abc import Callable

import torch

from dlkit.batch_size.host import host_memory_limit
from dlkit.checks import check_positive_int

_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


def largest_batch_size(
    step: Callable[[int], object],
    *,
    smallest: int = 1,
    largest: int = 65_536,
    host_bytes: int | None = None,
) -> int:
    """Return the largest batch size for which a training step does not run out of memory.

    Leave some room below the result: memory is fragmented differently in a long run, and other
    inputs may be larger.

    Args:
        step: does one whole training step with a batch of that many samples: forward, backward and
            optimizer, for each of them takes memory. Its result is dropped.
        smallest: where to start; it must fit.
        largest: batch size that is not exceeded.
        host_bytes: bytes of the host's memory that a step may take. A device that is full says
            so, but a host may end the process, so where training runs on the CPU set this (on
            Linux).

    Returns:
        A number of samples. Under DDP it is the smallest over all ranks.

    Raises:
        MemoryError: if `smallest` does not fit; under DDP on all ranks, if it does not on one.
        TypeError: if `step` cannot be called.
        ValueError: if a number is no positive integer, or `largest` is below `smallest`.

    Example:
        >>> def step(samples):
        ...     if samples > 100:
        ...         raise torch.OutOfMemoryError("CUDA out of memory")
        >>> largest_batch_size(step)
        100
    """
    check_probe(step, smallest, largest, host_bytes)
    with host_memory_limit(host_bytes):
        found = _search(step, smallest, largest)
    found = _smallest_of_all_ranks(found)  # before an error, or the other ranks would wait
    if not found:
        raise MemoryError(f"a batch of {smallest} samples does not fit into memory")
    return found


def check_probe(step: object, smallest: int, largest: int, host_bytes: int | None) -> None:
    """Raise `TypeError` or `ValueError` for arguments that `largest_batch_size` cannot have."""
    if not callable(step):
        raise TypeError(f"step must be a function of the batch size, but got {step!r}")
    check_positive_int("smallest", smallest)
    check_positive_int("largest", largest)
    if largest < smallest:
        raise ValueError(f"largest must be {smallest} or more, but got {largest}")
    if host_bytes is not None:
        check_positive_int("host_bytes", host_bytes)


def _search(step: Callable[[int], object], smallest: int, largest: int) -> int:
    """Return the largest size that fits; 0 if `smallest` does not."""
    if not _fits(step, smallest):
        return 0
    fits, fails = smallest, largest + 1
    while fails - fits > 1:
        tried = min(2 * fits, largest) if fails > largest else (fits + fails) // 2
        if _fits(step, tried):
            fits = tried
        else:
            fails = tried
    return fits


def _fits(step: Callable[[int], object], samples: int) -> bool:
    try:
        step(samples)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        # The error holds on to the frames that it went through, and these to their tensors.
        error.__traceback__ = None
        gc.collect()
        if torch.accelerator.is_available():
            torch.accelerator.memory.empty_cache()
        return False
    return True


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory, on a device or on the host.

    Example:
        >>> is_out_of_memory(torch.OutOfMemoryError()), is_out_of_memory(RuntimeError("shape"))
        (True, False)
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _WORDS)


def _smallest_of_all_ranks(samples: int) -> int:
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return samples
    on_gpu = distributed.get_backend() == "nccl"
    number = torch.tensor(samples, device="cuda" if on_gpu else "cpu")
    distributed.all_reduce(number, op=distributed.ReduceOp.MIN)
    return int(number)
