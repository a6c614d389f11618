"""The loader in one process, against PyTorch's loader and against a bare loop.

    python -m benchmarks.loader [--rounds 7] [--json FILE] [--only WORD]

Workloads: uint8 images in memory (60,000 x 1 x 28 x 28 and their labels), shuffled, in batches of
64 and 1024; and datasets written in plain Python, read sample by sample, as users write them.
The bare loop permutes the indices and gathers each batch into new arrays, and does nothing else.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import data as torch_data

import dlkit
from benchmarks.measure import TORCH, Row, compare, machine, one_pass, report


def in_memory(batch_size: int, bar: float, rounds: int) -> list[Row]:
    """Shuffled uint8 images: what torch is slow at, since it reads them one by one."""
    images = torch.randint(0, 256, (60_000, 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(0, 10, (60_000,))
    theirs = torch_data.DataLoader(
        torch_data.TensorDataset(images, labels), batch_size=batch_size, shuffle=True
    )
    ours = dlkit.DataLoader(
        dlkit.TensorDataset(images, labels), batch_size=batch_size, shuffle=True
    )

    def bare() -> int:
        pixels, targets = images.numpy(), labels.numpy()
        order = torch.randperm(len(images)).numpy()
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            pixels.take(indices, 0), targets.take(indices, 0)
        return len(order)

    name = f"in memory, uint8 60,000x1x28x28, shuffled, batch {batch_size}"
    rows = compare(
        name,
        {
            TORCH: one_pass(theirs, len(images)),
            "dlkit.DataLoader": one_pass(ours, len(images)),
            "bare loop (permute and gather)": bare,
        },
        rounds=rounds,
        bars={"dlkit.DataLoader": bar},
    )
    share = compare(
        f"share of the bare loop, batch {batch_size}",
        {"bare loop (permute and gather)": bare, "dlkit.DataLoader": one_pass(ours, len(images))},
        rounds=rounds,
        bars={"dlkit.DataLoader": 0.7},
    )
    return rows + share


class PythonImages(torch_data.Dataset[tuple[torch.Tensor, int]]):
    """A dataset as users write it: one sample at a time, a tensor and a number."""

    def __init__(self, length: int, shape: tuple[int, ...]) -> None:
        self.images = torch.rand(length, *shape)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], index % 10


class PythonArrays(PythonImages):
    """The same with NumPy arrays, in a dictionary."""

    def __init__(self, length: int, shape: tuple[int, ...]) -> None:
        super().__init__(length, shape)
        self.arrays = self.images.numpy()

    def __getitem__(self, index: int) -> Any:
        return {"image": self.arrays[index], "label": index % 10, "weight": 0.5}


def per_sample(name: str, dataset: Any, batch_size: int, rounds: int) -> list[Row]:
    """A plain Python dataset: the loader must not be in its way."""
    settings: dict[str, Any] = {"batch_size": batch_size, "shuffle": True}
    return compare(
        f"{name}, shuffled, batch {batch_size}",
        {
            TORCH: one_pass(torch_data.DataLoader(dataset, **settings), len(dataset)),
            "dlkit.DataLoader": one_pass(dlkit.DataLoader(dataset, **settings), len(dataset)),
        },
        rounds=rounds,
        bars={"dlkit.DataLoader": 1.0},
    )


class Stream(torch_data.IterableDataset[torch.Tensor]):
    """An iterable dataset of rows."""

    def __init__(self, rows: int) -> None:
        self.rows = np.random.default_rng(0).random((rows, 16), dtype=np.float32)

    def __iter__(self) -> Any:
        return iter(torch.from_numpy(self.rows))


def stream(batch_size: int, rounds: int) -> list[Row]:
    """An iterable dataset, batched."""
    dataset = Stream(20_000)
    return compare(
        f"iterable dataset of float32 rows of 16, batch {batch_size}",
        {
            TORCH: one_pass(torch_data.DataLoader(dataset, batch_size), len(dataset.rows)),
            "dlkit.DataLoader": one_pass(dlkit.DataLoader(dataset, batch_size), len(dataset.rows)),
        },
        rounds=rounds,
        bars={"dlkit.DataLoader": 1.0},
    )


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each candidate (7)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--only", default="", help="run only workloads whose name has this word")
    options = parser.parse_args()
    about = machine()
    workloads: dict[str, Callable[[int], list[Row]]] = {
        "memory-64": lambda rounds: in_memory(64, 12, rounds),
        "memory-1024": lambda rounds: in_memory(1024, 25, rounds),
        "python-tensors": lambda rounds: per_sample(
            "Python dataset of (float32 1x28x28 tensor, int)",
            PythonImages(6_000, (1, 28, 28)),
            64,
            rounds,
        ),
        "python-arrays": lambda rounds: per_sample(
            "Python dataset of {array 1x28x28, int, float}",
            PythonArrays(6_000, (1, 28, 28)),
            64,
            rounds,
        ),
        "python-large": lambda rounds: per_sample(
            "Python dataset of (float32 3x224x224 tensor, int)",
            PythonImages(256, (3, 224, 224)),
            32,
            rounds,
        ),
        "stream": lambda rounds: stream(64, rounds),
    }
    rows = [
        row
        for name, workload in workloads.items()
        if options.only in name
        for row in workload(options.rounds)
    ]
    report(rows, about, options.json)


if __name__ == "__main__":
    main()
