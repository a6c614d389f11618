"""Run a loader at every setting of a grid, and keep what each delivered in a table.

    grid --product--> settings --make_loader, run--> one row each --> file, table, picture

A row is written to the file as soon as it is there. So a sweep that was stopped, or killed, goes on
where it was when it is called again.
"""

import itertools
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlkit.diagnose.running import StoppedError, run_for
from dlkit.progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd

    from dlkit.plots.style import Picture

FIGURES = ("throughput", "wait_share", "first_batch", "batches", "seconds")


@dataclass(frozen=True)
class Sweep:
    """The table of a sweep.

    Attributes:
        names: of the settings, in the order of the grid.
        rows: one for each setting that was run: its settings, what was measured (see `Measured`),
            and `error`, which is None or says why no such loader could be made.
        complete: whether every setting of the grid has a row.
    """

    names: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    complete: bool = True

    @property
    def best(self) -> dict[str, Any]:
        """The settings with the highest throughput.

        Raises:
            ValueError: if nothing was measured.
        """
        measured = [row for row in self.rows if row["error"] is None]
        if not measured:
            raise ValueError("no setting of this sweep was measured, so none is the best")
        row = max(measured, key=lambda row: row["throughput"])
        return {name: row[name] for name in self.names}

    def to_pandas(self) -> "pd.DataFrame":
        """Return the table as a data frame, one row a setting, one column a name."""
        import pandas as pd

        return pd.DataFrame(list(self.rows), columns=[*self.names, *FIGURES, "error"])

    def plot(self) -> "Picture":
        """Draw throughput: lines for one setting that varies, a heat map for two."""
        from dlkit.plots.sweep import picture

        return picture(self.rows, self.names)


def sweep(
    grid: Mapping[str, Sequence[Any]],
    make_loader: Callable[..., Any],
    *,
    step: Callable[[Any], Any] | None = None,
    seconds: float = 1.0,
    file: str | Path | None = None,
    progress: bool = True,
    stop: threading.Event | None = None,
) -> Sweep:
    """Run a loader at every setting of a grid.

    Args:
        grid: for each keyword argument of `make_loader` the values to try; they must be values that
            JSON has, because rows are kept by them.
        make_loader: returns a loader, dlkit's or PyTorch's, for one value of each. If it raises
            `ValueError` or `TypeError`, that setting is impossible, and its row says why.
        step: what training does with a batch; nothing by default.
        seconds: how long to time each setting.
        file: where rows are kept, one JSON object a line; rows that are there already are not run
            again.
        progress: whether to draw a progress bar (needs tqdm).
        stop: set it from another thread, and the sweep returns the rows that it has.

    Returns:
        The table, rows in the order of the grid.

    Raises:
        TypeError, ValueError: if an argument is impossible, or the file holds another sweep.
        Exception: what the loader raises while it runs, with a note that names the setting. Rows
            until then are in the file, and no worker is left.

    Example:
        >>> import torch, dlkit
        >>> data = dlkit.TensorDataset(torch.arange(1000))
        >>> def make_loader(**settings):
        ...     return dlkit.DataLoader(data, **settings)
        >>> table = sweep({"batch_size": [1, 100]}, make_loader, seconds=0.01, progress=False)
        >>> table.best
        {'batch_size': 100}
    """
    settings = _settings(grid)
    if not callable(make_loader):
        raise TypeError(f"make_loader must be callable, but got {make_loader!r}")
    if step is not None and not callable(step):
        raise TypeError(f"step must be callable or None, but got {step!r}")
    if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ValueError(f"seconds must be more than 0, but got {seconds!r}")
    names = tuple(grid)
    path = None if file is None else Path(file)
    rows = _read(path, names)
    todo = [one for one in settings if _key(one) not in rows]
    stopped = False
    done = len(settings) - len(todo)
    with progress_bar(
        progress, total=len(settings), initial=done, desc="sweep", unit="setting"
    ) as bar:
        for one in todo:
            try:
                row = _measure(one, make_loader, step, seconds, stop)
            except StoppedError:
                stopped = True
                break
            rows[_key(one)] = row
            if path is not None:
                _append(path, row)
            bar.update()
    found = tuple(rows[_key(one)] for one in settings if _key(one) in rows)
    return Sweep(names, found, complete=not stopped)


def _measure(
    settings: dict[str, Any],
    make_loader: Callable[..., Any],
    step: Callable[[Any], Any] | None,
    seconds: float,
    stop: threading.Event | None,
) -> dict[str, Any]:
    """Run one setting, and return its row."""
    try:
        loader = make_loader(**settings)
    except (TypeError, ValueError) as error:
        return {**settings, **dict.fromkeys(FIGURES), "error": f"{type(error).__name__}: {error}"}
    try:
        measured = asdict(run_for(loader, seconds, step, stop))
    except Exception as error:
        error.add_note(f"while running the loader with {settings}")
        raise
    return {**settings, **{name: measured[name] for name in FIGURES}, "error": None}


def _settings(grid: Any) -> list[dict[str, Any]]:
    """Return every setting of a grid, after checking it."""
    if not isinstance(grid, Mapping):
        raise TypeError(f"grid must be a dictionary of values to try, but got {grid!r}")
    for name, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not len(values):
            raise ValueError(f"grid[{name!r}] must be a list of values, but got {values!r}")
        try:
            json.dumps(list(values))
        except TypeError:
            raise TypeError(
                f"grid[{name!r}] must hold values that JSON has (numbers, strings, True, False, "
                f"None), but got {values!r}; let make_loader turn names into objects"
            ) from None
    if not grid:
        raise ValueError("grid must name at least one setting, but got {}")
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _read(path: Path | None, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the rows of a file by their settings; a line that was not finished is left out."""
    if path is None or not path.exists():
        return {}
    rows = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # the process was killed while it wrote this line
        if not isinstance(row, dict) or set(row) != {*names, *FIGURES, "error"}:
            raise ValueError(
                f"file {str(path)!r} holds another sweep: line {number} is not a row of settings "
                f"{list(names)}; name another file, or delete it"
            )
        rows[_key({name: row[name] for name in names})] = row
    return rows


def _append(path: Path, row: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size
    with path.open("a") as file:
        file.write(("\n" if unfinished else "") + json.dumps(row) + "\n")
