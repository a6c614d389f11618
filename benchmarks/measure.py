"""Time several ways of doing the same work, interleaved, and report ratios of medians.

A machine that others use too changes speed from second to second. So the candidates take turns
(A B C A B C ...), each round gives one ratio per candidate against the baseline of that same round,
and the median over the rounds is what counts. The spread is printed beside it.
"""

import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Row:
    """One candidate's result for one workload."""

    workload: str
    candidate: str
    samples_per_second: float  # median over the rounds
    ratio: float  # to the baseline; median of the rounds' ratios
    lowest: float  # ratio in the worst round
    highest: float  # ratio in the best round
    bar: float | None = None  # what the ratio should reach

    @property
    def reached(self) -> bool | None:
        """Whether the bar was reached; None where there is none."""
        return None if self.bar is None else self.ratio >= self.bar


def compare(
    workload: str,
    candidates: dict[str, Callable[[], int]],
    *,
    rounds: int = 7,
    bars: dict[str, float] | None = None,
    seconds: float = 0.4,
) -> list[Row]:
    """Run all candidates in turn; the first one is the baseline.

    Args:
        workload: its name in the table.
        candidates: for each name a function that does the work once and returns how many samples
            that was.
        rounds: how often all take their turn, at least 5.
        bars: ratios that candidates should reach.
        seconds: each turn repeats the work until about so much time has passed.
    """
    repeats = {}
    for name, work in candidates.items():
        work()  # warm-up: imports, allocations, caches
        start = time.perf_counter()
        work()
        repeats[name] = max(1, round(seconds / (time.perf_counter() - start)))
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, work in candidates.items():
            rates[name].append(_rate(work, repeats[name]))
    baseline = next(iter(rates.values()))
    rows = []
    for name, values in rates.items():
        ratios = [value / base for value, base in zip(values, baseline, strict=True)]
        rows.append(
            Row(
                workload,
                name,
                statistics.median(values),
                statistics.median(ratios),
                min(ratios),
                max(ratios),
                (bars or {}).get(name),
            )
        )
    return rows


def _rate(work: Callable[[], int], repeats: int) -> float:
    gc.collect()  # so that one candidate does not pay for the garbage of another
    start = time.perf_counter()
    samples = sum(work() for _ in range(repeats))
    return samples / (time.perf_counter() - start)


def machine() -> dict[str, str | int | float]:
    """What the figures depend on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else -1.0
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": cores or 0,
        "load_before": round(load, 2),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def report(rows: list[Row], about: dict[str, str | int | float], path: Path | None) -> None:
    """Print the table, and write it as JSON if there is a path."""
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    workload = None
    for row in rows:
        if row.workload != workload:
            workload = row.workload
            print(f"\n{workload}")
            print(f"  {'':38} {'samples/s':>12} {'ratio':>7} {'from':>7} {'to':>7}   bar")
        verdict = {None: "", True: f"{row.bar:g}" if row.bar else "", False: f"{row.bar}  MISSED"}
        print(
            f"  {row.candidate:38} {row.samples_per_second:12,.0f} {row.ratio:7.2f} "
            f"{row.lowest:7.2f} {row.highest:7.2f}   {verdict[row.reached]}"
        )
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"machine": about, "rows": [asdict(row) for row in rows]}
        path.write_text(json.dumps(content, indent=2) + "\n")
        print(f"\nwritten to {path}")
