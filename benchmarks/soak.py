"""A long run of small batches with workers: does anything grow?

    python -m benchmarks.soak [--batches 200000] [--workers 2] [--method process] [--json FILE]

Epochs of two kinds take turns. In "kept" epochs the workers live on from epoch to epoch. In "new"
epochs they are started for that epoch alone, and it is left before its end, so that batches are
thrown away under way. A few batches are always kept, so that memory comes back out of order. In the
middle of each epoch the command reads what the process and its workers hold.

The verdict leaves out the first quarter of the run, which is warming up. A figure is flat where its
median over the last quarter is at most a tolerance above that over the second quarter (so nothing
leaks), and where from there on its largest value is at most another one above its smallest (so
nothing is left lying about until it happens to be collected). Both tolerances are printed. The exit
status is 1 if anything is not flat. /dev/shm is the whole machine's: let nothing else use it.
"""

import argparse
import json
import statistics
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch.utils import data as torch_data

import dlkit
from benchmarks.measure import machine
from benchmarks.processes import Holdings, can_measure_memory, holdings

BATCH_SIZE = 16
HELD = 5  # batches that are kept while the next ones come
LEFT = 10  # batches before its end at which a "new" epoch is left
MEGABYTE = 1_000_000


class Small(torch_data.Dataset[dict[str, Any]]):
    """Small samples of all that a batch may hold: a tensor, a number and a string."""

    def __init__(self, length: int) -> None:
        self.images = torch.rand(256, 1, 8, 8)
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self.images[index % 256], "label": index, "name": f"sample {index}"}


@dataclass(frozen=True)
class Moment:
    """What was held in the middle of one epoch."""

    kind: str  # "kept" or "new"
    batches: int  # delivered since the start of the run
    held: Holdings


@dataclass(frozen=True)
class Trend:
    """One figure of one kind of epoch over the run."""

    kind: str
    figure: str
    early: float  # median of the second quarter
    late: float  # median of the last quarter
    swing: float  # largest less smallest value from the second quarter on
    may_grow: float
    may_swing: float

    @property
    def flat(self) -> bool:
        """Whether the figure neither grew nor swung by more than its tolerances."""
        return self.late - self.early <= self.may_grow and self.swing <= self.may_swing


def run(batches: int, workers: int, method: str, per_epoch: int) -> Iterator[Moment]:
    """Load so many batches, and yield what is held in the middle of each epoch.

    Raises:
        RuntimeError: if a loader delivers other samples than it should.
    """
    dataset = Small(per_epoch * BATCH_SIZE)
    loaders = {
        kind: dlkit.DataLoader(
            dataset,
            BATCH_SIZE,
            num_workers=workers,
            worker_method=method,
            persistent_workers=kind == "kept",
        )
        for kind in ("kept", "new")
    }
    held: deque[tuple[int, Any]] = deque()
    done = 0
    while done < batches:
        for kind, loader in loaders.items():
            last = per_epoch - LEFT if kind == "new" else None
            for number, batch in enumerate(islice(loader, last)):
                held.append((number, batch))
                if len(held) > HELD:
                    _check(*held.popleft())
                done += 1
                if number == per_epoch // 2:
                    yield Moment(kind, done, holdings())


def _check(number: int, batch: dict[str, Any]) -> None:
    first = number * BATCH_SIZE
    right = list(range(first, first + BATCH_SIZE))
    if batch["label"].tolist() != right or batch["name"][-1] != f"sample {right[-1]}":
        raise RuntimeError(
            f"batch {number} should hold the samples from {right[0]} to {right[-1]}, but it holds "
            f"{batch['label'].tolist()} and {batch['name']}"
        )


