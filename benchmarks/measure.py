"""Measure several ways of doing the same work, interleaved, and report ratios of medians.

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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

# The candidates.
TORCH = "torch.utils.data.DataLoader"  # the baseline
PROCESSES = "dlkit.DataLoader, processes"
THREADS = "dlkit.DataLoader, threads"
Figure = TypeVar("Figure")


@dataclass(frozen=True)
class Row:
    """One candidate's result for one workload."""

    workload: str
    candidate: str
    median: float  # over the rounds, in `unit`
    ratio: float  # to the baseline; median of the rounds' ratios
    lowest: float  # the smallest ratio of a round
    highest: float  # the largest ratio of a round
    bar: float | None = None  # what the ratio should reach, or not exceed
    unit: str = "samples/s"
    at_most: bool = False  # whether less is better, as of seconds and bytes
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the bar was reached; None where there is none."""
        if self.bar is None:
            return None
        return self.ratio <= self.bar if self.at_most else self.ratio >= self.bar


def compare(
    workload: str,
    candidates: Mapping[str, Callable[[], int]],
    *,
    rounds: int = 7,
    bars: Mapping[str, float] | None = None,
    seconds: float = 0.4,
) -> list[Row]:
    """Compare how many samples a second the candidates make; the first one is the baseline.

    Args:
        workload: its name in the table.
        candidates: for each name a function that does the work once and returns how many samples
            that was.
        rounds: how often all take their turn, at least 5.
        bars: ratios that candidates should reach.
        seconds: each turn repeats the work until about so much time has passed.
    """
    return ratios(workload, rates(candidates, rounds=rounds, seconds=seconds), bars=bars)


def one_pass(loader: Any, samples: int) -> Callable[[], int]:
    """Return the work of one pass: every batch is made and let go, and nothing else is done."""

    def run() -> int:
        for _ in loader:
            pass
        return samples

    return run


def rates(
    candidates: Mapping[str, Callable[[], int]], *, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Return the samples per second of each candidate in each round."""
    turns = {}
    for name, work in candidates.items():
        work()  # warm-up: imports, allocations, caches
        start = time.perf_counter()
        work()
        turns[name] = _turn(work, max(1, round(seconds / (time.perf_counter() - start))))
    return take_turns(turns, rounds)


def _turn(work: Callable[[], int], repeats: int) -> Callable[[], float]:
    def rate() -> float:
        start = time.perf_counter()
        samples = sum(work() for _ in range(repeats))
        return samples / (time.perf_counter() - start)

    return rate


def take_turns(
    candidates: Mapping[str, Callable[[], Figure]], rounds: int
) -> dict[str, list[Figure]]:
    """Ask each candidate for its figure in turn, and return the figures of all rounds."""
    figures: dict[str, list[Figure]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, figure in candidates.items():
            gc.collect()  # so that one candidate does not pay for the garbage of another
            figures[name].append(figure())
    return figures


def ratios(
    workload: str,
    figures: Mapping[str, list[float]],
    *,
    bars: Mapping[str, float] | None = None,
    unit: str = "samples/s",
    at_most: bool = False,
    notes: Mapping[str, str] | None = None,
) -> list[Row]:
    """Return a row for each candidate, each round against the baseline of that same round.

    Args:
        workload: its name in the table.
        figures: for each candidate one figure a round; the first candidate is the baseline.
        bars: ratios that candidates should reach or, with `at_most`, not exceed.
        unit: of the figures.
        at_most: whether less is better.
        notes: what to print behind a candidate's row.
    """
    baseline = next(iter(figures.values()))
    rows = []
    for name, values in figures.items():
        against = [value / base for value, base in zip(values, baseline, strict=True)]
        rows.append(
            Row(
                workload,
                name,
                statistics.median(values),
                statistics.median(against),
                min(against),
                max(against),
                (bars or {}).get(name),
                unit,
                at_most,
                (notes or {}).get(name, ""),
            )
        )
    return rows


def machine() -> dict[str, str | int | float]:
    """What the figures depend on."""
    # Here, because the processes whose memory is measured share its pages with ours.
    import torch

    from dlkit.cores import allowed_cores

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else -1.0
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": allowed_cores(),
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


def report(rows: Iterable[Row], about: Mapping[str, str | int | float], path: Path | None) -> None:
    """Print each row as soon as it is there, and write all as JSON if there is a path."""
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    workload, seen = None, []
    for row in rows:
        seen.append(row)
        if row.workload != workload:
            workload = row.workload
            print(f"\n{workload}")
            print(f"  {'':38} {row.unit:>12} {'ratio':>7} {'from':>7} {'to':>7}   bar")
        figure = f"{row.median:,.0f}" if row.median >= 100 else f"{row.median:.3g}"
        print(
            f"  {row.candidate:38} {figure:>12} {row.ratio:7.2f} "
            f"{row.lowest:7.2f} {row.highest:7.2f}   {_verdict(row)}".rstrip(),
            flush=True,
        )
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"machine": about, "rows": [asdict(row) for row in seen]}
        path.write_text(json.dumps(content, indent=2) + "\n")
        print(f"\nwritten to {path}")


def _verdict(row: Row) -> str:
    if row.bar is None:
        return row.note
    bar = f"{'at most ' if row.at_most else ''}{row.bar:g}"
    return f"{bar}{'' if row.reached else '  MISSED'}  {row.note}"
