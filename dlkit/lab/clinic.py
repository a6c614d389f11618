"""Sick datasets, and instruments to examine them with: what the troubleshooting notebook needs.

Each dataset has one of the faults that people ask about, and a switch that repairs it. The
instruments count rather than time, so that they find the same on every machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import data as torch_data

from dlkit.diagnose.running import ended
from dlkit.diagnose.usage import private_bytes
from dlkit.loader import DataLoader

RECORD = 8  # bytes of a record


class Reader(torch_data.Dataset[int]):
    """Samples that wait for a disk, one reader at a time or all at once.

    Args:
        alone: whether a lock lets one reader in at a time.

    Attributes:
        most_at_once: how many have been reading at the same time.

    >>> Reader(alone=True)[3]
    3
    """

    def __init__(self, alone: bool) -> None:
        self.most_at_once = 0
        self._reading = 0
        self._lock = threading.Lock()
        self._door = threading.Lock() if alone else None

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int) -> int:
        if self._door is None:
            return self._read(index)
        with self._door:
            return self._read(index)

    def _read(self, index: int) -> int:
        with self._lock:
            self._reading += 1
            self.most_at_once = max(self.most_at_once, self._reading)
        time.sleep(0.005)
        with self._lock:
            self._reading -= 1
        return index


class Catalogue(torch_data.Dataset[str]):
    """File names, all held in a list, or made when they are asked for.

    Args:
        held: whether the list travels with the dataset.
        length: how many names.

    >>> Catalogue(held=True, length=10)[2] == Catalogue(held=False, length=10)[2]
    True
    """

    def __init__(self, held: bool, length: int = 100_000) -> None:
        self.length = length
        self.names = [self.name(index) for index in range(length)] if held else None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> str:
        return self.name(index) if self.names is None else self.names[index]

    @staticmethod
    def name(index: int) -> str:
        """Return the file name of a sample."""
        return f"images/class_{index % 10}/sample_{index:09}.jpg"


class Records(torch_data.Dataset[int]):
    """Numbers in a file, read through one open file or through one for each process.

    Args:
        path: the file, from `write_records`.
        shared: whether forked workers read through the same open file, and so share its position.
    """

    def __init__(self, path: Path, shared: bool) -> None:
        self.path = path
        self.length = path.stat().st_size // RECORD
        self._shared = shared
        self._files = {os.getpid(): self._open()}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        if not self._shared and os.getpid() not in self._files:
            self._files[os.getpid()] = self._open()
        file = next(iter(self._files.values())) if self._shared else self._files[os.getpid()]
        os.lseek(file, index * RECORD, os.SEEK_SET)
        time.sleep(0.0005)  # a slow disk: time enough for the other worker to seek
        return int.from_bytes(os.read(file, RECORD), "little")

    def _open(self) -> int:
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close what this process has opened."""
        for file in self._files.values():
            os.close(file)
        self._files = {}


def write_records(path: Path, count: int) -> Path:
    """Write a file in which record i holds the number i, and return its path."""
    path.write_bytes(b"".join(index.to_bytes(RECORD, "little") for index in range(count)))
    return path


class Names(torch_data.Dataset[int]):
    """The lengths of many names, held as Python strings or in one array of bytes.

    Args:
        as_objects: whether they are a list of strings.
        length: how many.

    >>> Names(True, 100)[7] == Names(False, 100)[7] == 12
    True
    """

    def __init__(self, as_objects: bool, length: int = 300_000) -> None:
        names = [f"sample_{index:05}" for index in range(length)]
        self.names: Any = names if as_objects else np.array(names, dtype=np.bytes_)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> int:
        return len(self.names[index])


class Guarded(torch_data.Dataset[int]):
    """Samples behind a lock that this process may hold while it forks.

    Args:
        own_lock: whether each process makes a lock of its own.
    """

    def __init__(self, own_lock: bool) -> None:
        self.lock = threading.Lock()
        self._own_lock = own_lock
        self._owner = os.getpid()

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        if self._own_lock and os.getpid() != self._owner:
            self.lock, self._owner = threading.Lock(), os.getpid()
        with self.lock:
            return index


class Sorted(torch_data.IterableDataset[int]):
    """A stream of numbers in their order."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.length))


# ---- instruments --------------------------------------------------------------------------------


def memory_growth(dataset: torch_data.Dataset[Any], batch_size: int = 1000) -> list[float]:
    """Return how much memory of its own a forked worker has after each quarter of an epoch.

    Returns:
        Bytes more than after the first batch; 0 where the system does not say.
    """
    loader = DataLoader(dataset, batch_size, num_workers=1, multiprocessing_context="fork")
    with ended(loader) as own:
        own.next(loader)
        pid = own.batches.pool.pids[0]
        start = private_bytes(pid)
        grown = []
        quarter = len(loader) // 4
        for number in range(1, 4 * quarter):
            own.next(loader)
            if number % quarter == 0 or number == 4 * quarter - 1:
                grown.append(private_bytes(pid) - start)
    return grown


def in_child(code: str, *, open_files: int | None = None, small_shared_memory: bool = False) -> str:
    """Run code in a process of its own, under limits, and return the last line that it prints.

    Args:
        code: Python code.
        open_files: how many files the process may have open.
        small_shared_memory: whether `/dev/shm` has only 64 kB, as in a container that was started
            without `--shm-size`. Where the system does not let us, it is as large as ever.

    >>> in_child("print(1); print(2)")
    '2'
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)]
    if small_shared_memory and _small_container("true") == 0:
        command = [*_SMALL, *command]
    set_limit = None if open_files is None else f"ulimit -n {open_files}"
    if set_limit is not None:
        command = ["sh", "-c", f'{set_limit} && exec "$0" "$@"', *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1] if lines else f"ended with {done.returncode}"


_SMALL = (
    "unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
    'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$0" "$@"',
)  # fmt: skip


def _small_container(command: str) -> int:
    """Return the exit status of a command in it; 127 where there is no such thing."""
    try:
        return subprocess.run([*_SMALL, command], capture_output=True, timeout=60).returncode
    except OSError:
        return 127


class Messages:
    """Counts what a progress bar writes, each time a message to the notebook's page."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, text: str) -> int:
        """Count one piece of text; what only moves the cursor is none."""
        self.count += bool(text.strip())
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""


def workers_seen(loader: DataLoader[Any], epochs: int) -> int:
    """Return how many worker processes a loader has started in so many epochs."""
    seen: set[int] = set()
    iterator: Any = None
    try:
        for _ in range(epochs):
            iterator = iter(loader)
            seen |= set(iterator.pool.pids)
            for _ in iterator:
                pass
    finally:
        with ended(loader) as own:
            own.batches = iterator
    return len(seen)


def classes_in(batches: Sequence[torch.Tensor]) -> list[int]:
    """Return how many different labels each batch holds.

    >>> classes_in([torch.tensor([1, 1]), torch.tensor([1, 2])])
    [1, 2]
    """
    return [len(set(batch.tolist())) for batch in batches]
