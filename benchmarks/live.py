"""Live digits, watched: the latency of their answers while a widget draws them.

    python -m benchmarks.live [--quick] [--json FILE]

Each load runs twice, with and without the widget, whose picture is drawn by the same processor and
under the same lock of Python. The bar: while it is watched, the p99 is under the objective of 50 ms
in the median second, at each load that is answered without a drop when nobody watches.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import Row, machine, report
from dlkit.lab.live import LiveDigitsWidget
from dlkit.live import LiveDigits, Moment, train_recogniser

OBJECTIVE = 0.050  # seconds
LOADS = (200, 400, 1000)  # frames/s
SETTLING = 2  # readings, one a second, that belong to the start

Model = Callable[[torch.Tensor], torch.Tensor]


def alone(model: Model, load: int, seconds: int) -> list[Moment]:
    """Read the system every second while nothing draws it."""
    with LiveDigits(model, load, OBJECTIVE) as system:
        for _ in range(seconds):
            system.wait(1.0)
            system.read()
        return list(system.history)


def watched(model: Model, load: int, seconds: int) -> list[Moment]:
    """Read the system every second, as its widget does for each picture."""
    widget = LiveDigitsWidget(model, load, OBJECTIVE, longest=seconds)
    widget.start()
    system = widget.system
    assert system is not None
    system.wait(seconds + 1.0)
    widget.stop()
    return list(system.history)


def latency(
    model: Model, loads: tuple[int, ...], seconds: int, settling: int = SETTLING
) -> list[Row]:
    """Say for each load which share of the objective the p99 took, in the median second."""
    rows = []
    for load in loads:
        keeps_up = True
        for name, run in (("alone", alone), ("watched", watched)):
            moments = run(model, load, seconds)
            settled = moments[settling:]
            shares = [moment.stats.p99 / OBJECTIVE for moment in settled]
            held = sum(share <= 1.0 for share in shares)
            dropped = sum(moment.dropped for moment in settled)
            note = f"{held} of {len(shares)} seconds held, {dropped} dropped"
            middle = float(np.median(shares))
            bar = 1.0 if run is watched and keeps_up else None
            rows.append(
                Row(f"p99 of digits at {load} frames/s, share of 50 ms", name,
                    middle * OBJECTIVE * 1e3, middle, min(shares), max(shares), bar=bar,
                    unit="ms", at_most=True, note=note)
            )  # fmt: skip
            keeps_up = keeps_up and dropped == 0
    return rows


def main() -> None:
    """Measure each load and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short, to see that it runs")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    about = machine()
    torch.set_num_threads(1)
    rows = latency(train_recogniser(), LOADS, 4 if options.quick else 20)
    report(rows, about, options.json)
    sys.exit(any(row.reached is False for row in rows) and not options.quick)


if __name__ == "__main__":
    main()
