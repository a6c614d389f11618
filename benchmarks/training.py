"""Training on an accelerator: is it the loader or the model that limits it?

    python -m benchmarks.training [--rounds 5] [--device cuda] [--json FILE] [--quick]

60,000 images of MNIST's size, in memory, train the CNN as `dlkit train` does, shuffled, in batches
of 128. The candidates differ in one thing each: the loader; whether batches are copied to the
device ahead of training; whether the model computes in bf16. The ratio to PyTorch's loader is the
one that a GPU should show to be large: there the loader is the limit, not the model. On a CPU the
model is, and the figures say only that all of it runs.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from torch.utils import data as torch_data

import dlkit
from benchmarks.measure import TORCH, Row, machine, ratios, report, take_turns
from dlkit.models import Normalize, SimpleCNN
from dlkit.trainer import Trainer

OURS, AHEAD, BF16 = "dlkit.DataLoader", "dlkit, batches copied ahead", "dlkit, ahead and bf16"
BATCH = 128


def images(samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random images `[N, 1, 28, 28]` of bytes, and their labels."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (samples, 1, 28, 28), dtype=torch.uint8, generator=generator)
    return pixels, torch.randint(0, 10, (samples,), generator=generator)


def loader(kind: str, data: tuple[torch.Tensor, torch.Tensor], device: torch.device) -> Any:
    """Return the loader of a candidate."""
    pin = device.type == "cuda"
    if kind == TORCH:
        theirs = torch_data.TensorDataset(*data)
        return torch_data.DataLoader(theirs, BATCH, shuffle=True, pin_memory=pin)
    ahead = device if kind in (AHEAD, BF16) else None
    ours = dlkit.TensorDataset(*data)
    return dlkit.DataLoader(ours, BATCH, shuffle=True, pin_memory=pin, device=ahead)


def rate(kind: str, data: tuple[torch.Tensor, torch.Tensor], device: torch.device) -> float:
    """Train two epochs, and return the samples per second of the second one.

    Args:
        kind: the candidate.
        data: images and labels.
        device: where the model is.
    """
    torch.manual_seed(0)
    model = torch.nn.Sequential(Normalize([127.5], [73.9]), SimpleCNN())
    autocast = "bf16" if kind == BF16 else None
    trainer = Trainer(model, device=device, autocast=autocast, progress=False)
    rates = trainer.fit(loader(kind, data, device), 2).column("samples_per_second")
    return float(rates[1])


def compare(samples: int, device: torch.device, rounds: int) -> list[Row]:
    """Let the candidates take turns; the first ratio is against PyTorch's loader."""
    data = images(samples)
    figures = take_turns(
        {
            kind: lambda kind=kind: rate(kind, data, device)  # type: ignore[misc]
            for kind in (TORCH, OURS, AHEAD, BF16)
        },
        rounds,
    )
    bars = {AHEAD: 5.0} if device.type == "cuda" else None
    best = statistics.median(figures[AHEAD])
    notes = {AHEAD: f"an epoch of 60,000 in {60_000 / best:.2g} s"}
    title = f"training on {samples:,} images of 28x28 bytes, on {device}"
    return ratios(title, figures, bars=bars, notes=notes)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each candidate (5)")
    parser.add_argument("--device", help="a torch device; the accelerator if there is one")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="once, on 1,000 images")
    options = parser.parse_args()
    found = torch.accelerator.current_accelerator(check_available=True)
    device = torch.device(options.device) if options.device else found or torch.device("cpu")
    samples, rounds = (1_000, 1) if options.quick else (60_000, options.rounds)
    about = machine()
    if device.type == "cuda":
        about["device"] = torch.cuda.get_device_name(device)
    report(compare(samples, device, rounds), about, options.json)


if __name__ == "__main__":
    main()
