"""The reference: a page for each public module, which Sphinx fills from the docstrings.

A name is described once, where it is at home; a module that offers it too links there.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

from dlkit.cli import COMMANDS, build_parser

# In the order in which a batch passes them, then what is made of it. Below a page's first module
# stand those whose names it does not offer itself.
PAGES: dict[str, tuple[str, ...]] = {
    "dlkit": (),
    "dlkit.datasets": (),
    "dlkit.samplers": (),
    "dlkit.collate": (),
    "dlkit.workers": ("simulated",),
    "dlkit.device": (),
    "dlkit.trace": (),
    "dlkit.diagnose": ("profiled", "findings", "costs", "sweep", "running"),
    "dlkit.cache": (),
    "dlkit.storage": ("throughput",),
    "dlkit.transforms": (),
    "dlkit.batch_size": (),
    "dlkit.streaming": ("simulated",),
    "dlkit.live": ("driving",),
    "dlkit.ddp": ("scaling",),
    "dlkit.models": (),
    "dlkit.mixing": (),
    "dlkit.trainer": ("augment", "results"),
    "dlkit.plots": ("pipeline", "batching", "shuffling", "building", "workers", "profiling",
                    "prediction", "sweep", "augmentation", "training", "classification",
                    "sharding", "ranks", "storage", "streaming", "driving", "style"),
    "dlkit.lab": ("live_plot", "exercises", "cards", "interview", "demos", "clinic"),
    "dlkit.bench": (),
    "dlkit.cli.doctor": (),
}  # fmt: skip


def names_of(module: str) -> list[str]:
    """List the names that a module offers, without modules and constants of one line.

    Args:
        module: its dotted name.

    Returns:
        Those in its `__all__`, or else the public functions and classes that it defines.
    """
    loaded = importlib.import_module(module)
    offered: Sequence[str] = getattr(loaded, "__all__", ())
    if not offered:
        defined = vars(loaded).items()
        offered = [name for name, found in defined if getattr(found, "__module__", "") == module]
    described = (name for name in offered if not name.startswith("_"))
    return [name for name in described if callable(getattr(loaded, name))]


def homes() -> dict[int, str]:
    """Say for each object that a page may describe which module's page does so: the most special.

    Returns:
        The module's name by the object's identity.
    """
    found: dict[int, str] = {}
    for module in PAGES:
        loaded = importlib.import_module(module)
        found |= {id(getattr(loaded, name)): module for name in names_of(module)}
    return found


def module_page(module: str, home: dict[int, str]) -> str:
    """Write the page of a module in reStructuredText.

    Args:
        module: one of `PAGES`.
        home: what `homes` returns.

    Returns:
        A title, the module's docstring, and each name that is at home here.
    """
    loaded = importlib.import_module(module)
    here: list[str] = []
    there: list[str] = []
    for name in names_of(module):
        where = home[id(getattr(loaded, name))]
        if where == module:
            here.append(name)
        else:
            there.append(f":py:obj:`~{where}.{name}`")
    text = _title(module) + _automodule(module, here)
    if there:
        text += f"Also offered here: {', '.join(there)}.\n\n"
    for part in PAGES[module]:
        whole = f"{module}.{part}"
        loaded = importlib.import_module(whole)
        names = [name for name in names_of(whole) if id(getattr(loaded, name)) not in home]
        text += _title(whole, "-") + _automodule(whole, names)
    return text


def commands_page() -> str:
    """Write the page of the command line: what each command answers to ``--help``."""
    text = _title("Commands")
    for command in COMMANDS:
        parser = build_parser(command)
        (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        text += _title(f"dlkit {command}", "-") + "::\n\n"
        lines = commands.choices[command].format_help().splitlines()
        text += "\n".join(f"    {line}".rstrip() for line in lines) + "\n\n"
    return text


def reference_pages(chosen: Sequence[str] = ()) -> dict[str, str]:
    """Write the pages: the text of each by its name, an index first.

    Args:
        chosen: names of modules; all of them if that is empty.
    """
    home = homes()
    pages = {name: module_page(name, home) for name in PAGES if name in chosen or not chosen}
    pages["commands"] = commands_page()
    listed = "".join(f"   {name}\n" for name in pages)
    index = (
        _title("Reference")
        + "What the package offers, in the order in which a batch is made. `import dlkit` needs "
        "PyTorch, NumPy and cloudpickle alone; the rest is imported when it is used.\n\n"
        + f".. toctree::\n   :maxdepth: 1\n\n{listed}"
    )
    return {"index": index, **pages}


def _title(text: str, underline: str = "=") -> str:
    return f"{text}\n{underline * len(text)}\n\n"


def _automodule(module: str, names: Sequence[str]) -> str:
    members = f"   :members: {', '.join(names)}\n" if names else ""
    return f".. automodule:: {module}\n{members}\n"
