"""``dlkit doctor``: examine this machine and say what will hurt, and what to do about it.

`machine.examine()` looks; `findings()` says what the numbers mean; `render()` writes both down.
`findings()` is a plain function of the report, so each of its sentences is tested with a report of
a machine that has that one weakness.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from dlkit.cli.machine import Report, examine

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

__all__ = ["Finding", "Report", "add_parser", "examine", "findings", "render"]

MB, GB = 2**20, 2**30

# A batch of 64 images of 3x224x224 floats is 37 MB, and each worker keeps two ready: four workers
# of PyTorch's need 294 MB. Docker grants 64 MB.
ENOUGH_SHARED_MEMORY = 1 * GB
ENOUGH_MEMORY = 4 * GB
# PyTorch keeps a file open for each tensor that a worker handed over. macOS grants 256.
ENOUGH_OPEN_FILES = 1024

Level = Literal["error", "warning", "note"]
# How bad it is that a package of an extra is missing; a note for the extras not named here.
MISSING: dict[str, Level] = {"core": "error", "lab": "warning"}

EXAMPLES = """\
examples:
  dlkit doctor
  dlkit doctor --json

The status is 1 when dlkit cannot work here, otherwise 0.
"""


@dataclass(frozen=True)
class Finding:
    """What is wrong, why it matters, and what to do.

    ``level`` is ``error`` where dlkit cannot work, ``warning`` for what will hurt, ``note`` for
    what is good to know.
    """

    level: Level
    what: str
    why: str
    do: str


def findings(report: Report) -> list[Finding]:
    """Return what follows from a report, the worst first.

    Example:
        >>> import dataclasses
        >>> small = dataclasses.replace(examine(), shared_memory=64 * 2**20)
        >>> [found.what for found in findings(small) if "/dev/shm" in found.what]
        ['/dev/shm has 64 MB']
    """
    found = [
        *_installation(report),
        *_cores(report),
        *_memory(report),
        *_limits(report),
        *_devices(report),
        *_folders(report),
    ]
    return sorted(found, key=lambda one: ("error", "warning", "note").index(one.level))


def _installation(report: Report) -> Iterator[Finding]:
    if report.damaged:
        yield Finding(
            "error",
            f"installed packages lost files: {', '.join(report.damaged)}",
            "They fail when they are imported, or later.",
            "make env",
        )
    missing: dict[str, list[str]] = {}
    for package in report.packages:
        if package.version is None:
            missing.setdefault(package.extra, []).append(package.name)
    needs = {"lab": "The notebooks and `dlkit train` need", "test": "`make test` needs"}
    for extra, names in missing.items():
        yield Finding(
            MISSING.get(extra, "note"),
            f"not installed: {', '.join(names)}",
            f"{needs.get(extra, f'The part of dlkit called {extra!r} needs')} them.",
            "make env" if extra == "core" else f"make env, or: pip install -e '.[{extra}]'",
        )
    if not report.writes_bytecode:
        yield Finding(
            "warning",
            "Python may not keep compiled modules (PYTHONDONTWRITEBYTECODE is set)",
            "Every worker process compiles what it imports anew, unless it was compiled before.",
            "unset PYTHONDONTWRITEBYTECODE; make env compiles the packages in any case",
        )


def _cores(report: Report) -> Iterator[Finding]:
    usable = report.usable_cores
    if usable == 1:
        yield Finding(
            "warning",
            "one core can be used",
            "Workers that compute take time from the training; only waiting for files overlaps.",
            "start with num_workers=0",
        )
    if usable < report.cores:
        yield Finding(
            "note",
            f"of {report.cores} cores, {usable} can be used",
            "A container, a batch system or taskset limits this process; os.cpu_count() does not "
            "see it.",
            f"choose the number of workers for {_many(usable, 'core')}",
        )
    if report.torch_threads > usable:
        yield Finding(
            "warning",
            f"torch computes with {report.torch_threads} threads on {_many(usable, 'core')}",
            "The threads wait for each other, and for the workers.",
            f"export OMP_NUM_THREADS={usable}",
        )


def _memory(report: Report) -> Iterator[Finding]:
    if report.usable_memory is not None and report.usable_memory < ENOUGH_MEMORY:
        yield Finding(
            "warning",
            f"{_size(report.usable_memory)} of memory",
            "JupyterLab, a kernel and every worker process hold a Python with torch each.",
            "use few workers, and close notebooks that are done",
        )
    if report.shared_memory is None:
        if report.system.startswith("Linux"):
            yield Finding(
                "warning",
                "there is no /dev/shm",
                "Workers hand batches over in shared memory.",
                "mount -t tmpfs tmpfs /dev/shm, or use num_workers=0",
            )
    elif report.shared_memory < ENOUGH_SHARED_MEMORY:
        yield Finding(
            "warning",
            f"/dev/shm has {_size(report.shared_memory)}",
            "PyTorch's workers hand batches over in it. A batch of 64 images of 3x224x224 floats "
            "takes 37 MB and each worker keeps two ready. Where it is full, workers die of a bus "
            "error.",
            "docker run --shm-size=2g; in Kubernetes mount an emptyDir with medium Memory there; "
            "or use dlkit.DataLoader, which hardly needs it, or num_workers=0",
        )


def _limits(report: Report) -> Iterator[Finding]:
    if report.open_files is not None and report.open_files < ENOUGH_OPEN_FILES:
        room = report.open_files_hard
        allowed = 4096 if room is None else min(4096, room)
        yield Finding(
            "warning",
            f"this process may open {report.open_files} files",
            "PyTorch keeps one open for every tensor that came from a worker and is still in use "
            '("Too many open files").',
            f"ulimit -n {allowed}"
            if allowed > report.open_files
            else "ask for a higher limit, or torch.multiprocessing.set_sharing_strategy"
            "('file_system')",
        )
    if report.start_methods[0] != "fork":
        yield Finding(
            "note",
            f"processes start by {report.start_methods[0]} here",
            "Each worker imports the script that made the loader.",
            "in a script, start the training below `if __name__ == '__main__':`",
        )


def _devices(report: Report) -> Iterator[Finding]:
    if report.devices or report.accelerator is None:
        return
    if report.has_driver:
        yield Finding(
            "warning",
            f"there is a GPU driver, but torch ({report.accelerator}) finds no device",
            "The driver may be too old for this build of torch, or this user may not use it.",
            "compare nvidia-smi's CUDA version; make env TORCH=auto picks a build for the driver",
        )
    else:
        yield Finding(
            "note",
            f"torch was built for {report.accelerator} and there is no GPU",
            "Everything runs on the processor; the build only takes disk space.",
            "nothing, or make env TORCH=cpu for the small build",
        )


def _folders(report: Report) -> Iterator[Finding]:
    if report.data_folder and not report.data_folder_exists:
        yield Finding(
            "warning",
            f"DLKIT_DATA names a folder that does not exist: {report.data_folder}",
            "mnist() looks there first.",
            "correct it, or unset DLKIT_DATA",
        )
    if not report.cache_writable:
        yield Finding(
            "warning",
            f"the cache folder cannot be written: {report.cache_folder}",
            "mnist() cannot keep what it downloads.",
            "set DLKIT_DATA to a folder with the files of MNIST, or use digits()",
        )


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _size(count: int | None) -> str:
    """Write a number of bytes as people read it.

    Example:
        >>> _size(64 * 2**20), _size(24 * 2**30), _size(None)
        ('64 MB', '24.0 GB', 'unknown')
    """
    if count is None:
        return "unknown"
    return f"{count / GB:.1f} GB" if count >= GB else f"{count / MB:.0f} MB"


def render(report: Report, found: list[Finding]) -> str:
    """Write a report and what follows from it as text for people."""
    quota = "" if report.core_quota is None else f", time for {report.core_quota:g} granted"
    devices = ", ".join(
        f"{device.kind} ({device.name}{f', {_size(device.memory)}' if device.memory else ''})"
        for device in report.devices
    )
    installed = sum(package.version is not None for package in report.packages)
    rows = {
        "dlkit": report.dlkit,
        "Python": f"{report.python} ({report.executable})",
        "system": report.system,
        "torch": f"{report.torch} (built for {report.accelerator or 'the processor'})",
        "devices": devices or "the processor alone",
        "cores": f"{report.usable_cores} to use of {report.cores}{quota}",
        "torch threads": f"{report.torch_threads} "
        f"(OMP_NUM_THREADS {report.omp_num_threads or 'not set'})",
        "memory": _size(report.usable_memory),
        "/dev/shm": "none"
        if report.shared_memory is None
        else f"{_size(report.shared_memory)}, {_size(report.shared_memory_free)} free",
        "open files": f"{report.open_files or 'no limit'} "
        f"(at most {report.open_files_hard or 'no limit'})",
        "process start": f"{', '.join(report.start_methods)} (the first is the default)",
        "data": report.data_folder or f"{report.cache_folder} (DLKIT_DATA not set)",
        "packages": f"{installed} of {len(report.packages)} that dlkit can use",
    }
    width = max(map(len, rows))
    lines = [f"{name:<{width}}  {value}" for name, value in rows.items()]
    lines += ["", "Nothing here will hurt." if not found else "What to know:"]
    for one in found:
        text = f"{one.level.upper()}: {one.what}. {one.why}"
        lines += ["", *textwrap.wrap(text, 96, initial_indent="* ", subsequent_indent="  ")]
        lines += textwrap.wrap(f"Do: {one.do}", 96, initial_indent="  ", subsequent_indent="      ")
    return "\n".join(lines)


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command's arguments to the command line."""
    parser = subparsers.add_parser(
        "doctor",
        help="examine this machine and say what will hurt",
        description="Examine this machine and say what will hurt data loading, and what to do.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="write the report for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Examine the machine, print what was found, and return 1 if dlkit cannot work on it."""
    report = examine()
    found = findings(report)
    if args.json:
        content = {"report": asdict(report), "findings": [asdict(one) for one in found]}
        json.dump(content, sys.stdout, indent=2)
        print()
    else:
        print(render(report, found))
    return int(any(one.level == "error" for one in found))
