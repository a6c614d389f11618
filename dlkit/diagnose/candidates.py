"""The settings that a search for the best may try, and which of them are worth the time."""

import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from dlkit.diagnose.costs import Costs
from dlkit.diagnose.predict import predict

EQUAL = 0.97  # of the best measurement: what is above it, and needs less, is taken instead


@dataclass
class Tried:
    """One setting: its keyword arguments, what was predicted, and what its runs delivered.

    Attributes:
        settings: keyword arguments for `make_loader`.
        predicted: samples/s.
        memory: bytes, predicted.
        runs: measured samples/s of an epoch, its turn-over included; empty if it was not run.
    """

    settings: dict[str, Any]
    predicted: float
    memory: float
    runs: list[float] = field(default_factory=list)

    @property
    def measured(self) -> float | None:
        """Median of the runs, in samples/s."""
        return statistics.median(self.runs) if self.runs else None


def candidates(
    costs: Costs, methods: Sequence[str], accepted: set[str], most: int
) -> Iterator[Tried]:
    """Yield every setting worth a thought, with its prediction."""
    pins = (
        [False, True] if "pin_memory" in accepted and torch.accelerator.is_available() else [None]
    )
    factors = (2, 4) if "prefetch_factor" in accepted else (2,)
    for method, workers in itertools.product(methods, range(most + 1)):
        if workers == 0 and method != methods[0]:
            continue
        for factor, pin in itertools.product(factors if workers else (2,), pins):
            settings: dict[str, Any] = {"num_workers": workers}
            if workers and "prefetch_factor" in accepted:
                settings["prefetch_factor"] = factor
            if workers and method == "thread":
                settings["worker_method"] = method
            if workers and "persistent_workers" in accepted:
                settings["persistent_workers"] = True  # an epoch never gets longer by that
            if pin is not None:
                settings["pin_memory"] = pin
            guess = predict(
                costs,
                num_workers=workers,
                prefetch_factor=factor,
                method=method,
                batches=32,
                band=False,
            )
            yield Tried(settings, guess.throughput, guess.memory)


def spread(near: Sequence[Tried]) -> list[Tried]:
    """Of settings with about the same prediction, take one of each kind: the cheapest."""
    cheapest: dict[tuple[Any, ...], Tried] = {}
    for tried in sorted(near, key=need):
        worth = round(12 * tried.predicted / near[0].predicted)  # within 8 %
        kind = (tried.settings.get("worker_method"), tried.settings.get("pin_memory"), worth)
        cheapest.setdefault(kind, tried)
    return sorted(cheapest.values(), key=lambda t: -t.predicted)[:8]


def chosen(ranked: Sequence[Tried]) -> Tried:
    """Return the setting that needs least of those that are as good as the best."""
    best = ranked[0].measured
    if best is None:
        equal = [t for t in ranked if t.predicted >= EQUAL * ranked[0].predicted]
    else:
        equal = [t for t in ranked if t.measured is not None and t.measured >= EQUAL * best]
    return min(equal, key=need)


def need(tried: Tried) -> tuple[float, ...]:
    """What a setting takes, for choosing the one that takes least."""
    settings = tried.settings
    thread = settings.get("worker_method") == "thread"
    return (settings["num_workers"], not thread, settings.get("prefetch_factor", 0), tried.memory)


def most_workers(costs: Costs) -> int:
    """Return how many workers are worth a thought."""
    most = math.ceil(2 * costs.cores)
    return most + 4 if costs.fetch_wait > 0.2 else most
