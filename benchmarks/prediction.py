"""Predicted against measured throughput, on a grid of settings that are really run.

    python -m benchmarks.prediction [--repeats 3] [--json FILE] [--plot FILE] [--quick]

What a sample costs is measured once for each kind of work and batch size, with no workers of the
loader's; then every number of workers is predicted from that, and run. A run goes on until the
pipeline has been in its steady state for a while, and repeats are interleaved with those of the
other settings, so that a slow minute of the machine meets them all; the median counts.

Bars: the median error is at most 10 %, the 90th percentile at most 25 %.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.measure import machine
from dlkit import DataLoader
from dlkit.datasets import Cost, synthetic_images
from dlkit.diagnose.costs import Costs
from dlkit.diagnose.measure import measure_costs
from dlkit.diagnose.predict import Prediction, predict

MEDIAN_BAR, WORST_BAR = 0.10, 0.25
SHAPE = (3, 32, 32)
KINDS = {
    "CPU, light": Cost(cpu_seconds=0.0005),
    "CPU, heavy": Cost(cpu_seconds=0.002),
    "I/O wait": Cost(wait_seconds=0.003),
    "CPU and wait": Cost(cpu_seconds=0.001, wait_seconds=0.002),
}
SIZES, WORKERS, STEP = (4, 16, 48), (0, 1, 2, 3, 4), 0.004


@dataclass(frozen=True)
class Point:
    """One setting: what was predicted, and what its runs delivered, in samples/s."""

    work: str
    batch_size: int
    num_workers: int
    method: str
    predicted: float
    low: float
    high: float
    measured: float
    runs: tuple[float, ...]

    @property
    def error(self) -> float:
        """How far the prediction is off, as a share of what was measured."""
        return abs(self.predicted / self.measured - 1)

    @property
    def inside(self) -> bool:
        """Whether the band of the prediction holds what was measured."""
        return self.low <= self.measured <= self.high


def step(_batch: object) -> None:
    """Train for a while as on an accelerator: this process waits."""
    time.sleep(STEP)


def settings(quick: bool) -> Iterator[tuple[str, int, int, str]]:
    """Yield the grid: kind of work, batch size, workers, method."""
    kinds = list(KINDS)[1:3] if quick else list(KINDS)
    sizes = SIZES[:1] if quick else SIZES
    workers = (0, 2) if quick else WORKERS
    for kind, size, count in product(kinds, sizes, workers):
        yield kind, size, count, "process"
        if count in (2, 4) and size == sizes[0] and not quick:
            yield kind, size, count, "thread"


def measured(kind: str, size: int, workers: int, method: str, seconds: float) -> float:
    """Run a loader until it has been in its steady state for a while; return its samples/s."""
    data = synthetic_images(100_000, SHAPE, cost=KINDS[kind])
    batches = iter(DataLoader(data, size, num_workers=workers, worker_method=method))
    for _ in range(2 * workers + 2):  # the pipeline fills
        step(next(batches))
    start = time.perf_counter()
    count = 0
    while count < 2 * workers + 2 or time.perf_counter() - start < seconds:
        step(next(batches))
        count += 1
    took = time.perf_counter() - start
    del batches  # ends the workers
    return count * size / took


def measure_all(quick: bool, repeats: int) -> list[Point]:
    """Measure the costs, predict and run every setting."""
    grid = list(settings(quick))
    seconds = 0.1 if quick else 1.2
    costs: dict[tuple[str, int], Costs] = {}
    for kind, size in sorted({(kind, size) for kind, size, _, _ in grid}):
        data = synthetic_images(100_000, SHAPE, cost=KINDS[kind])
        loader = DataLoader(data, batch_size=size)
        costs[kind, size] = measure_costs(loader, step=step, seconds=0.2 if quick else 1.0)
    runs: dict[tuple[str, int, int, str], list[float]] = {point: [] for point in grid}
    for number in range(1, repeats + 1):
        for point in grid:
            runs[point].append(measured(*point, seconds))
        print(f"round {number} of {repeats} done", flush=True)
    points = []
    for (kind, size, workers, method), rates in runs.items():
        guess: Prediction = predict(costs[kind, size], num_workers=workers, method=method)
        points.append(
            Point(
                kind, size, workers, method, guess.throughput, guess.low, guess.high,
                statistics.median(rates), tuple(rates),
            )
        )  # fmt: skip
    return points


def report(points: list[Point]) -> bool:
    """Print predicted against measured, and say whether the bars are met."""
    print(f"{'work':14} {'batch':>5} {'workers':>8} {'':8} {'predicted':>10} {'band':>15} "
          f"{'measured':>9} {'error':>6}")  # fmt: skip
    for p in points:
        band = f"{p.low:,.0f}-{p.high:,.0f}"
        print(
            f"{p.work:14} {p.batch_size:5} {p.num_workers:8} {p.method:8} {p.predicted:10,.0f} "
            f"{band:>15} {p.measured:9,.0f} {p.error:6.1%}"
        )
    errors = [p.error for p in points]
    median, worst = statistics.median(errors), float(np.quantile(errors, 0.9))
    inside = sum(p.inside for p in points) / len(points)
    print(f"\n{len(points)} settings; the band held {inside:.0%} of them")
    for name, value, bar in (
        ("median error", median, MEDIAN_BAR),
        ("90th percentile", worst, WORST_BAR),
    ):
        print(f"{name:16} {value:6.1%}   at most {bar:.0%}{'' if value <= bar else '  MISSED'}")
    return median <= MEDIAN_BAR and worst <= WORST_BAR


def main() -> None:
    """Measure, print the table, and draw it if there is a path."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="runs of each setting (3)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--plot", type=Path, help="also draw them into this PNG file")
    parser.add_argument("--quick", action="store_true", help="a tiny grid: see that all of it runs")
    options = parser.parse_args()
    about = machine()
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    points = measure_all(options.quick, 1 if options.quick else options.repeats)
    report(points)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        content = {"machine": about, "points": [asdict(p) | {"error": p.error} for p in points]}
        options.json.write_text(json.dumps(content, indent=2) + "\n")
        print(f"written to {options.json}")
    if options.plot:
        from dlkit.plots.prediction import predicted_and_measured
        from dlkit.plots.style import png

        options.plot.parent.mkdir(parents=True, exist_ok=True)
        options.plot.write_bytes(png(predicted_and_measured(points)))
        print(f"drawn to {options.plot}")


if __name__ == "__main__":
    main()
