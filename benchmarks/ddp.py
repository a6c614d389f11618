"""Two ranks against one process: how much faster, and what limits it.

    python -m benchmarks.ddp [--rounds 5] [--json FILE] [--quick]

All train the CNN on the same images, on one thread each, so that two ranks have twice the cores of
one process. The ratio of the rates is the speed-up; half of it is the efficiency. What limits it is
measured by runs that lack one thing after another, so that the losses multiply up to the whole:

    half the batch     one process alone with as many samples as a rank has
    gradients kept     two ranks that keep their gradients (`no_sync`): cores and memory are shared,
                       and ranks tell each other how many samples they have
    2 ranks            the same, and gradients are exchanged

Where the time of a step goes comes from the traces of both ranks (see `dlkit.ddp.exchange`): what
is communication, what only waiting for the other rank. A process that uses both cores by threads is
the other way of using them. With fewer free cores than ranks the figures say so, and nothing else.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Row, machine, ratios, report, take_turns
from benchmarks.processes import in_fresh_process
from dlkit import DataLoader, ddp
from dlkit.datasets import synthetic_images
from dlkit.models import SimpleCNN
from dlkit.samplers import DistributedSampler
from dlkit.trace import Trace
from dlkit.trainer import Trainer

ONE, THREADS = "one process, one thread", "one process, two threads"
HALF, KEPT = "one process, half the batch", "2 ranks, gradients kept"
TWO = "2 ranks over gloo"
KINDS = {ONE: (1, 1), THREADS: (1, 2), HALF: (1, 1), KEPT: (2, 1), TWO: (2, 1)}  # ranks, threads
SHARES = ("compute", "load", "ranks", "exchange")


def train(
    kind: str, samples: int, batch_size: int, epochs: int
) -> tuple[list[float], float, Trace | None]:
    """Train on this rank's share.

    Args:
        kind: one of `KINDS`.
        samples: in the data set.
        batch_size: of this rank.
        epochs: how many are measured; one comes before them.

    Returns:
        The samples per second of all ranks in each epoch, the seconds of a step, the trace.
    """
    torch.set_num_threads(KINDS[kind][1])
    place = ddp.current()
    images = synthetic_images(samples, (1, 28, 28))
    sampler = DistributedSampler(images, place.world_size, place.rank, seed=0)
    loader: Any = DataLoader(images, batch_size, sampler=sampler, trace=True)
    torch.manual_seed(0)
    trainer = Trainer(SimpleCNN(), device="cpu", progress=False)
    if kind == KEPT:
        trainer.ranks.collecting = _keep_gradients(trainer)  # type: ignore[method-assign]
    history = trainer.fit(loader, 1 + epochs)
    seconds = statistics.median(history.column("seconds")[1:]) / len(loader)
    return history.column("samples_per_second")[1:], seconds, loader.trace


def _keep_gradients(trainer: Trainer) -> Any:
    model: Any = trainer.ranks.training_model
    return lambda *, last: model.no_sync()


def run(kind: str, samples: int, batch_size: int, epochs: int) -> dict[str, float]:
    """Run a candidate in processes of its own; return rates, and where the time of its ranks went.

    Args:
        kind: one of `KINDS`.
        samples: in the data set.
        batch_size: of all ranks together.
        epochs: how many are measured.
    """
    world_size = KINDS[kind][0]
    own = batch_size if kind in (ONE, THREADS) else batch_size // 2
    settings = {"kind": kind, "samples": samples, "batch_size": own, "epochs": epochs}
    if world_size == 1:  # without a process group: no rank, and nothing to agree on
        found = [in_fresh_process("benchmarks.ddp", "train", **settings)]
    else:
        found = ddp.launch(train, *settings.values(), world_size=world_size, device="cpu")
    rates, step, _ = found[0]
    times = ddp.time_of_ranks([trace for _, _, trace in found], first_epoch=1)
    means = {
        name: statistics.mean(getattr(time, name) / time.seconds for time in times)
        for name in (*SHARES, "hidden")
    }
    return {"rate": statistics.median(rates), "step": step, **means}


def compare(rounds: int, *, samples: int, batch_size: int, epochs: int) -> list[Row]:
    """Let all candidates take turns, and say what limits the efficiency of two ranks."""
    runs = take_turns(
        {name: lambda kind=name: run(kind, samples, batch_size, epochs) for name in KINDS},  # type: ignore[misc]
        rounds,
    )
    rates = {name: [one["rate"] for one in found] for name, found in runs.items()}
    title = f"CNN of 28x28 images, batch {batch_size} of all ranks"
    rows = ratios(title, rates)
    # What is left of each rank after one more loss; the last one is what is left after all of them.
    chain = {
        "no loss": [1.0] * rounds,
        "smaller batches": _quotients(rates[HALF], rates[ONE]),
        "+ both cores busy, in step": _quotients(rates[KEPT], rates[ONE], 2),
        "+ gradients exchanged = efficiency": _quotients(rates[TWO], rates[ONE], 2),
    }
    rows += ratios(f"{title}: what is left of each rank", chain, unit="share")
    rows += ratios(
        f"{title}: a step of 2 ranks",
        {
            "all of it": [1e3 * one["step"] for one in runs[TWO]],
            **{_TOLD[name]: [1e3 * one["step"] * one[name] for one in runs[TWO]] for name in _TOLD},
        },
        unit="ms",
        at_most=True,
    )
    return rows


# `hidden` is part of computing; the others add up to the step.
_TOLD = {
    "compute": "computing",
    "load": "waiting for batches",
    "ranks": "waiting for the other rank",
    "exchange": "communication",
    "hidden": "communication while computing",
}


def _quotients(some: list[float], others: list[float], ranks: int = 1) -> list[float]:
    return [a / b / ranks for a, b in zip(some, others, strict=True)]


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
