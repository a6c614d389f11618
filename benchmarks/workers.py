"""The loader with two workers against PyTorch's: throughput, starting, memory.

    python -m benchmarks.workers [--rounds 5] [--json FILE] [--only WORD] [--quick]

Each workload runs in a process of its own, so that no workers, threads or memory are left from the
one before; its candidates take turns. Memory is the sum of PSS over a process and its workers: each
candidate then has a fresh process, and this one imports no torch, whose pages all would share.

`--only scaling` records, without bars, what 10,000 small batches cost with 1 to 8 workers.
`--quick` takes tiny sizes and one round: everything runs, and the figures mean nothing.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.measure import PROCESSES, THREADS, TORCH, Row, ratios, report, take_turns
from benchmarks.processes import can_measure_memory, in_fresh_process

WORKLOADS, STARTING = "benchmarks.workloads", "benchmarks.starting"  # not imported: see above


def table(rounds: int, quick: bool, folder: str) -> dict[str, Callable[[], list[Row]]]:
    """Return all workloads by name, in the order of the table.

    Args:
        rounds: how often all candidates of a workload take their turn.
        quick: whether to take tiny sizes.
        folder: where the JPEG files are.
    """

    def fresh(function: str, module: str = WORKLOADS, **arguments: Any) -> Callable[[], list[Row]]:
        return partial(in_fresh_process, module, function, rounds=rounds, quick=quick, **arguments)

    return {
        "cheap-32": fresh("cheap_samples", batch_size=32),
        "cheap-128": fresh("cheap_samples", batch_size=128),
        "in-memory": fresh("in_memory"),
        "jpeg": fresh("jpegs", folder=folder),
        "jpeg-cpu": fresh("jpeg_cpu", folder=folder),
        "jpeg-memory-fork": partial(jpeg_memory, rounds, "fork", folder),
        "jpeg-memory-spawn": partial(jpeg_memory, rounds, "spawn", folder),
        "jpeg-memory-forkserver": partial(jpeg_memory, rounds, "forkserver", folder),
        "first-batch-fork": fresh("first_batch", STARTING, method="fork"),
        "first-batch-spawn": fresh("first_batch", STARTING, method="spawn"),
        "first-batch-forkserver": partial(first_batch_by_server, rounds),
        "turn-over": fresh("turn_over", STARTING),
        "busy": fresh("busy_samples"),
        "padded-texts": fresh("variable_lengths", kind="Texts"),
        "padded-speech": fresh("variable_lengths", kind="Speech"),
        "scaling": partial(scaling, rounds, quick),
    }


def jpeg_memory(rounds: int, method: str, folder: str) -> list[Row]:
    """Compare the largest memory of a process and its workers while they decode JPEG files.

    Forked workers share with the process what it has loaded; those that are spawned, or forked from
    a server, load it again. What a process holds before it makes its loader is shown beside them.
    """
    runs: dict[str, list[dict[str, float]]] = {TORCH: [], PROCESSES: [], THREADS: []}
    for _ in range(rounds):
        for name, results in runs.items():
            results.append(
                in_fresh_process(
                    WORKLOADS, "jpeg_memory", candidate=name, method=method, folder=folder
                )
            )
    figures = {name: [run["largest"] for run in results] for name, results in runs.items()}
    figures["the process before its loader is made"] = [run["before"] for run in runs[TORCH]]
    name = f"JPEGs, batch 32, 2 workers, {method}: largest memory (sum of PSS)"
    return ratios(name, figures, bars={THREADS: 0.6}, unit="MB", at_most=True)


def first_batch_by_server(rounds: int) -> list[Row]:
    """Compare the time to the first batch under forkserver, when it starts and afterwards."""
    runs = take_turns(
        {
            name: partial(in_fresh_process, STARTING, "first_batch_twice", candidate=name)
            for name in (TORCH, PROCESSES)
        },
        rounds,
    )
    rows = []
    for place, what in enumerate(("starting the server", "when the server runs")):
        figures = {name: [figure[place] for figure in values] for name, values in runs.items()}
        workload = f"time to first batch, 2 workers, forkserver, {what}"
        rows += ratios(workload, figures, unit="ms", at_most=True)
    return rows


def scaling(rounds: int, quick: bool) -> list[Row]:
    """Record CPU time, memory and file descriptors over 10,000 small batches."""
    batches = 20 if quick else 10_000
    rows = []
    for num_workers in (1, 2) if quick else (1, 2, 4, 8):
        runs: dict[str, list[dict[str, float]]] = {TORCH: [], PROCESSES: [], THREADS: []}
        for _ in range(rounds):
            for name, results in runs.items():
                results.append(
                    in_fresh_process(
                        WORKLOADS,
                        "endurance",
                        candidate=name,
                        num_workers=num_workers,
                        batches=batches,
                    )
                )
        spread = {
            name: f"from {min(run['fewest'] for run in results):g}"
            f" to {max(run['most'] for run in results):g}"
            for name, results in runs.items()
        }
        for what, key, unit, notes in (
            ("CPU for 1,000 batches", "cpu", "seconds", {}),
            ("largest memory (sum of PSS)", "memory", "MB", {}),
            ("open file descriptors, most", "most", "number", spread),
        ):
            figures = {name: [run[key] for run in results] for name, results in runs.items()}
            workload = f"{batches:,} batches of 64 uint8 1x28x28, num_workers={num_workers}: {what}"
            rows += ratios(workload, figures, unit=unit, at_most=True, notes=notes)
    return rows


def main() -> None:
    """Measure what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each candidate (5)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument(
        "--only", default="", help="run the workload of this name, or those that have it in theirs"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: see that all of it runs")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        workloads = table(1 if options.quick else options.rounds, options.quick, folder)
        exact = [name for name in workloads if options.only == name]
        chosen = exact or [name for name in workloads if options.only in name]
        if not chosen:
            parser.error(f"no workload has {options.only!r} in its name: {', '.join(workloads)}")
        about = in_fresh_process("benchmarks.measure", "machine")
        if not can_measure_memory():
            print("no /proc/self/smaps_rollup: memory is not measured on this system")
            chosen = [name for name in chosen if "memory-" not in name and name != "scaling"]
        if any(name.startswith("jpeg") for name in chosen):
            in_fresh_process(
                "benchmarks.samples", "write_jpegs", folder=folder,
                count=64 if options.quick else 2_000,
            )  # fmt: skip

        def rows() -> Iterator[Row]:
            for name in chosen:
                print(f"\nmeasuring {name} ...", flush=True)
                yield from workloads[name]()

        report(rows(), about, options.json)


if __name__ == "__main__":
    main()
