"""Memory, watched while a stream runs: of this process, and of a GPU where there is one.

    reading --> guard: how many items may a batch have --> batcher

Batches shrink before memory is short, not after the allocation that fails: the guard halves them
while the reading is over the limit, and lets them grow again, one eighth at a time, when it is well
under. Halving fast and growing slowly is what keeps two users of one memory from swinging.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from dlkit.checks import check_positive_int
from dlkit.streaming.checks import check_positive, check_share


@dataclass(frozen=True)
class Memory:
    """Bytes, at one moment; None where there is nothing to read.

    Attributes:
        host: what this process holds.
        host_free: what the machine could still give.
        allocated: of the GPU, in tensors of this process.
        reserved: of the GPU, kept by PyTorch for this process.
        gpu_free: what nobody has of the GPU.
        gpu_total: all that the GPU has.
    """

    host: int | None = None
    host_free: int | None = None
    allocated: int | None = None
    reserved: int | None = None
    gpu_free: int | None = None
    gpu_total: int | None = None

    @property
    def headroom(self) -> int | None:
        """What new tensors on the GPU can have: what is free, and what PyTorch keeps unused."""
        if self.gpu_free is None or self.reserved is None or self.allocated is None:
            return None
        return self.gpu_free + self.reserved - self.allocated


def read_memory(device: torch.device | str | None = None) -> Memory:
    """Read the memory of this process, and of a GPU.

    Args:
        device: the GPU; by default the current one, if there is one.

    Example:
        >>> read_memory().host is None or read_memory().host > 1_000_000
        True
    """
    host, host_free = _of_host()
    if not torch.cuda.is_available():
        return Memory(host, host_free)
    free, total = torch.cuda.mem_get_info(device)
    return Memory(
        host,
        host_free,
        torch.cuda.memory_allocated(device),
        torch.cuda.memory_reserved(device),
        free,
        total,
    )


def _of_host() -> tuple[int | None, int | None]:
    try:
        # Linux, without a library; a thousand readings a second would cost 2 % of a core.
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        lines = Path("/proc/meminfo").read_text().splitlines()
    except (OSError, ValueError, IndexError):
        return _by_psutil()
    free = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return pages * _PAGE, None if free is None else int(free) * 1024


def _by_psutil() -> tuple[int | None, int | None]:
    try:
        import psutil
    except ModuleNotFoundError:
        return None, None
    return int(psutil.Process().memory_info().rss), int(psutil.virtual_memory().available)


def _page_size() -> int:
    import mmap

    return mmap.PAGESIZE


_PAGE = _page_size()


class MemoryGuard:
    """Holds batches under a size at which memory suffices.

    Args:
        max_batch: items of a batch while memory is plenty.
        host_limit: bytes that this process may hold; None for no limit.
        headroom: share of the GPU's memory that should stay free for new tensors.
        read: reads the memory; `read_memory` by default.
        every: seconds between two readings.

    Attributes:
        size: items that a batch may have now.
        reading: the last one.
        tight: how many readings were over a limit.

    Raises:
        ValueError: if a limit is none of the accepted.

    Example:
        >>> readings = iter([Memory(host=50), Memory(host=120), Memory(host=120), Memory(host=50)])
        >>> guard = MemoryGuard(64, host_limit=100, read=lambda: next(readings), every=1.0)
        >>> [guard.update(now) for now in (0.0, 1.0, 2.0, 3.0)]
        [64, 32, 16, 18]
    """

    def __init__(
        self,
        max_batch: int,
        host_limit: int | None = None,
        headroom: float = 0.1,
        read: Callable[[], Memory] = read_memory,
        every: float = 0.25,
    ) -> None:
        check_positive_int("max_batch", max_batch)
        if host_limit is not None:
            check_positive_int("host_limit", host_limit)
        check_share("headroom", headroom)
        check_positive("every", every)
        self.max_batch = self.size = max_batch
        self.host_limit = host_limit
        self.headroom = headroom
        self.reading = Memory()
        self.tight = 0
        self._read, self._every = read, every
        self._next: float | None = None

    def update(self, now: float) -> int:
        """Read the memory if it is time to, and return how many items a batch may have."""
        if self._next is not None and now < self._next:
            return self.size
        self._next = now + self._every
        self.reading = self._read()
        used = self._used_share()
        if used > 1.0:
            self.tight += 1
            self.size = max(self.size // 2, 1)
        elif used < 0.9 and self.size < self.max_batch:
            self.size = min(self.size + max(self.size // 8, 1), self.max_batch)
        return self.size

    def _used_share(self) -> float:
        """How much of what may be used is used; the tighter of the two counts."""
        shares = [0.0]
        if self.host_limit is not None and self.reading.host is not None:
            shares.append(self.reading.host / self.host_limit)
        room, total = self.reading.headroom, self.reading.gpu_total
        if room is not None and total:
            shares.append((total - room) / (total * (1 - self.headroom)))
        return max(shares)
