"""Turn the notebooks' text sources into executed notebooks: ``python -m dlkit.lab.build``.

A build reads ``notebooks/text/NN_name.py``, runs it in a fresh kernel of this Python, and
replaces ``notebooks/NN_name.ipynb`` only when every cell behaved::

    python -m dlkit.lab.build             # whatever changed
    python -m dlkit.lab.build 01 07       # these, when they changed
    python -m dlkit.lab.build --force 02  # this one in any case
    python -m dlkit.lab.build --check     # only report pairs that disagree
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from dlkit.files import replacing
from dlkit.lab.exercises.progress import VARIABLE as PROGRESS
from dlkit.lab.text import (
    ROOT,
    disagreement,
    keys,
    name_cells,
    normalise,
    pairs,
    read_notebook,
    read_text,
)
from dlkit.plots.pipeline import pipeline
from dlkit.plots.style import png

CELL_SECONDS = 300

_writes: Callable[..., str] = nbformat.writes  # nbformat does not annotate it


class BuildError(RuntimeError):
    """A notebook could not be built; the message names the notebook and the cell."""


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run all cells in place, in a fresh kernel of the Python that runs this function.

    The kernel finds no progress of a learner and leaves none: a notebook is the same whoever builds
    it, and whatever they have solved.

    Args:
        notebook: Changed in place: outputs and execution counts.
        folder: The kernel's working folder.

    Raises:
        BuildError: If a cell fails, dies, takes too long, writes to stderr, or is tagged
            ``raises-exception`` and raises nothing.
    """
    from ipykernel.kernelspec import RESOURCES, get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import (
        CellControlSignal,
        CellExecutionError,
        CellTimeoutError,
        DeadKernelError,
    )
    from traitlets import default

    class ThisPython(KernelSpecManager):
        # A "python3" kernel installed for the user would otherwise win, with another Python.
        def get_kernel_spec(self, kernel_name: str) -> Any:
            return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())

    class ThisKernel(AsyncKernelManager):
        @default("kernel_spec_manager")
        def _this_python(self) -> KernelSpecManager:
            return ThisPython(parent=self)

    reached = "no cell"

    def note(cell: NotebookNode, cell_index: int) -> None:
        nonlocal reached
        reached = f"cell {cell_index} ({_first_line(cell)})"

    client = NotebookClient(
        notebook,
        kernel_manager_class=ThisKernel,
        timeout=CELL_SECONDS,
        record_timing=False,
        coalesce_streams=True,
        on_cell_start=note,
        resources={"metadata": {"path": str(folder)}},
    )
    # What the kernel process itself says is of interest only when it dies.
    with tempfile.TemporaryFile("w+") as last_words, tempfile.TemporaryDirectory() as progress:
        try:
            client.execute(stderr=last_words, env={**os.environ, PROGRESS: progress})
        except CellExecutionError as error:
            raise BuildError(f"{reached} failed\n{error}") from None
        except DeadKernelError as error:
            last_words.seek(0)
            raise BuildError(f"{reached} failed: {error}\n{last_words.read()}") from None
        except (CellTimeoutError, CellControlSignal) as error:
            raise BuildError(f"{reached} failed: {error}") from None
    _check_outputs(notebook)


def _check_outputs(notebook: NotebookNode) -> None:
    """Refuse what strict validation would refuse, or would wrongly let pass, later."""
    for position, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        where = f"cell {position} ({_first_line(cell)})"
        if any(output.get("name") == "stderr" for output in cell.outputs):
            text = "".join(o.text for o in cell.outputs if o.get("name") == "stderr")
            raise BuildError(f"{where} wrote to stderr:\n{text}")
        raised = any(output.output_type == "error" for output in cell.outputs)
        if "raises-exception" in cell.metadata.get("tags", ()) and not raised:
            raise BuildError(f"{where} is tagged raises-exception and raised nothing")


def _first_line(cell: NotebookNode) -> str:
    return str(cell.source).strip().partition("\n")[0][:60]


def build(text: Path, target: Path, *, force: bool = False) -> bool:
    """Execute one text source into its notebook.

    Args:
        text: The ``.py`` source.
        target: The ``.ipynb`` to replace.
        force: Build even when the pair agrees and has been executed.

    Returns:
        Whether the notebook was written.

    Raises:
        BuildError: If a cell misbehaves; the old notebook is left as it was.
    """
    notebook = read_text(text)
    previous = read_notebook(target) if target.exists() else None
    if previous is not None and not force and keys(previous) == keys(notebook):
        counts = [c.execution_count for c in previous.cells if c.cell_type == "code"]
        if counts == list(range(1, len(counts) + 1)):
            return False
    name_cells(notebook, previous)
    try:
        execute(notebook, target.parent)
    except BuildError as error:
        raise BuildError(f"{text.name}: {error}") from None
    normalise(notebook, target.stem)
    nbformat.validate(notebook)
    with replacing(target) as file:
        file.write((_writes(notebook) + "\n").encode("utf-8"))
    return True


def draw_images(folder: Path) -> None:
    """Write the pictures that the README and the notebooks' text show.

    Args:
        folder: Where they belong; nothing happens when it does not exist.
    """
    target = folder / "pipeline.png"
    if folder.is_dir():
        drawn = png(pipeline())
        if not target.exists() or target.read_bytes() != drawn:
            target.write_bytes(drawn)


def main(argv: Sequence[str] | None = None) -> int:
    """Build or check notebooks from the command line.

    Args:
        argv: Arguments; those of the process when None.

    Returns:
        0 when all is well, 1 when a notebook failed or a pair disagrees.
    """
    parser = argparse.ArgumentParser(prog="python -m dlkit.lab.build", description=__doc__)
    parser.add_argument("numbers", nargs="*", metavar="NN", help="which notebooks; default: all")
    parser.add_argument("--check", action="store_true", help="only report pairs that disagree")
    parser.add_argument("--force", action="store_true", help="build what has not changed, too")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the notebooks")
    options = parser.parse_args(argv)
    failures = 0
    try:
        chosen = pairs(options.root, options.numbers)
    except ValueError as error:
        parser.error(str(error))
    for text, target in chosen:
        start = time.perf_counter()
        if options.check:
            problem = disagreement(text, target)
            outcome = f"differs: {problem}" if problem else "agrees"
        else:
            problem, outcome = "", "unchanged"
            try:
                if build(text, target, force=options.force):
                    outcome = f"built in {time.perf_counter() - start:.1f} s"
            except (BuildError, OSError) as error:
                problem = outcome = f"FAILED, old notebook kept\n{error}"
        failures += bool(problem)
        print(f"{target.stem}: {outcome}", file=sys.stderr if problem else sys.stdout, flush=True)
    if not options.check:
        draw_images(options.root / "images")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
