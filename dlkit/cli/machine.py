"""What this machine offers to a loader: cores, memory, shared memory, devices, packages.

`examine()` only looks and returns a `Report`; what the numbers mean is said in `doctor`. In a
container the numbers of the host and those that hold for the container differ, and PyTorch sees the
host's, so both are read: the cores that exist against the cores that may be used, and so on.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import torch

from dlkit.cli import environment
from dlkit.control_groups import core_quota, memory_limit
from dlkit.cores import allowed_cores
from dlkit.datasets.mnist import cache_folder


@dataclass(frozen=True)
class Device:
    """An accelerator; ``memory`` in bytes, None where it has no fixed size of its own."""

    kind: str
    name: str
    memory: int | None = None


@dataclass(frozen=True)
class Package:
    """A package that some part of dlkit uses; ``version`` is None when it is not installed."""

    name: str
    extra: str
    version: str | None


@dataclass(frozen=True)
class Report:
    """Everything that was seen. Sizes in bytes; None where the system has no such thing."""

    dlkit: str
    python: str
    executable: str
    system: str
    torch: str
    torch_threads: int
    accelerator: str | None  # what the installed torch was built for, like "CUDA 13.0"
    has_driver: bool
    devices: tuple[Device, ...]
    cores: int
    allowed_cores: int
    core_quota: float | None
    memory: int | None
    memory_limit: int | None
    shared_memory: int | None
    shared_memory_free: int | None
    open_files: int | None
    open_files_hard: int | None
    start_methods: tuple[str, ...]  # the default first
    omp_num_threads: str | None
    writes_bytecode: bool
    data_folder: str | None
    data_folder_exists: bool
    cache_folder: str
    cache_writable: bool
    packages: tuple[Package, ...]
    damaged: tuple[str, ...]

    @property
    def usable_cores(self) -> int:
        """The cores that this process can keep busy, at least one."""
        quota = math.inf if self.core_quota is None else math.ceil(self.core_quota)
        return max(1, int(min(self.allowed_cores, quota)))

    @property
    def usable_memory(self) -> int | None:
        """The bytes of memory that this process may use."""
        return min(filter(None, (self.memory, self.memory_limit)), default=None)


def examine() -> Report:
    """Look at this machine and return what was seen.

    Example:
        >>> examine().usable_cores >= 1
        True
    """
    shared_memory = _disk(Path("/dev/shm"))
    soft, hard = _open_file_limits()
    data_folder = os.environ.get("DLKIT_DATA") or None
    cache = cache_folder()
    return Report(
        dlkit=version("dlkit"),
        python=platform.python_version(),
        executable=sys.executable,
        system=platform.platform(),
        torch=torch.__version__,
        torch_threads=torch.get_num_threads(),
        accelerator=_accelerator(),
        has_driver=any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"))),
        devices=tuple(_devices()),
        cores=os.cpu_count() or 1,
        allowed_cores=allowed_cores(),
        core_quota=core_quota(),
        memory=_memory(),
        memory_limit=memory_limit(),
        shared_memory=shared_memory[0] if shared_memory else None,
        shared_memory_free=shared_memory[1] if shared_memory else None,
        open_files=soft,
        open_files_hard=hard,
        start_methods=tuple(multiprocessing.get_all_start_methods()),
        omp_num_threads=os.environ.get("OMP_NUM_THREADS"),
        writes_bytecode=not sys.dont_write_bytecode,
        data_folder=data_folder,
        data_folder_exists=bool(data_folder and Path(data_folder).expanduser().is_dir()),
        cache_folder=str(cache),
        cache_writable=can_write(cache),
        packages=tuple(_packages()),
        damaged=_damaged(),
    )


def _accelerator() -> str | None:
    """Name what torch was built for, whether or not it is there."""
    if torch.version.cuda:
        return f"CUDA {torch.version.cuda}"
    if torch.version.hip:
        return f"ROCm {torch.version.hip}"
    return "Metal" if torch.backends.mps.is_built() else None


def _devices() -> Iterator[Device]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old driver warns here; the findings say it in words
        if torch.cuda.is_available():
            for index in range(torch.cuda.device_count()):
                seen = torch.cuda.get_device_properties(index)
                yield Device("cuda", seen.name, seen.total_memory)
        if torch.backends.mps.is_available():
            yield Device("mps", "Apple GPU")
        if torch.xpu.is_available():
            for index in range(torch.xpu.device_count()):
                yield Device("xpu", torch.xpu.get_device_name(index))


def _memory() -> int | None:
    with contextlib.suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(ModuleNotFoundError):
        import psutil

        return int(psutil.virtual_memory().total)
    return None


def _open_file_limits() -> tuple[int | None, int | None]:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None, None
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (None if limit == resource.RLIM_INFINITY else limit for limit in limits)
    return soft, hard


def _disk(folder: Path) -> tuple[int, int] | None:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return usage.total, usage.free


def can_write(folder: Path) -> bool:
    """Say whether ``folder`` can be written to, or made where it does not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _packages() -> Iterator[Package]:
    """Yield what pyproject.toml names, as the installed metadata repeats it."""
    for line in requires("dlkit") or []:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra\s*==\s*['\"](\w+)['\"]", line)
        assert name is not None, line
        try:
            found = version(name[0])
        except PackageNotFoundError:
            found = None
        yield Package(name[0], extra[1] if extra else "core", found)


def _damaged() -> tuple[str, ...]:
    """Name the packages that lost files, where `make env` made the environment."""
    prefix = Path(sys.prefix)
    if environment.read_stamp(prefix) is None:
        return ()
    return tuple(environment.damaged(prefix))
