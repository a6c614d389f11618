"""What tracing costs: throughput with a trace against without one, where batches are cheapest.

    python -m benchmarks.tracing [--rounds 100] [--json FILE] [--quick]

Rows of small uint8 images that lie in memory, shuffled, in batches of 64: fetched in the training
loop, by two threads, and by two processes. The bar is 0.98, a loss of 2 %. A machine's speed
changes by more than that within a second: so both take turns after every pass, many times. That
nothing is paid without a trace is to be seen by running `benchmarks.loader` and
`benchmarks.workers` before and after: the functions that run then are the same.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

import dlkit
from benchmarks.measure import Row, compare, machine, one_pass, report

PLAIN = "without a trace"
TRACED = "trace=True"
WAYS: dict[str, dict[str, Any]] = {
    "in the training loop": {},
    "2 threads": {"num_workers": 2, "worker_method": "thread", "persistent_workers": True},
    "2 processes": {"num_workers": 2, "persistent_workers": True},
}


def overhead(way: str, rounds: int, quick: bool) -> list[Row]:
    """Compare a traced loader with one that is not.

    Args:
        way: a key of `WAYS`.
        rounds: how often both take their turn.
        quick: whether to take tiny sizes.
    """
    length = 640 if quick else 60_000
    images = torch.randint(0, 256, (length, 1, 28, 28), dtype=torch.uint8)
    dataset = dlkit.TensorDataset(images, torch.randint(0, 10, (length,)))

    def loader(trace: bool) -> Any:
        return dlkit.DataLoader(dataset, batch_size=64, shuffle=True, trace=trace, **WAYS[way])

    return compare(
        f"uint8 {length:,}x1x28x28, shuffled, batch 64, {way}",
        {PLAIN: one_pass(loader(False), length), TRACED: one_pass(loader(True), length)},
        rounds=rounds,
        bars={TRACED: 0.98},
        seconds=0,  # a turn is one pass
    )


def main() -> None:
    """Measure all ways and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100, help="turns of each candidate (100)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: see that all of it runs")
    options = parser.parse_args()
    about = machine()
    rows = []
    for way in WAYS:
        print(f"measuring {way} ...", flush=True)
        rows += overhead(way, 1 if options.quick else options.rounds, options.quick)
    report(rows, about, options.json)


if __name__ == "__main__":
    main()
