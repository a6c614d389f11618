"""Is the environment in ``.venv`` whole, and does it fit the project's files?

``make env`` asks this before it trusts an environment, and so does ``dlkit doctor``. The question
is answered from the files alone, in well under a second and without network, so that it can be
asked each time::

    .venv/bin/python -I -S dlkit/cli/environment.py check

Every installed package brings a list of its files (``RECORD``, see "Recording installed projects"
of the Python packaging guide). An environment is whole when

1. its stamp says that an installation reached its end, with the same settings as today's, and
2. every package of that day is still there, and every file on its list exists with its size.

The stamp is written before an installation without the packages, and after it with them: whatever
interrupts an installation leaves a stamp that says so. This module uses the standard library
alone and imports nothing from dlkit, because it must run when everything else is broken.
"""

from __future__ import annotations

import argparse
import compileall
import csv
import functools
import hashlib
import json
import os
import re
import shutil
import sys
import sysconfig
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.util import cache_from_source
from pathlib import Path

STAMP = "dlkit-environment.json"
SOURCES = ("pyproject.toml", "requirements.txt")
FROM_PYPI = "pypi"


@dataclass(frozen=True)
class Stamp:
    """What an environment was made from; ``packages`` is empty until it is complete."""

    location: str
    python: str
    torch: str
    sources: str
    packages: tuple[str, ...] = ()


def site_packages(environment: Path) -> Path:
    """Return the folder into which the running Python's packages of ``environment`` go."""
    base = {"base": str(environment), "platbase": str(environment)}
    return Path(sysconfig.get_path("purelib", "venv", vars=base))


def digest(project: Path) -> str:
    """Return a hash over the files that say what is to be installed."""
    content = hashlib.sha256()
    for name in SOURCES:
        # The length keeps two files apart: moving a line from one into the other is a change.
        data = (project / name).read_bytes()
        content.update(f"{name} {len(data)}\n".encode() + data)
    return content.hexdigest()


