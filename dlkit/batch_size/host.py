"""A limit on the host's memory, so that too large a batch is an error.

A device that is full says so. A host that is full ends processes, and the one that wanted to know
how much fits may be the first.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from dlkit.checks import check_positive_int


@contextlib.contextmanager
def host_memory_limit(nbytes: int | None) -> Iterator[None]:
    """Let this process take no more than so many bytes of memory inside the `with`.

    What lies beyond is refused by the system, as addresses: the error is a `MemoryError`, or
    PyTorch's "can't allocate memory".

    Args:
        nbytes: beyond what the process has now; None is no limit. What the process has freed but
            not given back is used again without being counted.

    Raises:
        ValueError: if `nbytes` is no positive integer.
        NotImplementedError: where the system has no such limit, which only Linux has.

    Example:
        >>> with host_memory_limit(1 << 28):
        ...     bytearray(1 << 30)
        Traceback (most recent call last):
        ...
        MemoryError
    """
    if nbytes is None:
        yield
        return
    check_positive_int("nbytes", nbytes)
    if sys.platform != "linux":
        raise NotImplementedError(f"{sys.platform} has no limit on the memory of a process")
    import resource

    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    ours = held + nbytes
    if limits[0] != resource.RLIM_INFINITY:
        ours = min(ours, limits[0])
    resource.setrlimit(resource.RLIMIT_AS, (ours, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
