"""What each transform of a pipeline costs, measured on samples of your own."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dlkit.checks import check_positive_int


@dataclass(frozen=True)
class TransformCost:
    """What one transform takes.

    Attributes:
        name: of its class or function.
        seconds: for one sample; the median over the repeats.
        share: of the pipeline's time.
    """

    name: str
    seconds: float
    share: float


def measure_costs(
    transform: Any,
    samples: Sequence[Any],
    *,
    repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> list[TransformCost]:
    """Measure the steps of a pipeline one by one, each on what the step before has made.

    Args:
        transform: torchvision's `Compose` or any object with a list `transforms`, a list of
            callables, or one callable.
        samples: inputs of the first step, at least one.
        repeats: how often each step runs over all samples.
        clock: counts seconds.

    Returns:
        One row for each step, in order.

    Raises:
        ValueError: if there is no sample or `repeats` is no positive integer.
        TypeError: if a step cannot be called.

    Example:
        >>> [cost.name for cost in measure_costs([abs, str], [-1, 2])]
        ['abs', 'str']
    """
    check_positive_int("repeats", repeats)
    if not len(samples):
        raise ValueError("samples must hold at least one sample, got none")
    steps = transform if isinstance(transform, list | tuple) else _steps_of(transform)
    measured, inputs = [], list(samples)
    for step in steps:
        if not callable(step):
            raise TypeError(f"transform must be made of callables, but got {step!r}")
        outputs = [step(sample) for sample in inputs]  # a first run, which is not counted
        times = []
        for _ in range(repeats):
            started = clock()
            for sample in inputs:
                step(sample)
            times.append((clock() - started) / len(inputs))
        measured.append((_name(step), statistics.median(times)))
        inputs = outputs
    total = sum(seconds for _, seconds in measured) or 1.0
    return [TransformCost(name, seconds, seconds / total) for name, seconds in measured]


def _steps_of(transform: Any) -> list[Any]:
    steps = getattr(transform, "transforms", None)
    # A random choice among transforms has such a list too, but is one step.
    if isinstance(steps, list | tuple) and type(transform).__name__ == "Compose":
        return list(steps)
    return [transform]


def _name(step: Any) -> str:
    return str(getattr(step, "__name__", None) or type(step).__name__)
