"""Two ranks against one process: how much faster, and what limits it.

    python -m benchmarks.ddp [--rounds 5] [--json FILE] [--quick]

Both train the CNN on the same images with the same batch of all ranks together, one thread each, so
that two ranks have twice the cores of one. The ratio is the speed-up; half of it is the efficiency.
What is lost shows below: gradients that are exchanged (measured alone, on tensors of the model's
sizes), and the exchange of sample counts that keeps ranks in step. On a machine with fewer free
cores than ranks, the ratio says so and nothing else.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn

from benchmarks.measure import Row, machine, ratios, report
from dlkit import DataLoader, ddp
from dlkit.datasets import synthetic_images
from dlkit.ddp.uneven import Lockstep
from dlkit.models import SimpleCNN
from dlkit.samplers import DistributedSampler
from dlkit.trainer import Trainer

ONE, TWO = "one process", "2 ranks over gloo"


def train(samples: int, batch_size: int, epochs: int) -> dict[str, float]:
    """Train on this rank's share; return the samples per second of all ranks, and single costs.

    Args:
        samples: in the data set.
        batch_size: of all ranks together.
        epochs: how many are measured; one comes before them.
    """
    torch.set_num_threads(1)
    place = ddp.current()
    images = synthetic_images(samples, (1, 28, 28))
    sampler = DistributedSampler(images, place.world_size, place.rank, seed=0)
    loader: Any = DataLoader(images, batch_size // place.world_size, sampler=sampler)
    torch.manual_seed(0)
    trainer = Trainer(SimpleCNN(), device="cpu", progress=False)
    history = trainer.fit(loader, 1 + epochs)
    rates = history.column("samples_per_second")[1:]
    seconds = statistics.median(history.column("seconds")[1:]) / len(loader)
    found = {"rate": statistics.median(rates), "step": seconds}
    if place.is_distributed:
        found["exchange"] = exchange_of_gradients(trainer.model)
        found["agreement"] = agreement()
    return found


def exchange_of_gradients(model: nn.Module, times: int = 20) -> float:
    """Return the seconds that an all-reduce of as many numbers as the model has takes."""
    numbers = torch.zeros(sum(p.numel() for p in model.parameters()))
    return _median_seconds(lambda: distributed.all_reduce(numbers), times)


def agreement(times: int = 50) -> float:
    """Return the seconds that telling each other how many samples a step has takes."""
    step = Lockstep()
    step.keep_sample(torch.zeros(1, 1))
    return _median_seconds(lambda: step.agree(1), times)


def _median_seconds(work: Any, times: int) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def compare(rounds: int, *, samples: int, batch_size: int, epochs: int) -> list[Row]:
    """Let one process and two ranks take turns, and say where the time of a step goes."""
    runs: dict[str, list[dict[str, float]]] = {ONE: [], TWO: []}
    for _ in range(rounds):
        for world_size, name in ((1, ONE), (2, TWO)):
            ranks = ddp.launch(
                train, samples, batch_size, epochs, world_size=world_size, device="cpu"
            )
            runs[name].append(ranks[0])
    rates = {name: [run["rate"] for run in found] for name, found in runs.items()}
    efficiency = statistics.median(
        two / one / 2 for two, one in zip(rates[TWO], rates[ONE], strict=True)
    )
    rows = ratios(
        f"CNN of 28x28 images, batch {batch_size} of all ranks, one thread each",
        rates,
        notes={TWO: f"efficiency {efficiency:.0%}"},
    )
    step = [run["step"] for run in runs[TWO]]
    parts = {
        "a step of 2 ranks": step,
        "of it: half of a step of one process": [run["step"] / 2 for run in runs[ONE]],
        "of it: an all-reduce of the gradients": [run["exchange"] for run in runs[TWO]],
        "of it: the exchange of sample counts": [run["agreement"] for run in runs[TWO]],
    }
    # DDP exchanges while the backward pass still runs, so the parts may be more than the whole.
    return rows + ratios(
        "where a step goes (communication overlaps with computing)",
        {name: [1e3 * value for value in values] for name, values in parts.items()},
        unit="ms",
        at_most=True,
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each candidate (5)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: see that all of it runs")
    options = parser.parse_args()
    about = machine()
    rows: list[Row] = []
    for batch_size in (64,) if options.quick else (64, 512):
        samples, epochs = (128, 1) if options.quick else (6_144, 3)
        rounds = 1 if options.quick else options.rounds
        rows += compare(rounds, samples=samples, batch_size=batch_size, epochs=epochs)
    report(rows, about, options.json)


if __name__ == "__main__":
    main()
