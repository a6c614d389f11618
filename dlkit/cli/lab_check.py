"""``dlkit lab --check``: run every notebook on this machine, before a class does.

Each notebook runs as it came, in a copy in a temporary folder, so nothing that a learner has
changed counts and nothing is left behind.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from dlkit.cli.copies import bring_copies, find_notebooks, notebook_files


def check_notebooks(source: Path | None = None) -> int:
    """Run the notebooks one after the other and print a line for each.

    Args:
        source: their folder; that of the notebooks that came with this package if None.

    Returns:
        0 if all of them run to their end, 1 otherwise.

    Raises:
        FileNotFoundError: there are no notebooks.
    """
    source = find_notebooks(source)
    names = [path.name for path in notebook_files(source) if path.suffix == ".ipynb"]
    width = max(len(Path(name).stem) for name in names)
    complaints: list[tuple[str, str]] = []
    print(f"{'notebook':{width}}  seconds  result", flush=True)
    with tempfile.TemporaryDirectory(prefix="dlkit-check-") as folder:
        bring_copies(Path(folder), source)
        for name in names:
            start = time.monotonic()
            complaint = _run(Path(folder, name))
            seconds = time.monotonic() - start
            verdict = "FAILED" if complaint else "runs"
            print(f"{Path(name).stem:{width}}  {seconds:7.1f}  {verdict}", flush=True)
            if complaint:
                complaints.append((name, complaint))
    for name, complaint in complaints:
        print(f"\n{name}: {complaint}")
    print(f"\n{len(names) - len(complaints)} of {len(names)} notebooks run on this machine.")
    return 1 if complaints else 0


def _run(path: Path) -> str | None:
    """Run a notebook in its folder; returns what went wrong."""
    from dlkit.lab.build import BuildError, execute
    from dlkit.lab.text import read_notebook

    try:
        execute(read_notebook(path), path.parent)
    except BuildError as error:
        return str(error)
    return None
