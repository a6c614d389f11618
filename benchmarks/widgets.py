"""How long a widget takes to redraw after one step of a control: the median is to be under 100 ms.

    python -m benchmarks.widgets [--steps 20] [--json FILE]

Every control of every explorer is moved through its values, and back again, in this process: what
is measured is the work in the kernel, from the changed value to the new PNG and the new text. The
ratio is to 100 ms; that of the slowest steps stands under "to".
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ipywidgets

from benchmarks.measure import Row, machine, report
from dlkit import lab
from dlkit.storage.throughput import Throughput

LIMIT = 100.0  # milliseconds
RATES = [
    Throughput(format, order, workers, rate)
    for format, rate in (("arrow", 2e5), ("memmap", 3e5), ("tar", 1e4), ("tfrecord", 5e4))
    for order in ("in order", "shuffled")
    for workers in (0, 2)
]
EXPLORERS: dict[str, Callable[[], lab.Explorer]] = {
    "BatchingExplorer": lambda: lab.BatchingExplorer(size=500, batch_size=8),
    "LiveTimeline": lambda: lab.LiveTimeline(workers=4),
    "ProgressView": lambda: lab.ProgressView(lab.Progress(tempfile.mkdtemp())),
    "ShardingExplorer": lambda: lab.ShardingExplorer(samples=64, ranks=6),
    "ShuffleExplorer": lambda: lab.ShuffleExplorer(),
    "StorageExplorer": lambda: lab.StorageExplorer({"small": RATES, "large": RATES}),
    "WorkersExplorer": lambda: lab.WorkersExplorer(workers=4),
}


def values(control: Any) -> list[Any]:
    """Return all values that a control can have, in their order."""
    if isinstance(control, ipywidgets.IntSlider):
        return list(range(control.min, control.max + 1, control.step))
    if isinstance(control, ipywidgets.ToggleButton | ipywidgets.Checkbox):
        return [False, True]
    return [value for _, value in control._options_full]


def walk(control: Any) -> Iterator[Any]:
    """Yield the value after each step of a key: up to the last one, down again, and so on."""
    there = values(control)
    up_and_down = itertools.cycle([*there, *there[-2:0:-1]])
    for value in itertools.dropwhile(lambda one: one != control.value, up_and_down):
        if value != control.value:
            yield value


def redraws(explorer: lab.Explorer, control: Any, steps: int) -> list[float]:
    """Return the milliseconds of so many redraws, each after one step of a control."""
    start, taken = control.value, []
    for value in itertools.islice(walk(control), steps):
        began = time.perf_counter()
        control.value = value
        taken.append((time.perf_counter() - began) * 1e3)
    control.value = start
    return taken


def measure(name: str, steps: int) -> list[Row]:
    """Move every control of a widget.

    Args:
        name: a key of `EXPLORERS`.
        steps: of each control.
    """
    explorer = EXPLORERS[name]()
    rows = []
    for label, control in explorer.controls.items():
        taken = redraws(explorer, control, steps)
        median = statistics.median(taken)
        low, high = min(taken) / LIMIT, max(taken) / LIMIT
        rows.append(Row(name, label, median, median / LIMIT, low, high, 1.0, "ms", at_most=True))
    explorer.close()
    return rows


def main() -> None:
    """Measure all widgets and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=20, help="of each control (20)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    about = machine()
    rows = (row for name in EXPLORERS for row in measure(name, options.steps))
    report(rows, about, options.json)


if __name__ == "__main__":
    main()
