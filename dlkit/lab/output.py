"""What other processes print: kept out of the notebook, for the cell that wants to show it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def stderr_of_children() -> Iterator[list[str]]:
    """Collect what processes that are started inside the `with` write to standard error.

    Yields:
        A list, filled with the lines at the end of the `with`.

    >>> import subprocess, sys
    >>> with stderr_of_children() as lines:
    ...     ended = subprocess.run([sys.executable, "-c", "raise SystemExit('no')"])
    >>> lines
    ['no']
    """
    lines: list[str] = []
    # The descriptor has to be exchanged: a child does not know this process's sys.stderr.
    with tempfile.TemporaryFile("w+") as file:
        ours = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(ours, 2)
            os.close(ours)
            file.seek(0)
            lines.extend(file.read().splitlines())
