"""Caches and strings: speed of the second epoch, and memory of four workers, as ratios.

    python -m benchmarks.caching [--rounds 7] [--json FILE] [--only WORD] [--quick]

"speed": the second epoch of a `MemoryCache` against the same samples in a plain in-memory dataset,
a `TensorDataset`, shuffled; the bar is 0.8. "memory": what four workers hold of a cache together,
beyond what they hold of an empty one, against the bytes of one copy; the bar is 1.1. "strings": the
same for a million strings, in a list and in `PackedStrings`; the bar is 1.1 for the latter.
Memory is the sum of proportional shares (PSS), read after the workers have read every sample.
`--quick` takes tiny sizes and one round: everything runs, and the figures mean nothing.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils import data as torch_data

import dlkit
from benchmarks.measure import Row, compare, machine, one_pass, ratios, report
from benchmarks.processes import (
    can_measure_memory,
    end_of_children,
    in_fresh_process,
    proportional_memory,
)
from dlkit.cache import MemoryCache
from dlkit.datasets import PackedStrings

HERE = "benchmarks.caching"
WORKERS = 4
NAMES = 1_000  # strings in a batch


def speed(
    shape: tuple[int, ...], count: int, batch_size: int, workers: int, rounds: int
) -> list[Row]:
    """Compare a cache that is full with a dataset that is in memory anyway."""
    images = torch.randint(0, 256, (count, *shape), dtype=torch.uint8)
    plain = dlkit.TensorDataset(images, torch.randint(0, 10, (count,)))
    cache = MemoryCache(plain, images.nbytes * 2 + (1 << 20))
    settings: dict[str, Any] = {"batch_size": batch_size, "shuffle": True}
    if workers:
        settings |= {"num_workers": workers, "persistent_workers": True}
    loaders = {"TensorDataset": plain, "MemoryCache, second epoch": cache}
    passes = {
        name: one_pass(dlkit.DataLoader(dataset, **settings), count)
        for name, dataset in loaders.items()
    }
    passes["MemoryCache, second epoch"]()  # the first epoch fills it
    sides = "x".join(map(str, shape))
    return compare(
        f"uint8 {count:,}x{sides}, shuffled, batch {batch_size}, {workers} workers",
        passes,
        rounds=rounds,
        bars={"MemoryCache, second epoch": 0.8},
    )


class Images(torch_data.Dataset[Any]):
    """Images that are made when they are read, as decoding makes them."""

    def __init__(self, count: int, side: int) -> None:
        self.count, self.side = count, side

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((3, self.side, self.side), index % 256, dtype=torch.uint8), index


class Names(torch_data.Dataset[int]):
    """The lengths of strings: each is looked at, and none has to travel."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> int:
        return len(self.names[index])


def held_by_workers(loader: Any) -> int:
    """Return what this process and its workers hold after an epoch, while they live."""
    for _ in loader:
        pass
    return proportional_memory()


def cache_memory(count: int, side: int) -> tuple[float, float]:
    """Return bytes of one copy, and what the processes hold of a full cache."""
    settings: dict[str, Any] = {"num_workers": WORKERS, "persistent_workers": True}
    held = []
    for max_bytes in (1, 2 * count * 3 * side * side):  # the first has room for nothing
        cache = MemoryCache(Images(count, side), max_bytes, check_random=False)
        loader = dlkit.DataLoader(cache, 8, collate_fn=len, **settings)
        held_by_workers(loader)
        held.append(held_by_workers(loader))
        nbytes = cache.info().nbytes
        del loader, cache
        end_of_children()
    return float(nbytes), float(held[1] - held[0])


def string_memory(count: int, packed: bool) -> tuple[float, float]:
    """Return bytes of one copy, and what the processes hold of the strings.

    That is what they hold more than with so few that each worker has a single batch.
    """
    settings: dict[str, Any] = {"num_workers": WORKERS, "persistent_workers": True}
    held, nbytes = [], 0
    for length in (WORKERS * NAMES, count):
        made = (f"train/class_{i % 1000:04}/image_{i:08}.jpg" for i in range(length))
        names: Sequence[str] = PackedStrings(made) if packed else list(made)
        if isinstance(names, PackedStrings):
            nbytes = names.nbytes
        else:
            nbytes = sys.getsizeof(names) + sum(map(sys.getsizeof, names))
        loader = dlkit.DataLoader(Names(names), NAMES, collate_fn=len, **settings)
        held.append(held_by_workers(loader))
        del loader
        end_of_children()
    return float(nbytes), float(held[1] - held[0])


def memory(
    rounds: int, name: str, functions: dict[str, tuple[str, dict[str, Any], float | None]]
) -> list[Row]:
    """Measure each candidate in a fresh process, against one copy of its own."""
    rows = []
    for candidate, (function, arguments, bar) in functions.items():
        pairs = [in_fresh_process(HERE, function, **arguments) for _ in range(rounds)]
        figures = {"one copy": [pair[0] for pair in pairs], candidate: [pair[1] for pair in pairs]}
        bars = {} if bar is None else {candidate: bar}
        note = {candidate: f"{statistics.median(figures[candidate]) / 1e6:,.0f} MB"}
        title = f"{name}: {candidate}"
        rows += ratios(title, figures, bars=bars, unit="bytes", at_most=True, notes=note)
    return rows


def workloads(rounds: int, quick: bool) -> dict[str, Callable[[], list[Row]]]:
    """Return what is measured, by name."""
    small, large = (600, 40) if quick else (60_000, 1_000)
    strings = 20_000 if quick else 1_000_000
    rounds_of_memory = 1 if quick else 3
    table: dict[str, Callable[[], list[Row]]] = {
        "speed-64": partial(speed, (1, 28, 28), small, 64, 0, rounds),
        "speed-256": partial(speed, (1, 28, 28), small, 256, 0, rounds),
        "speed-large": partial(speed, (3, 224, 224), large, 32, 0, rounds),
        "speed-workers": partial(speed, (3, 224, 224), large, 32, 2, rounds),
    }
    if can_measure_memory():
        sizes = {"count": 40 if quick else 2_000, "side": 224}
        table["memory-cache"] = partial(
            memory,
            rounds_of_memory,
            "memory of 4 workers",
            {"MemoryCache": ("cache_memory", sizes, 1.1)},
        )
        table["memory-strings"] = partial(
            memory,
            rounds_of_memory,
            f"{strings:,} strings, 4 workers",
            {
                "list": ("string_memory", {"count": strings, "packed": False}, None),
                "PackedStrings": ("string_memory", {"count": strings, "packed": True}, 1.1),
            },
        )
    return table


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each candidate (7)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--only", default="", help="run only workloads whose name has this word")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: see that all of it runs")
    options = parser.parse_args()
    about = machine()
    rounds = 1 if options.quick else options.rounds
    table = workloads(rounds, options.quick)
    rows = [row for name, work in table.items() if options.only in name for row in work()]
    report(rows, about, options.json)


if __name__ == "__main__":
    main()
