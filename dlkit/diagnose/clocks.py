"""Three clocks at once: how long work took, what of it was computing, and what was queueing.

    wall = computing + queueing + waiting

Waiting, for a disk or a lock, belongs to the work; queueing belongs to whatever else was running.
Linux counts queueing for each thread (`/proc/<pid>/task/<tid>/schedstat`, see the kernel's
"Scheduler Statistics"); where it is not counted it reads as 0, and so as waiting.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dlkit.control_groups import core_quota
from dlkit.cores import allowed_cores


class Span(NamedTuple):
    """What passed between two looks at the clocks, in seconds.

    Attributes:
        wall: by the clock on the wall.
        cpu: on a core.
        queued: ready to go on, but without a core.
    """

    wall: float
    cpu: float
    queued: float

    @property
    def alone(self) -> float:
        """What it would have taken with a core of its own."""
        return max(self.wall - self.queued, self.cpu)


class Stopwatch:
    """Times stretches of work in the thread that made it.

    Example:
        >>> with Stopwatch() as watch:
        ...     span = watch.lap()
        >>> span.wall >= 0 and span.queued >= 0
        True
    """

    def __init__(self) -> None:
        self._file: int | None = None
        with contextlib.suppress(OSError):
            path = f"/proc/self/task/{threading.get_native_id()}/schedstat"
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.start()

    def __enter__(self) -> "Stopwatch":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def start(self) -> None:
        """Begin a stretch."""
        self._queued = self._queued_so_far()
        self._cpu = time.thread_time()
        self._wall = time.perf_counter()

    def lap(self) -> Span:
        """Return what passed since `start` or the last `lap`, and begin the next stretch."""
        wall, cpu = time.perf_counter(), time.thread_time()
        queued = self._queued_so_far()
        span = Span(wall - self._wall, cpu - self._cpu, queued - self._queued)
        self._queued = queued
        # Reading the file is in no stretch.
        self._cpu, self._wall = time.thread_time(), time.perf_counter()
        return span

    def _queued_so_far(self) -> float:
        if self._file is None:
            return 0.0
        return int(os.pread(self._file, 80, 0).split()[1]) / 1e9


def cpu_seconds(pid: int, thread: int | None = None) -> float | None:
    """Return the CPU seconds of a process, or of one thread in it, finer than `os.times` counts.

    Returns:
        Seconds; None if the system does not say, or the process is gone.
    """
    folder = Path(f"/proc/{pid}/task")
    try:
        threads = [folder / str(thread)] if thread else list(folder.iterdir())
        return sum(int((t / "schedstat").read_text().split()[0]) for t in threads) / 1e9
    except (OSError, ValueError, IndexError):
        return None


def available_cores() -> float:
    """Return the cores that this process may use: by affinity, and by what a container grants."""
    return min(float(allowed_cores()), core_quota() or float("inf"))


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch compute on one thread, as it does in workers."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