def trends(moments: Sequence[Moment]) -> list[Trend]:
    """Compare the second and the last quarter of a run, figure by figure.

    Raises:
        ValueError: if a kind of epoch was seen fewer than 4 times.
    """
    found = []
    for kind in dict.fromkeys(moment.kind for moment in moments):
        seen = [moment.held for moment in moments if moment.kind == kind]
        if len(seen) < 4:
            raise ValueError(f"a verdict needs 4 epochs of each kind, but there are {len(seen)}")
        quarter = len(seen) // 4
        for figure in (field.name for field in fields(Holdings)):
            values = [getattr(one, figure) for one in seen][quarter:]
            early = statistics.median(values[:quarter])
            late = statistics.median(values[-quarter:])
            swing = max(values) - min(values)
            found.append(Trend(kind, figure, early, late, swing, *_tolerances(figure, early)))
    return found


def _tolerances(figure: str, early: float) -> tuple[float, float]:
    """By how much a figure may grow and swing: allocators settle, batches come and go.

    Workers and threads are there or not; one may be seen that is about to end.
    """
    if figure in ("children", "threads"):
        return 0, 1
    if figure.endswith("memory"):
        growth: float = 4 * MEGABYTE  # 40 bytes a batch of a run of 200,000
    else:
        growth = max(0.02 * early, 8) if figure.endswith("mappings") else 2
    return growth, 4 * growth


def report(found: Sequence[Trend]) -> None:
    """Print each trend and the verdict."""
    columns = ("2nd quarter", "last", "may grow by", "swing", "may swing by")
    print(f"\n{'epochs':6} {'':20} {' '.join(f'{column:>12}' for column in columns)}")
    for trend in found:
        in_bytes = trend.figure.endswith("memory")
        name = trend.figure.replace("_", " ") + (", MB" if in_bytes else "")
        numbers = " ".join(
            f"{value / MEGABYTE:>12.1f}" if in_bytes else f"{value:>12g}"
            for value in (trend.early, trend.late, trend.may_grow, trend.swing, trend.may_swing)
        )
        verdict = "" if trend.flat else "  NOT FLAT"
        print(f"{trend.kind:6} {name:20} {numbers}{verdict}")
    print("flat" if all(trend.flat for trend in found) else "NOT FLAT")


def finish(about: dict[str, Any], moments: Sequence[Moment], target: Path | None) -> NoReturn:
    """Print the verdict, write all that was read to a file if wanted, and exit with the verdict."""
    found = trends(moments)
    report(found)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "machine": about,
            "moments": [asdict(moment) for moment in moments],
            "trends": [{**asdict(trend), "flat": trend.flat} for trend in found],
        }
        target.write_text(json.dumps(content, indent=2) + "\n")
        print(f"written to {target}")
    sys.exit(not all(trend.flat for trend in found))


def main() -> None:
    """Run, watch, and end with a verdict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batches", type=int, default=200_000, help="to load (200000)")
    parser.add_argument("--workers", type=int, default=2, help="workers (2)")
    parser.add_argument("--method", choices=("process", "thread"), default="process")
    parser.add_argument("--json", type=Path, help="also write all that was read to this file")
    options = parser.parse_args()
    if not can_measure_memory():
        parser.error("this command reads Linux's /proc/self/smaps_rollup, which is not here")
    # 200 epochs in the whole run; the shortest that can be left early and yet have a middle.
    per_epoch = max(2 * LEFT + 2, min(1_000, options.batches // 200))
    if options.batches < 8 * per_epoch:
        parser.error(f"--batches must be at least {8 * per_epoch}, but got {options.batches}")
    about = machine()
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    moments = []
    print(f"{'batches':>10} epochs  {'main MB':>8} {'workers MB':>10} {'descriptors':>11} maps")
    for moment in run(options.batches, options.workers, options.method, per_epoch):
        moments.append(moment)
        if len(moments) % 20 in (1, 2):
            held = moment.held
            print(
                f"{moment.batches:>10,} {moment.kind:6} {held.main_memory / MEGABYTE:>9.1f} "
                f"{held.worker_memory / MEGABYTE:>10.1f} "
                f"{held.main_descriptors:>5} {held.worker_descriptors:>5} {held.main_mappings:>4}",
                flush=True,
            )
    finish(about, moments, options.json)


if __name__ == "__main__":
    main()
