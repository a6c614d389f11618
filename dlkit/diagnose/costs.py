"""What the parts of a loader cost: all that a simulation of it needs to know.

    profile or measure_costs --> Costs --> predict, tune, diagnose

Times are what a part takes when it has a core to itself: waiting for a core is left out, because
that depends on the settings, and the simulation adds it where it arises.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

METHODS = ("inline", "process", "thread")


@dataclass(frozen=True)
class Crossing:
    """What a batch costs beyond fetch and collate, for being made by a worker of one kind.

    Attributes:
        worker_seconds: CPU seconds in the worker for each batch: take a task, hand the batch over.
        worker_seconds_per_byte: and for each byte of the batch, as copying it out of the worker.
        main_seconds: CPU seconds in the training loop for each batch: give a task, take the batch.
        main_seconds_per_byte: and for each byte of it.
    """

    worker_seconds: float = 0.0
    worker_seconds_per_byte: float = 0.0
    main_seconds: float = 0.0
    main_seconds_per_byte: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            _check_amount(item.name, getattr(self, item.name))

    def worker(self, nbytes: float) -> float:
        """Return the CPU seconds that a batch of so many bytes costs its worker."""
        return self.worker_seconds + nbytes * self.worker_seconds_per_byte

    def main(self, nbytes: float) -> float:
        """Return the CPU seconds that a batch of so many bytes costs the training loop."""
        return self.main_seconds + nbytes * self.main_seconds_per_byte


@dataclass(frozen=True)
class Costs:
    """What fetching, collating, handing over and using samples cost on this machine.

    Sequences are kept as tuples, so that two of these can be compared.

    Attributes:
        fetch_seconds: wall seconds to fetch one sample, waiting for a core left out; one value for
            each sample or group of samples that was measured, in the order of fetching.
        fetch_group: samples that each of those values is the mean of: 1 for single samples, the
            batch size where whole batches were timed.
        fetch_cpu_seconds: mean CPU seconds among them; the rest is waiting, for a disk or a network
            or in `time.sleep`, which needs no core.
        lock_share: which share of the CPU seconds holds the GIL, 0 to 1: what threads cannot
            do at once. None if it is not known.
        collate_seconds: CPU seconds to collate, per sample.
        batch_seconds: CPU seconds for each batch that do not grow with its samples.
        crossings: by worker method, what a batch costs for being made by a worker.
        transfer_seconds: seconds in the training loop to move one batch to the device.
        transfer_seconds_per_byte: and for each byte of it.
        step_seconds: wall seconds that the training loop computes on a batch, one value a step.
        step_cores: cores that a step keeps busy meanwhile: 0 while it waits for an accelerator or
            sleeps, 1 for one thread, more for a training on the CPU.
        start_seconds: seconds from `iter(loader)` until its workers begin their first batch.
        sample_bytes: bytes of one sample in a batch.
        read_bytes: bytes read from storage for one sample; None if that is `sample_bytes`.
        worker_memory: bytes that one more worker takes, its batches left out.
        base_memory: bytes that the process takes without workers.
        batch_size: at which it was measured.
        num_workers: at which it was measured.
        worker_method: at which it was measured: "inline", "process" or "thread".
        prefetch_factor: at which it was measured.
        in_order: whether batches come in order.
        cores: that this process may use; a part of one counts.
        samples: of an epoch; None for a stream whose length is not known.

    Raises:
        TypeError: if a value is no number.
        ValueError: if a value is negative or not finite, or nothing was measured.

    Example:
        >>> costs = Costs(fetch_seconds=[0.003, 0.005], fetch_cpu_seconds=0.001, batch_size=8)
        >>> costs.fetch_mean, costs.fetch_wait
        (0.004, 0.75)
        >>> Costs.from_json(costs.to_json()) == costs
        True
    """

    fetch_seconds: tuple[float, ...]
    fetch_cpu_seconds: float
    fetch_group: int = 1
    lock_share: float | None = None
    collate_seconds: float = 0.0
    batch_seconds: float = 0.0
    crossings: Mapping[str, Crossing] = field(default_factory=dict, hash=False)
    transfer_seconds: float = 0.0
    transfer_seconds_per_byte: float = 0.0
    step_seconds: tuple[float, ...] = (0.0,)
    step_cores: float = 1.0
    start_seconds: float = 0.0
    sample_bytes: float = 0.0
    read_bytes: float | None = None
    worker_memory: float = 0.0
    base_memory: float = 0.0
    batch_size: int = 1
    num_workers: int = 0
    worker_method: str = "inline"
    prefetch_factor: int = 2
    in_order: bool = True
    cores: float = 1.0
    samples: int | None = None

    def __post_init__(self) -> None:
        for name in ("fetch_seconds", "step_seconds"):
            object.__setattr__(self, name, _times(name, getattr(self, name)))
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                _check_amount(name, value)
        for name in ("fetch_group", "batch_size", "prefetch_factor"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, but got {getattr(self, name)!r}")
        if self.cores <= 0:
            raise ValueError(f"cores must be more than 0, but got {self.cores!r}")
        if self.lock_share is not None and not 0 <= self.lock_share <= 1:
            raise ValueError(f"lock_share must be 0 to 1 or None, but got {self.lock_share!r}")
        if self.worker_method not in METHODS:
            raise ValueError(
                f"worker_method must be one of {METHODS}, but got {self.worker_method!r}"
            )
        for method, crossing in self.crossings.items():
            if method not in METHODS or not isinstance(crossing, Crossing):
                raise ValueError(
                    f"crossings must be Crossing objects by worker method, one of {METHODS}, but "
                    f"got {method!r}: {crossing!r}"
                )

    @property
    def fetch_mean(self) -> float:
        """Mean wall seconds to fetch one sample."""
        return math.fsum(self.fetch_seconds) / len(self.fetch_seconds)

    @property
    def fetch_wait(self) -> float:
        """Share of the fetching that waits and needs no core, 0 to 1."""
        if not self.fetch_mean:
            return 0.0
        return max(0.0, 1 - self.fetch_cpu_seconds / self.fetch_mean)

    @property
    def step_mean(self) -> float:
        """Mean wall seconds of a step."""
        return math.fsum(self.step_seconds) / len(self.step_seconds)

    def to_json(self) -> str:
        """Return everything as JSON text; numbers come back exactly."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Costs":
        """Return what `to_json` wrote.

        Raises:
            ValueError: if the text is something else.
        """
        try:
            content = json.loads(text)
            crossings = {
                method: Crossing(**crossing)
                for method, crossing in content.pop("crossings", {}).items()
            }
            return cls(**content, crossings=crossings)
        except (AttributeError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"text must be what Costs.to_json() wrote, but it is not: {error}"
            ) from error


def _times(name: str, values: Any) -> tuple[float, ...]:
    """Return a series of seconds as a tuple, after checking each."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence of seconds, but got {values!r}")
    # NumPy's and torch's numbers become Python's, which JSON can write.
    times = tuple(value.item() if hasattr(value, "item") else value for value in values)
    if not times:
        raise ValueError(f"{name} must hold at least one value, but got none")
    for value in times:
        _check_amount(name, value)
    return times


def _check_amount(name: str, value: Any) -> None:
    """Raise unless a value is a number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, but got {value!r}")
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be 0 or more and finite, but got {value!r}")
