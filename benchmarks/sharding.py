"""A rank's share of a large order: time to the first index and memory, against PyTorch and a list.

    python -m benchmarks.sharding [--quick] [--samples 100000000] [--rounds 5] [--json FILE]

Each measurement is a fresh process that draws the order of an epoch for one of 8 ranks and asks for
its first index. Peak: the most memory on the way there, over what the process had before. Held:
what it has while the epoch runs. The list is that of all indices, as PyTorch makes it inside.
Takes about 5 GB for 100 million samples, and Linux's `/proc`.
"""

import argparse
import gc
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, machine, ratios, report, take_turns
from benchmarks.processes import can_measure_memory, in_fresh_process

RANKS, RANK = 8, 3
LIST, THEIRS, OURS = "list of all indices", "PyTorch's DistributedSampler", "dlkit's"
KINDS = {LIST: "list", THEIRS: "torch", OURS: "dlkit"}


def first_index(kind: str, samples: int, shuffle: bool) -> dict[str, float]:
    """Draw an order, take its first index, and return seconds and bytes; in a fresh process.

    Args:
        kind: `"list"`, `"torch"` or `"dlkit"`.
        samples: how many the dataset has.
        shuffle: whether the order is random.
    """
    import torch

    from dlkit.samplers import DistributedSampler

    torch.randperm(1000)  # what a first call loads is not the order's
    gc.collect()
    before = _memory()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    start = time.perf_counter()
    running: Any
    if kind == "list":
        running = torch.randperm(samples).tolist() if shuffle else list(range(samples))
        first = running[RANK]
    else:
        maker = DistributedSampler if kind == "dlkit" else torch.utils.data.DistributedSampler
        running = iter(maker(range(samples), RANKS, RANK, shuffle))  # type: ignore[arg-type]
        first = next(running)
    seconds = time.perf_counter() - start
    assert 0 <= first < samples
    after = _memory()
    rest = sum(1 for _ in _some(running))  # so that nothing was let go before it was measured
    assert rest > 0
    return {
        "seconds": seconds,
        "peak": float(after["VmHWM"] - before["VmRSS"]),
        "held": float(after["VmRSS"] - before["VmRSS"]),
    }


def _memory() -> dict[str, int]:
    """The lines of this process's status that count memory, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line[:2] == "Vm"}


def _some(indices: Any) -> Iterator[int]:
    yield from (index for _, index in zip(range(1000), indices, strict=False))


def compare(samples: int, shuffle: bool, rounds: int) -> list[Row]:
    """Compare the three, each in processes of its own, taking turns."""
    figures = take_turns(
        {
            name: lambda kind=kind: in_fresh_process(  # type: ignore[misc]
                "benchmarks.sharding", "first_index", kind=kind, samples=samples, shuffle=shuffle
            )
            for name, kind in KINDS.items()
        },
        rounds,
    )

    def column(key: str, scale: float, *names: str) -> dict[str, list[float]]:
        # A kibibyte at least: one that needs nothing must not divide by zero.
        return {name: [max(f[key] / scale, 1e-3) for f in figures[name]] for name in names}

    what = f"{samples:,} samples, {'shuffled' if shuffle else 'in order'}, rank {RANK} of {RANKS}"
    return [
        *ratios(
            f"{what}: peak memory", column("peak", 1e6, LIST, THEIRS, OURS),
            bars={OURS: 0.1}, unit="MB", at_most=True,
        ),
        *ratios(
            f"{what}: memory held", column("held", 1e6, LIST, THEIRS, OURS),
            bars={OURS: 0.1}, unit="MB", at_most=True,
        ),
        *ratios(
            f"{what}: time to the first index", column("seconds", 1, THEIRS, LIST, OURS),
            bars={OURS: 1.0}, unit="s", at_most=True,
        ),
    ]  # fmt: skip


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=100_000_000, help="of the dataset")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each candidate (5)")
    parser.add_argument("--quick", action="store_true", help="once, a million samples, shuffled")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    if not can_measure_memory():
        sys.exit("this benchmark needs Linux's /proc to measure memory")
    samples, rounds = (1_000_000, 1) if options.quick else (options.samples, options.rounds)
    about = machine()
    orders = (True,) if options.quick else (True, False)
    rows = [row for shuffle in orders for row in compare(samples, shuffle, rounds)]
    report(rows, about, options.json)


if __name__ == "__main__":
    main()
