"""The settings of a loader that a prediction is for, and what it has to take for granted there."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from dlkit.checks import check_bool, check_positive_int, is_real
from dlkit.diagnose.costs import Costs

RANKS = 8  # simulated at most; more of them wait a little longer for the slowest


@dataclass(frozen=True)
class Settings:
    """What a prediction is for; see `predict`."""

    num_workers: int
    batch_size: int
    prefetch_factor: int
    method: str
    in_order: bool
    devices: int
    nodes: int
    storage_bandwidth: float | None

    @property
    def ranks(self) -> int:
        """How many training loops run together."""
        return self.devices * self.nodes


def resolve(
    costs: Costs,
    num_workers: int | None,
    batch_size: int | None,
    prefetch_factor: int | None,
    devices: int,
    nodes: int,
    storage_bandwidth: float | None,
    method: str | None,
    in_order: bool | None,
) -> Settings:
    """Take from the measurement what was left out, and check the rest."""
    workers = costs.num_workers if num_workers is None else num_workers
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 0:
        raise ValueError(f"num_workers must be an integer of 0 or more, but got {num_workers!r}")
    size = costs.batch_size if batch_size is None else batch_size
    prefetch = costs.prefetch_factor if prefetch_factor is None else prefetch_factor
    for name, value in (
        ("batch_size", size),
        ("prefetch_factor", prefetch),
        ("devices", devices),
        ("nodes", nodes),
    ):
        check_positive_int(name, value)
    if storage_bandwidth is not None and not (
        is_real(storage_bandwidth) and 0 < storage_bandwidth < math.inf
    ):
        raise ValueError(
            f"storage_bandwidth must be more than 0 bytes/s or None, but got {storage_bandwidth!r}"
        )
    if method not in (None, "process", "thread"):
        raise ValueError(f'method must be "process", "thread" or None, but got {method!r}')
    if in_order is not None:
        check_bool("in_order", in_order)
    measured = "process" if costs.worker_method == "inline" else costs.worker_method
    return Settings(
        workers,
        size,
        prefetch,
        method or measured,
        costs.in_order if in_order is None else in_order,
        devices,
        nodes,
        storage_bandwidth,
    )


def assumptions(costs: Costs, settings: Settings, step_time: float | None) -> Iterator[str]:
    """Yield what a prediction cannot know, and takes to be so."""
    busy = settings.devices * (settings.num_workers + min(costs.step_cores, 1.0))
    if settings.num_workers and busy > costs.cores:
        yield (
            f"{settings.devices * (settings.num_workers + 1)} workers and training loops share "
            f"{costs.cores:g} cores evenly, and nothing else runs on them"
        )
    if settings.devices * settings.num_workers > 1 and costs.fetch_wait < 0.8:
        yield "cores work as fast together as one alone: memory and caches are not the limit"
    if settings.num_workers and settings.method not in costs.crossings:
        yield f"handing over a batch from a {settings.method} costs what it typically does"
    if settings.method == "thread" and settings.num_workers and costs.lock_share is None:
        yield "half of the CPU time holds the GIL; the band goes from none of it to all"
    if step_time is None and settings.batch_size != costs.batch_size and costs.step_mean:
        scales = "with the batch" if costs.step_cores > 0.5 else "not with the batch"
        yield f"the time of a step grows {scales}"
    if settings.devices > 1:
        yield f"{settings.devices} devices of a node share its {costs.cores:g} cores evenly"
    if settings.nodes > 1:
        yield f"{settings.nodes} nodes are as this machine, and exchanging gradients is in the step"
    if settings.ranks > RANKS:
        yield f"{RANKS} of {settings.ranks} ranks were simulated; the slowest of all waits longer"
    if settings.storage_bandwidth is not None:
        yield "readers share the storage evenly, and none of the reads is in the page cache"
    elif costs.fetch_wait > 0.05 and settings.num_workers > costs.num_workers:
        yield "more reads at once take no longer each: the storage is not the limit"
    if settings.batch_size < costs.fetch_group:
        yield "samples vary independently of each other within a batch"