def read_stamp(environment: Path) -> Stamp | None:
    """Return the stamp of ``environment``, or None when there is none that can be read."""
    try:
        fields = json.loads((environment / STAMP).read_text(encoding="utf-8"))
        return Stamp(**{**fields, "packages": tuple(fields["packages"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_stamp(environment: Path, stamp: Stamp) -> None:
    """Write ``stamp`` in one step, so that no reader sees half of it."""
    draft = environment / f"{STAMP}.{os.getpid()}"
    draft.write_text(json.dumps(asdict(stamp), indent=1) + "\n", encoding="utf-8")
    draft.replace(environment / STAMP)


def normal_name(name: str) -> str:
    """Return a package's name as the packaging guide normalises it.

    >>> normal_name("Types_PyYAML")
    'types-pyyaml'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(packages: Path) -> dict[str, Path]:
    """Return each installed package's name and its ``.dist-info`` folder."""
    found = packages.glob("*.dist-info")
    return {normal_name(path.name.split("-")[0]): path for path in sorted(found)}


def is_whole(dist_info: Path) -> bool:
    """Say whether every file of a package exists, with the size that its list names."""
    try:
        with open(dist_info / "RECORD", encoding="utf-8", newline="") as lines:
            sizes = {path: int(size or -1) for path, _, size in csv.reader(lines)}
    except (OSError, ValueError, csv.Error):  # the list is gone, or was cut off or overwritten
        return False
    for path, size in sizes.items():
        if path.endswith(".pyc"):
            continue  # remade when needed, and differently by each Python
        try:
            actual = os.stat(dist_info.parent / path).st_size
        except (OSError, ValueError):
            return False
        # Files outside (settings, scripts) are the user's to change; those inside are not.
        if size not in (-1, actual) and not path.startswith(".."):
            return False
    return bool(sizes)


def damaged(environment: Path) -> list[str]:
    """Return the names of packages that are not whole."""
    found = installed(site_packages(environment))
    return [name for name, dist_info in found.items() if not is_whole(dist_info)]


def uncompiled(packages: Path) -> list[Path]:
    """Return the modules below ``packages`` that have no bytecode."""
    return [path for path in packages.rglob("*.py") if not os.path.exists(cache_from_source(path))]


def compile_rest(packages: Path) -> None:
    """Compile what has no bytecode yet.

    uv compiles what it has just installed. Where it was interrupted there, it never comes back to
    it, and each process would compile torch anew.
    """
    compile_quietly = functools.partial(compileall.compile_file, quiet=2)
    rest = uncompiled(packages)
    if len(rest) < 100:  # as usual: some packages bring files for other Pythons
        for path in rest:
            compile_quietly(path)
        return
    print(f"Compiling {len(rest)} modules.", flush=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(compile_quietly, rest, chunksize=50))


def intended(project: Path, environment: Path, torch: str) -> Stamp:
    """Return the stamp of the environment that is wanted now.

    Args:
        project: the folder with ``pyproject.toml`` and ``requirements.txt``.
        environment: the environment's folder.
        torch: uv's torch backend (``cpu``, ``cu130``, ...), ``pypi`` for the build on PyPI, or
            empty to keep what the environment was made with.
    """
    before = read_stamp(environment)
    return Stamp(
        location=str(environment.resolve()),
        python="{}.{}".format(*sys.version_info),
        torch=torch or (before.torch if before else FROM_PYPI),
        sources=digest(project),
    )


def reasons(project: Path, environment: Path, torch: str, python: str) -> tuple[int, str]:
    """Return 0 for a whole environment, 1 for one to install into, 2 for one to remake; and why.

    Scripts and links inside an environment hold its path and its Python: where those changed,
    or where another build of torch is wanted, installing over it would leave a mixture.
    """
    stamp = read_stamp(environment)
    wanted = intended(project, environment, torch)
    running = "{}.{}.{}".format(*sys.version_info)
    if python and not f"{running}.".startswith(f"{python}."):
        return 2, f"it has Python {running} and {python} is wanted"
    if stamp is None:
        return 1, "it has no stamp of a finished installation"
    for field, name in (("location", "path"), ("python", "Python"), ("torch", "build of torch")):
        was, now = getattr(stamp, field), getattr(wanted, field)
        if was != now:
            return 2, f"its {name} changes from {was} to {now}"
    if not stamp.packages:
        return 1, "its installation did not reach the end"
    if stamp.sources != wanted.sources:
        return 1, f"{' or '.join(SOURCES)} changed"
    missing = sorted(set(stamp.packages) - set(installed(site_packages(environment))))
    broken = missing or damaged(environment)
    if broken:
        return 1, f"packages are missing or damaged: {', '.join(broken)}"
    return 0, "whole"


def main(argv: list[str] | None = None) -> int:
    """Run one step of ``make env`` and return its exit status."""
    parser = argparse.ArgumentParser(prog="environment.py", description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["check", "torch", "begin", "finish"])
    parser.add_argument("--project", type=Path, default=Path(__file__).parents[2])
    parser.add_argument("--torch", default="", help="uv's torch backend, or pypi")
    parser.add_argument("--python", default="", help="the version wanted, like 3.12")
    args = parser.parse_args(argv)
    environment = args.project / ".venv"
    wanted = intended(args.project, environment, args.torch)

    if args.step == "check":
        status, reason = reasons(args.project, environment, args.torch, args.python)
        print(reason)
        return status
    if args.step == "torch":
        print(wanted.torch)  # asked before an environment, and its stamp with it, is remade
        return 0

    broken = damaged(environment)
    if args.step == "begin":
        # Prints the arguments with which uv installs what is to be installed, and mends it.
        write_stamp(environment, wanted)
        found = installed(site_packages(environment))
        for name in broken:
            if not (found[name] / "METADATA").is_file():
                shutil.rmtree(found[name])  # uv cannot read it and would stop there
        if wanted.torch != FROM_PYPI:
            print(f"--torch-backend={wanted.torch}")
        print("\n".join(f"--reinstall-package={name}" for name in broken))
        return 0

    if broken:
        print(f"still damaged: {', '.join(broken)}; try: uv cache clean {' '.join(broken)}")
        return 1
    compile_rest(site_packages(environment))
    packages = tuple(installed(site_packages(environment)))
    write_stamp(environment, Stamp(**{**asdict(wanted), "packages": packages}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
