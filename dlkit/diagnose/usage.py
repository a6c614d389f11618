"""What processes take: memory of their own and shared, time spent queueing, bytes read.

PSS counts a page shared by n processes as 1/n in each, USS only the pages that nobody else has.
Linux tells both in `/proc/<pid>/smaps_rollup`; elsewhere psutil is asked for the USS.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_SPARING = 20  # looking at memory takes one part in so many of the time


@dataclass(frozen=True, slots=True)
class MemoryPoint:
    """The memory of one process at one moment.

    Attributes:
        seconds: since the profile began.
        worker: its number; -1 for the process of the training loop.
        pss: bytes, its share of what is shared included.
        uss: bytes that it alone has.
    """

    seconds: float
    worker: int
    pss: int
    uss: int


def memory_of(pid: int) -> tuple[int, int] | None:
    """Return PSS and USS of a process in bytes; None if they cannot be read.

    Example:
        >>> import os
        >>> found = memory_of(os.getpid())
        >>> found is None or found[0] >= found[1] > 0
        True
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return _by_psutil(pid)
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    own = sum(kilobytes.get(name, 0) for name in ("Private_Clean", "Private_Dirty"))
    return kilobytes.get("Pss", 0) * 1024, own * 1024


def private_bytes(pid: int) -> float:
    """Return the bytes of memory that a process shares with nobody; 0 if they cannot be read."""
    found = memory_of(pid)
    return 0.0 if found is None else float(found[1])


def _by_psutil(pid: int) -> tuple[int, int] | None:
    try:
        import psutil

        found = psutil.Process(pid).memory_full_info()
    except Exception:  # not installed, not allowed, or the process is gone
        return None
    return int(getattr(found, "pss", found.rss)), int(getattr(found, "uss", found.rss))


def bytes_read(pid: int) -> int | None:
    """Return how many bytes a process has read by system calls, from the page cache too."""
    try:
        return int(Path(f"/proc/{pid}/io").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None


def queued_seconds(pid: int) -> float | None:
    """Return how long a process's main thread was ready to run, but had no core."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return None


class MemoryWatch:
    """Reads the memory of this process and its workers now and then, in a thread.

    The system walks a process's pages to answer, so looking at many workers takes a tenth of a
    second and more. The next look is so much later that looking stays a small share of the time.

    Args:
        pids: returns the workers' process numbers.
        every: seconds between looks, at least.
    """

    def __init__(self, pids: Callable[[], list[int]], every: float = 0.25) -> None:
        self.points: list[MemoryPoint] = []
        self._pids = pids
        self._every = every
        self._began = time.perf_counter()
        self._wanted = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._watch, name="dlkit memory", daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._wanted.set()
        self._thread.join()

    def look_soon(self) -> None:
        """Have the memory read now, by the thread: nobody waits for it."""
        self._wanted.set()

    def _watch(self) -> None:
        pause = self._every
        while True:
            self._wanted.wait(pause)
            self._wanted.clear()
            if self._over:
                return
            pause = max(self._every, _SPARING * self.look())

    def look(self) -> float:
        """Read the memory of all processes now; return how many seconds that took."""
        now = time.perf_counter()
        for worker, pid in [(-1, os.getpid()), *enumerate(self._pids())]:
            found = memory_of(pid)
            if found is not None:
                self.points.append(MemoryPoint(now - self._began, worker, *found))
        return time.perf_counter() - now
