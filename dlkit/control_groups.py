"""The limits that a container or a batch system sets through Linux's control groups.

Python and PyTorch count the cores and the memory of the host. A container that was granted two
cores of 64 then runs 64 threads on two cores. What was granted stands in files below
``/sys/fs/cgroup``, for the process's own group and for every group above it; the smallest holds.
Version 1 keeps a tree for each resource, version 2 one for all (cgroups(7) in Linux's manual).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
_NO_LIMIT = 2**60  # version 1 writes "no limit" as a number near 2**63
_LIMIT_AND_USAGE = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def core_quota(root: Path = ROOT) -> float | None:
    """Return how many cores' worth of time the control groups grant, None for no limit.

    Args:
        root: where ``proc`` and ``sys`` are; another folder than ``/`` in tests.
    """
    shares: list[float] = []
    for group in _groups(root, "cpu"):
        # Version 2 has both numbers in one file, version 1 has a file for each.
        one_file = _numbers(group / "cpu.max")
        two_files = _numbers(group / "cpu.cfs_quota_us") + _numbers(group / "cpu.cfs_period_us")
        shares += [pair[0] / pair[1] for pair in (one_file, two_files) if len(pair) == 2]
    # -1 and "max" mean no limit.
    return min((share for share in shares if 0 < share < math.inf), default=None)


def memory_limit(root: Path = ROOT) -> int | None:
    """Return the bytes of memory that the control groups grant, None for no limit.

    Args:
        root: where ``proc`` and ``sys`` are; another folder than ``/`` in tests.
    """
    limits = []
    for group in _groups(root, "memory"):
        limits += _numbers(group / "memory.max") + _numbers(group / "memory.limit_in_bytes")
    return min((int(limit) for limit in limits if limit < _NO_LIMIT), default=None)


def memory_left(root: Path = ROOT) -> int | None:
    """Return the bytes of memory that the control groups still grant, None for no limit.

    Files in the page cache that were not used lately count as left, as in `MemAvailable`: the
    system gives them up where memory is needed.

    Args:
        root: where ``proc`` and ``sys`` are; another folder than ``/`` in tests.
    """
    left = []
    for group in _groups(root, "memory"):
        for files in _LIMIT_AND_USAGE:
            numbers = [number for name in files for number in _numbers(group / name)]
            if len(numbers) == 2 and numbers[0] < _NO_LIMIT:
                left.append(max(0, int(numbers[0] - numbers[1]) + _idle_files(group)))
    return min(left, default=None)


def _idle_files(group: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        lines = (group / "memory.stat").read_text().splitlines()
        stat = {name: int(value) for name, value in (line.split() for line in lines)}
        # Version 1 tells the group's own, and the total with the groups below it.
        return stat.get("total_inactive_file", stat.get("inactive_file", 0))
    return 0


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's groups, each from its own up to the top."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        # Inside a container the path may be the host's and not exist here; the top always does.
        group = top / path.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))


def _numbers(file: Path) -> list[float]:
    with contextlib.suppress(OSError, ValueError):
        return [math.inf if word == "max" else float(word) for word in file.read_text().split()]
    return []
