"""When to stop training, and which epoch to go back to."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def early_stopping(losses: list[float], patience: int, min_delta: float) -> tuple[int, int]:
    best, best_epoch = math.inf, -1
    for epoch, loss in enumerate(losses):
        if loss < best - min_delta:
            best, best_epoch = loss, epoch
        elif epoch - best_epoch >= patience:
            return epoch, best_epoch
    return len(losses) - 1, best_epoch


def _with_a_counter(losses: list[float], patience: int, min_delta: float) -> Any:
    best, best_epoch, waited, epoch = math.inf, 0, 0, 0
    for epoch, loss in enumerate(losses):  # it is returned
        if best - loss > min_delta:
            best, best_epoch, waited = loss, epoch, 0
            continue
        waited += 1
        if waited == patience:
            break
    return epoch, best_epoch


def _as_a_search(losses: list[float], patience: int, min_delta: float) -> Any:
    best_epoch = 0
    while True:
        target = losses[best_epoch] - min_delta
        window = losses[best_epoch + 1 : best_epoch + 1 + patience]
        better = next((i for i, loss in enumerate(window) if loss < target), None)
        if better is None:
            return [best_epoch + len(window), best_epoch]
        best_epoch += better + 1


def _one_epoch_too_long(losses: list[float], patience: int, min_delta: float) -> Any:
    return early_stopping(losses, patience + 1, min_delta)


def _never_resets_the_counter(losses: list[float], patience: int, min_delta: float) -> Any:
    best, best_epoch, waited = math.inf, 0, 0
    for epoch, loss in enumerate(losses):
        if loss < best - min_delta:
            best, best_epoch = loss, epoch
        else:
            waited += 1
            if waited == patience:
                return epoch, best_epoch
    return len(losses) - 1, best_epoch


def _compares_with_the_last(losses: list[float], patience: int, min_delta: float) -> Any:
    last, best_epoch, waited = math.inf, 0, 0
    for epoch, loss in enumerate(losses):
        if loss < last - min_delta:
            best_epoch, waited = epoch, 0
        else:
            waited += 1
            if waited == patience:
                return epoch, best_epoch
        last = loss
    return len(losses) - 1, best_epoch


def _ignores_min_delta(losses: list[float], patience: int, min_delta: float) -> Any:
    return early_stopping(losses, patience, 0.0)


def _keeps_the_last(losses: list[float], patience: int, min_delta: float) -> Any:
    stop, _ = early_stopping(losses, patience, min_delta)
    return stop, stop


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [3.0], 1, 0.0
    yield [3.0, 2.0], 1, 0.0
    yield [3.0, 3.0], 1, 0.0
    yield [3.0, 4.0, 1.0], 1, 0.0
    yield [3.0, 4.0, 3.5, 1.0], 2, 0.0
    yield [3.0, 4.0, 2.0, 4.0, 1.0, 5.0], 2, 0.0
    yield [3.0, 2.9, 2.8, 2.7], 2, 0.5
    for _ in range(30):
        losses = [float(rng.randrange(12)) for _ in range(rng.randrange(2, 14))]
        yield losses, rng.randrange(1, 4), rng.choice([0.0, 0.5, 1.5])


def _oracle(losses: list[float], patience: int, min_delta: float) -> Any:
    """For every epoch look at all before it, with no state carried along."""

    def best_of(seen: list[float]) -> int:
        best = 0
        for epoch in range(len(seen)):
            if seen[epoch] < seen[best] - min_delta:
                best = epoch
        return best

    for epoch in range(len(losses)):
        best = best_of(losses[: epoch + 1])
        if epoch - best >= patience:
            return epoch, best
    return len(losses) - 1, best_of(losses)


EXERCISE = Exercise(
    level=1,
    reference=early_stopping,
    alternatives=(_with_a_counter, _as_a_search),
    mistakes=(
        _one_epoch_too_long,
        _never_resets_the_counter,
        _compares_with_the_last,
        _ignores_min_delta,
        _keeps_the_last,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "inside": lambda case, got: 0 <= got[1] <= got[0] < len(case[0]),
        "patient": lambda case, got: got[0] - got[1] <= case[1],
    },
)
