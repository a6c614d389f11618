"""What `tune` finds, against the best of a whole grid of settings that are all run.

    python -m benchmarks.tuning [--seconds 1.5] [--json FILE] [--only WORD] [--quick]

For each of ten workloads the grid is run, each setting twice and interleaved; then `tune` gets a
quarter of the time that took. What it returns is run again beside the grid's best, in turns: the
ratio of those runs is what counts, not the figure by which each of them was chosen.

Bars: at least 0.9 of the grid's best, in at most a quarter of its time.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import dlkit
from benchmarks.measure import machine
from benchmarks.samples import JpegFiles, Rows, Texts, pad_by_hand, write_jpegs
from dlkit.datasets import Cost, synthetic_images
from dlkit.diagnose.running import run_for

BEST_BAR, TIME_BAR = 0.9, 0.25
ROUNDS = 3  # in which the two winners take turns
Step = Callable[[Any], Any]


@dataclass(frozen=True)
class Workload:
    """A dataset as a user would have it, and what training does with its batches."""

    dataset: Any
    batch_size: int
    collate_fn: Callable[[Any], Any] | None = None
    step: Step | None = None

    def make_loader(self, **settings: Any) -> Any:
        """Return a loader with these settings."""
        options: dict[str, Any] = {
            "batch_size": self.batch_size,
            "collate_fn": self.collate_fn,
            "shuffle": True,
        }
        return dlkit.DataLoader(self.dataset, **options, **settings)


@dataclass(frozen=True)
class Outcome:
    """What the grid and `tune` found for one workload."""

    workload: str
    grid_best: dict[str, Any]
    tuned: dict[str, Any]
    ratio: float  # of the tuned throughput to the grid's best, median of the rounds
    grid_seconds: float
    tune_seconds: float
    settings_in_grid: int

    @property
    def share(self) -> float:
        """Which share of the grid's time tuning took."""
        return self.tune_seconds / self.grid_seconds

    @property
    def reached(self) -> bool:
        """Whether both bars were reached."""
        return self.ratio >= BEST_BAR and self.share <= TIME_BAR


def waits(seconds: float) -> Step:
    """Return a step that waits, as for an accelerator."""
    return lambda _batch: time.sleep(seconds)


def computes(batch: Any) -> None:
    """Train a little on the CPU."""
    images = batch[0].float().flatten(1)
    (images @ torch.ones(images.shape[1], 256)).sum().item()


def workloads(folder: str) -> dict[str, Workload]:
    """Return the ten workloads by name."""

    def images(cost: Cost, side: int = 32) -> Any:
        return synthetic_images(20_000, (3, side, side), cost=cost)

    tensors = dlkit.TensorDataset(torch.rand(20_000, 3, 32, 32), torch.arange(20_000))
    return {
        "tensors in memory": Workload(tensors, 64),
        "tensors, slow step": Workload(tensors, 64, step=waits(0.005)),
        "Python code": Workload(images(Cost(cpu_seconds=0.001)), 16),
        "Python code, slow step": Workload(images(Cost(cpu_seconds=0.001)), 16, step=waits(0.02)),
        "work without the lock": Workload(images(Cost(cpu_seconds=0.001, gil=False)), 16),
        "slow disk": Workload(images(Cost(wait_seconds=0.003)), 16),
        "network, then Python": Workload(
            images(Cost(cpu_seconds=0.001, wait_seconds=0.004)), 16, step=waits(0.01)
        ),
        "JPEG files": Workload(JpegFiles(folder), 16),
        "padded texts": Workload(Texts(20_000), 32, pad_by_hand),
        "large rows, CPU step": Workload(Rows(256, (3, 128, 128), 8_000), 16, step=computes),
    }


def grid(quick: bool) -> Iterator[dict[str, Any]]:
    """Yield every setting."""
    yield {"num_workers": 0}
    workers = (1,) if quick else (1, 2, 3, 4)
    for count, method, factor in itertools.product(workers, ("process", "thread"), (2, 4)):
        if quick and factor == 4:
            continue
        yield {
            "num_workers": count, "worker_method": method, "prefetch_factor": factor,
            "persistent_workers": True,
        }  # fmt: skip


def rate(workload: Workload, settings: dict[str, Any], seconds: float) -> float:
    """Run a setting for a while and return its samples/s."""
    return run_for(workload.make_loader(**settings), seconds, workload.step).throughput


def compare(name: str, workload: Workload, seconds: float, quick: bool) -> Outcome:
    """Run the grid, then tune, then both winners in turns."""
    every = list(grid(quick))
    began = time.perf_counter()
    found: list[list[float]] = [[] for _ in every]
    for _ in range(1 if quick else 2):
        for settings, rates in zip(every, found, strict=True):
            rates.append(rate(workload, settings, seconds))
    grid_seconds = time.perf_counter() - began
    best = max(zip(every, found, strict=True), key=lambda pair: statistics.median(pair[1]))[0]

    began = time.perf_counter()
    tuned = dlkit.tune(
        workload.make_loader,
        # It ends the measurement that it is at, so a little less than the bar.
        budget_seconds=0.8 * TIME_BAR * grid_seconds,
        step=workload.step,
        max_workers=max(settings["num_workers"] for settings in every),
    ).settings
    tune_seconds = time.perf_counter() - began
    ratios = []
    for _ in range(1 if quick else ROUNDS):
        against = rate(workload, best, seconds)
        ratios.append(rate(workload, tuned, seconds) / against)
    return Outcome(
        name, best, tuned, statistics.median(ratios), grid_seconds, tune_seconds, len(every)
    )


def report(outcomes: list[Outcome]) -> None:
    """Print the table, and which bars were missed."""
    for o in outcomes:
        print(
            f"{o.workload:24} {o.ratio:5.2f} of the best of {o.settings_in_grid}, in "
            f"{o.share:4.0%} of {o.grid_seconds:.0f} s{'' if o.reached else '   MISSED'}"
        )
        print(f"{'':24} grid: {_short(o.grid_best)}; tuned: {_short(o.tuned)}")
    reached = sum(o.reached for o in outcomes)
    print(
        f"\n{reached} of {len(outcomes)} workloads within {1 - BEST_BAR:.0%} of the best in at "
        f"most {TIME_BAR:.0%} of its time"
    )


def _short(settings: dict[str, Any]) -> str:
    count = settings["num_workers"]
    if not count:
        return "no worker"
    kind = settings.get("worker_method", "process")
    return f"{count} x {kind}, prefetch {settings.get('prefetch_factor', 2)}"


def main() -> None:
    """Measure what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.5, help="of each run (1.5)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--only", default="", help="only workloads with this in their name")
    parser.add_argument("--quick", action="store_true", help="tiny runs: see that all of it runs")
    options = parser.parse_args()
    about = machine()
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    outcomes = []
    with TemporaryDirectory() as folder:
        write_jpegs(folder, 16 if options.quick else 512)
        chosen = {n: w for n, w in workloads(folder).items() if options.only in n}
        if not chosen:
            parser.error(f"no workload has {options.only!r} in its name")
        for name, workload in chosen.items():
            print(f"measuring {name} ...", flush=True)
            seconds = 0.05 if options.quick else options.seconds
            outcomes.append(compare(name, workload, seconds, options.quick))
    report(outcomes)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        rows = [asdict(o) | {"share": o.share, "reached": o.reached} for o in outcomes]
        options.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=2) + "\n")
        print(f"written to {options.json}")


if __name__ == "__main__":
    main()
