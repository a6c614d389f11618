"""Shared memory that belongs to a dataset, and a lock for the processes that write there.

    region = Region(nbytes)   --fork, forkserver, spawn-->   the same memory in every worker

The memory has no name: it is gone when the last process that maps it is gone, however that ends,
and takes room only where something was written. The lock is the system's own on that memory, so a
process that is killed lets go of it.
"""

import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import DupFd
from typing import Any

from dlkit.memory import Bytes
from dlkit.workers.shared_memory import Handle, attach, create

_PURPOSE = "data that processes share"


class Region:
    """Zeroed shared memory of a fixed size.

    Pickled to start a worker process, it arrives there as the same memory. Pickled for any other
    reason, into a file for instance, it arrives as new and empty memory of the same size.

    Args:
        nbytes: of the memory; what is never written takes no room.

    Raises:
        MemoryError: if the system does not give so much.

    Example:
        >>> region = Region(1 << 40)
        >>> region.memory[:2] = 7
        >>> region.memory[:3]
        array([7, 7, 0], dtype=uint8)
    """

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.memory: Bytes
        self.memory, self.handle = create(nbytes, _PURPOSE)
        self._own()

    def _own(self) -> None:
        self.lock = ProcessLock(self.handle)
        if isinstance(self.handle, int):
            weakref.finalize(self, os.close, self.handle)

    def __getstate__(self) -> dict[str, Any]:
        handle: Any = None
        if get_spawning_popen() is not None:
            handle = DupFd(self.handle) if isinstance(self.handle, int) else self.handle
        return {"nbytes": self.nbytes, "handle": handle}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.nbytes = state["nbytes"]
        handle = state["handle"]
        if handle is None:
            self.memory, self.handle = create(self.nbytes, _PURPOSE)
        else:
            self.handle = handle if isinstance(handle, str) else handle.detach()
            # Before the first lock: closing any descriptor of a file ends the locks on it.
            self.memory = attach(self.handle, self.nbytes)
        self._own()


class ProcessLock:
    """Excludes other threads and other processes; a process that dies lets go.

    The locks of `multiprocessing` stay locked for ever when their holder is killed.

    Args:
        handle: a descriptor of a file that all the processes have open; a string, on Windows,
            names the lock.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._of_threads = threading.Lock()
        self._pid = os.getpid()

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold the lock inside the `with`."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def acquire(self) -> None:
        """Wait until nobody else holds the lock."""
        if self._pid != os.getpid():  # forked, perhaps while another thread held it
            self._of_threads, self._pid = threading.Lock(), os.getpid()
        self._of_threads.acquire()
        try:
            _lock_file(self._handle)
        except BaseException:
            self._of_threads.release()
            raise

    def release(self) -> None:
        """Let the next one in."""
        try:
            _unlock_file(self._handle)
        finally:
            self._of_threads.release()


if sys.platform == "win32":
    import msvcrt
    import tempfile

    _files: dict[str, int] = {}

    def _lock_file(handle: Handle) -> None:
        descriptor = handle if isinstance(handle, int) else _file_of(handle)
        os.lseek(descriptor, 0, os.SEEK_SET)
        while True:
            try:  # gives up after ten seconds
                return msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
            except OSError:
                continue

    def _unlock_file(handle: Handle) -> None:
        descriptor = handle if isinstance(handle, int) else _file_of(handle)
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

    def _file_of(name: str) -> int:
        if name not in _files:
            path = os.path.join(tempfile.gettempdir(), f"{name}.lock")
            _files[name] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TEMPORARY)
        return _files[name]

else:
    import fcntl

    # The locks of `lockf` belong to a process, so a forked one does not hold its parent's.
    def _lock_file(handle: Handle) -> None:
        assert isinstance(handle, int)
        fcntl.lockf(handle, fcntl.LOCK_EX)

    def _unlock_file(handle: Handle) -> None:
        assert isinstance(handle, int)
        fcntl.lockf(handle, fcntl.LOCK_UN)
