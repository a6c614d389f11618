"""``dlkit profile``: run a user's own loader for a while and say where its time goes.

The loader is named as ``module:function``, whose call returns it, or is found in a script.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

    from dlkit.diagnose.profiled import Profile

EXAMPLES = """\
examples:
  dlkit profile my_project.data:train_loader
  dlkit profile train.py --step train_step --steps 100
  dlkit profile train.py:make_loader --html report.html --trace trace.json

What is named may be a loader, or a function without arguments that returns one. A script is
imported, so what stands under `if __name__ == "__main__":` does not run; without a name, its first
loader is taken, or the loader of its only function that says it returns one. --step names a
function of a batch. A trace opens in ui.perfetto.dev.
"""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command's arguments to the command line."""
    from dlkit.cli.train import above_zero, positive

    parser = subparsers.add_parser(
        "profile",
        help="run a loader of yours and say where its time goes",
        description="Run a loader for some steps and say where its time goes, and what to change.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", help="module:name, script.py:name or script.py")
    parser.add_argument("--steps", type=positive, default=50, help="batches to take (default: 50)")
    parser.add_argument("--seconds", type=above_zero, default=30.0, help="at most (default: 30)")
    parser.add_argument("--step", metavar="NAME", help="what training does with a batch")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write a Chrome trace")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Profile, report, and return the exit status."""
    from dlkit.diagnose.profiling import profile

    try:
        loader, step = find(args.target, args.step)
        seen = profile(loader, steps=args.steps, step=step, seconds=args.seconds)
    except Exception as error:
        # Whatever the user's module or dataset raises is theirs to read, with its notes.
        return _failed(error)
    show(seen)  # first, so that a file which cannot be written costs nobody the findings
    try:
        if args.html is not None:
            from dlkit.diagnose.report import page
            from dlkit.trace.export import write

            write(args.html, page(seen, f"dlkit profile {args.target}"))
            print(f"report written to {args.html}")
        if args.trace is not None:
            seen.trace.to_chrome(args.trace)
            print(f"trace written to {args.trace}")
    except OSError as error:
        return _failed(error)
    return 0


def _failed(error: Exception) -> int:
    """Say what was raised, and return the exit status."""
    print(f"dlkit profile: {type(error).__name__}: {error}", file=sys.stderr)
    for note in getattr(error, "__notes__", ()):
        print(f"  {note}", file=sys.stderr)
    return 1


def find(target: str, step: str | None = None) -> tuple[Any, Callable[[Any], Any] | None]:
    """Return the loader that is named, and the step.

    Args:
        target: `module:name`, `script.py:name` or `script.py`.
        step: name of a function in the same module, or `module:name`.

    Raises:
        ValueError: if there is no such thing, or it is no loader.
        whatever importing the module, or calling the function, raises.
    """
    where, _, name = target.rpartition(":") if not target.endswith(".py") else (target, "", "")
    if not where:
        raise ValueError(f"target must be module:name, script.py:name or script.py, not {target!r}")
    module = _imported(where)
    loader = _named(module, name) if name else _only_loader(module)
    from torch.utils.data import DataLoader

    if not isinstance(loader, DataLoader) and callable(loader):
        loader = loader()
    if not isinstance(loader, DataLoader):
        raise ValueError(f"{target} must give a DataLoader, but gave a {type(loader).__name__}")
    if step is None:
        return loader, None
    home, _, function = step.rpartition(":")
    return loader, _named(_imported(home) if home else module, function)


def _imported(where: str) -> Any:
    """Import a module by its name, or a script by its path."""
    if not where.endswith(".py"):
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
        return importlib.import_module(where)
    path = Path(where).resolve()
    if not path.is_file():
        raise ValueError(f"there is no script {where}")
    sys.path.insert(0, str(path.parent))  # as `python script.py` does
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # so that workers which are spawned find its classes
    spec.loader.exec_module(module)
    return module


def _named(module: Any, name: str) -> Any:
    """Return what a dotted name stands for in a module."""
    found = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{module.__name__} has no {name}")
        found = getattr(found, part)
    return found


def _only_loader(module: Any) -> Any:
    """Return the first loader of a script, or the function that says it returns one."""
    from torch.utils.data import DataLoader

    loaders = [value for value in vars(module).values() if isinstance(value, DataLoader)]
    if loaders:
        return loaders[0]
    makers = [value for value in vars(module).values() if _returns_loader(value, module)]
    if len(makers) == 1:
        return makers[0]
    raise ValueError(
        f"{module.__name__} has no loader at its top level, and {len(makers)} functions that "
        f"return one: name it, as in {module.__name__}.py:make_loader"
    )


def _returns_loader(value: Any, module: Any) -> bool:
    if not callable(value) or getattr(value, "__module__", None) != module.__name__:
        return False
    told = getattr(value, "__annotations__", {}).get("return")
    return "DataLoader" in (told if isinstance(told, str) else getattr(told, "__name__", ""))


def show(seen: Profile) -> None:
    """Print the figures and the findings as tables."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from dlkit.diagnose.report import figures

    console = Console(highlight=False)
    table = Table(box=box.SIMPLE, show_header=False)
    for name, value in figures(seen):
        table.add_row(escape(name), escape(value))
    console.print(table)
    diagnosis = seen.diagnose()
    console.print(escape(diagnosis.verdict))
    if not diagnosis:
        console.print("Nothing was found that would gain much.")
        return
    found = Table(box=box.SIMPLE_HEAD)
    for heading in ("finding", "seen", "change", "predicted gain"):
        found.add_column(heading, overflow="fold")
    for one in diagnosis:
        change = f"{one.change}\n{one.code}"
        found.add_row(*map(escape, (one.name, one.evidence, change, one.promise)))
    console.print(found)
