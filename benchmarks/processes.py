"""Processes from outside: run a function in a fresh one, and read what they hold.

Figures come from Linux's `/proc`; `can_measure_memory` says whether it is there.
"""

import gc
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import (
    active_children,
    get_all_start_methods,
    get_context,
    set_start_method,
)
from pathlib import Path
from typing import Any

import psutil

SHARED_MEMORY = Path("/dev/shm")


def in_fresh_process(module: str, function: str, **arguments: Any) -> Any:
    """Return what a function returns in a new interpreter that ends afterwards.

    Module and function are named, not passed, so that the caller need not import them: a library
    that both processes have loaded would count for half in the proportional memory of each.

    Args:
        module: the full name of the module, such as `"benchmarks.workloads"`.
        function: the name of a function in it.
        arguments: what it is called with; they and the result are pickled.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_call, module, function, arguments).result()


def _call(module: str, function: str, arguments: dict[str, Any]) -> Any:
    # A spawned process spawns its own ones too by default; users' processes do as Python does.
    set_start_method(get_all_start_methods()[0], force=True)
    return getattr(import_module(module), function)(**arguments)


def can_measure_memory() -> bool:
    """Whether the system tells the proportional memory of a process."""
    return Path("/proc/self/smaps_rollup").exists()


def proportional_memory() -> int:
    """Return the bytes that this process and its descendants hold: the sum of their PSS.

    A page that n processes share counts as 1/n in each of them, so the sum counts it once.
    """
    return sum(_memory(process.pid)["Pss"] for process in _family())


def descriptors() -> int:
    """Return how many file descriptors this process has open."""
    return psutil.Process().num_fds()


def cpu_seconds() -> float:
    """Return the CPU seconds that this process and its living descendants have used so far."""
    return sum(map(_cpu_seconds, _family()))


def end_of_children() -> None:
    """Collect what holds worker processes, and wait until they have ended."""
    gc.collect()
    for child in active_children():
        child.join()


@dataclass(frozen=True)
class Holdings:
    """What this process and its descendants hold at one moment."""

    main_memory: int  # bytes resident
    worker_memory: int  # bytes resident, the sum over descendants
    main_descriptors: int
    worker_descriptors: int
    main_mappings: int
    worker_mappings: int
    shared_memory_files: int  # entries of /dev/shm
    threads: int  # of this process
    children: int


def holdings() -> Holdings:
    """Read what this process and its descendants hold now."""
    main, *workers = (
        (_memory(one.pid)["Rss"], _descriptors(one), _mappings(one.pid)) for one in _family()
    )
    of_workers = [sum(column) for column in zip(*workers, strict=True)] or [0, 0, 0]
    return Holdings(
        main_memory=main[0],
        worker_memory=of_workers[0],
        main_descriptors=main[1],
        worker_descriptors=of_workers[1],
        main_mappings=main[2],
        worker_mappings=of_workers[2],
        shared_memory_files=len(os.listdir(SHARED_MEMORY)) if SHARED_MEMORY.exists() else 0,
        threads=psutil.Process().num_threads(),
        children=len(workers),
    )


def _family() -> list[psutil.Process]:
    main = psutil.Process()
    return [main, *main.children(recursive=True)]


def _memory(pid: int) -> dict[str, int]:
    """The rolled-up figures of a process in bytes; zeros if it has ended meanwhile."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except (FileNotFoundError, ProcessLookupError):
        lines = []
    figures = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return {"Rss": 0, "Pss": 0, **figures}


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _descriptors(process: psutil.Process) -> int:
    try:
        return process.num_fds()
    except psutil.Error:
        return 0


def _mappings(pid: int) -> int:
    try:
        return len(Path(f"/proc/{pid}/maps").read_text().splitlines())
    except (FileNotFoundError, ProcessLookupError):
        return 0
