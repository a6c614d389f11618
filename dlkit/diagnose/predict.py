"""What a loader would deliver at settings that were not run.

    Costs --a pass on a simulated clock--> samples/s, share of waiting, memory

The recurrence. Batch t is fetched by worker t mod W; with P batches in flight for each worker,

    submitted(t) = delivered(t - W P)                       the first W P at once
    started(t)   = max(submitted(t), ready(t - W))          a worker does one batch at a time
    ready(t)     = started(t) + fetch and collate of its samples, as long as the others allow
    delivered(t) = max(ready(t), used(t - 1)) + receiving   in order: no batch overtakes another
    used(t)      = delivered(t) + step

It is not written here a second time: `dlkit.workers.simulated` lets the loader's own scheduling run
on a clock. "As long as the others allow": work advances slower where workers and the training loop
want more cores than there are, where threads want the GIL, and where nodes share a storage.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dlkit.checks import check_positive_int, is_real
from dlkit.diagnose.costs import Costs, Crossing
from dlkit.diagnose.settings import RANKS, Settings, assumptions, resolve
from dlkit.workers.clockwork import Work
from dlkit.workers.simulated import SimulatedPass

BATCHES = 96  # simulated after the pipeline has filled
DIFFERENT = 32  # batches that are drawn from the measured costs, and then come again
TURNS = 8  # waiting and computing take turns so many times in a batch, at most
MODEL_ERROR = 0.08  # what the simulation leaves out; see benchmarks/prediction.py
# What crossing costs where nobody has measured it: a core of 2020 or so, small batches.
TYPICAL = {
    "inline": Crossing(),
    "thread": Crossing(worker_seconds=3e-5, main_seconds=4e-5),
    "process": Crossing(worker_seconds=1.5e-4, worker_seconds_per_byte=2e-10, main_seconds=1.5e-4),
}


@dataclass(frozen=True)
class Prediction:
    """What a setting would deliver.

    Attributes:
        throughput: samples/s, of all devices of all nodes together.
        low: what it is expected to reach at least, in samples/s.
        high: and at most.
        wait_share: share of the training loop's time in which it waits for batches, 0 to 1.
        memory: bytes on each node: process, workers and batches in flight.
        epoch_seconds: of one epoch with starting its workers; None for a stream without length.
        settings: what it is for.
        assumptions: what could not be known, and was taken to be so.
    """

    throughput: float
    low: float
    high: float
    wait_share: float
    memory: float
    epoch_seconds: float | None
    settings: Settings
    assumptions: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.throughput:,.0f} samples/s ({self.low:,.0f} to {self.high:,.0f}), training "
            f"waits {self.wait_share:.0%} of its time, {self.memory / 1e6:,.0f} MB"
        )


def predict(
    costs: Any,
    *,
    num_workers: int | None = None,
    batch_size: int | None = None,
    prefetch_factor: int | None = None,
    step_time: float | None = None,
    devices: int = 1,
    nodes: int = 1,
    storage_bandwidth: float | None = None,
    method: str | None = None,
    in_order: bool | None = None,
    batches: int = BATCHES,
    band: bool = True,
) -> Prediction:
    """Predict what a loader delivers at settings that were not run.

    Whatever is left out is as it was when the costs were measured.

    Args:
        costs: `Costs`, or a profile that has some as `.costs`.
        num_workers: how many workers fetch, for each device; 0 fetches in the training loop.
        batch_size: samples in a batch, of each device.
        prefetch_factor: batches in flight for each worker.
        step_time: seconds that the training loop computes on a batch. Left out, it is as measured:
            per sample if a step keeps this machine's cores busy, per batch if it does not.
        devices: training loops on each node, each with workers of its own; they share its cores,
            and wait for each other at each step.
        nodes: machines like this one.
        storage_bandwidth: bytes/s that all nodes share when they read; None for no limit.
        method: `"process"` or `"thread"`.
        in_order: whether a batch that is ready early waits for its turn.
        batches: how many to simulate after the pipeline has filled.
        band: whether to let what is uncertain about the costs widen the band, which takes three
            simulations instead of one.

    Raises:
        TypeError: if `costs` is neither.
        ValueError: if a setting is impossible.

    Example:
        >>> waits = Costs(fetch_seconds=[0.004], fetch_cpu_seconds=0, batch_size=10, cores=1)
        >>> for workers in (1, 2, 8):
        ...     print(round(predict(waits, num_workers=workers, step_time=0.01).throughput, -1))
        250.0
        500.0
        970.0
    """
    costs = _costs_of(costs)
    settings = resolve(
        costs, num_workers, batch_size, prefetch_factor, devices, nodes, storage_bandwidth,
        method, in_order,
    )  # fmt: skip
    step = _step(costs, settings, step_time)
    check_positive_int("batches", batches)
    possible = _possible(costs, settings) if band else [costs]
    runs = [_run(costs_of_run, settings, step, batches) for costs_of_run in possible]
    rates, waits = zip(*runs, strict=True)
    throughput = settings.ranks * rates[0]
    epoch = None
    if costs.samples is not None:
        start = costs.start_seconds if settings.num_workers else 0.0
        epoch = start + costs.samples / throughput
    return Prediction(
        throughput,
        settings.ranks * min(rates) * (1 - MODEL_ERROR),
        settings.ranks * max(rates) * (1 + MODEL_ERROR),
        waits[0],
        _memory(costs, settings),
        epoch,
        settings,
        tuple(assumptions(costs, settings, step_time)),
    )


def _run(costs: Costs, settings: Settings, step: Work, batches: int) -> tuple[float, float]:
    """Let the ranks run a while, and return the samples/s and the share of waiting of one."""
    generator = np.random.default_rng(0)
    nbytes = settings.batch_size * costs.sample_bytes
    crossing = _crossing(costs, settings)
    bandwidth = settings.storage_bandwidth
    passes = [
        SimulatedPass(
            _works(costs, settings, generator),
            settings.num_workers,
            settings.prefetch_factor,
            settings.in_order,
            receive=_in_main(settings, crossing.main(nbytes)),
            cores=costs.cores / settings.devices,
            bandwidth=math.inf if bandwidth is None else bandwidth / settings.ranks,
            endless=True,
        )
        for _ in range(min(settings.ranks, RANKS))
    ]
    filling = settings.num_workers * settings.prefetch_factor + 2
    deliveries = [simulated.deliveries() for simulated in passes]
    began = waited = 0.0
    for number in range(filling + batches):
        asked = passes[0].clock.now
        if number == filling:
            began, waited = asked, 0.0
        for results in deliveries:
            next(results)
        latest = max(simulated.clock.now for simulated in passes)
        waited += latest - asked  # for its own batch, and then for the other ranks
        for simulated in passes:
            simulated.clock.idle_until(latest)
            simulated.clock.spend(step)
    took = passes[0].clock.now - began
    if not took:
        return math.inf, 0.0
    return batches * settings.batch_size / took, waited / took


def _works(costs: Costs, settings: Settings, generator: np.random.Generator) -> list[Work]:
    """Draw what batches take from the costs that were measured."""
    nbytes = settings.batch_size * costs.sample_bytes
    read = 0.0
    if settings.storage_bandwidth is not None:
        per_sample = costs.sample_bytes if costs.read_bytes is None else costs.read_bytes
        read = settings.batch_size * per_sample
    extra = costs.batch_seconds + settings.batch_size * costs.collate_seconds
    extra += _crossing(costs, settings).worker(nbytes)
    share = _lock_share(costs) if settings.method == "thread" and settings.num_workers else 0.0
    turns = min(settings.batch_size, TURNS)
    works = []
    for fetch in _fetch_times(costs, settings.batch_size, generator):
        cpu = fetch * (1 - costs.fetch_wait)
        # Collating and handing over are NumPy's and torch's work, which leaves the lock.
        works.append(Work(fetch - cpu, cpu * (1 - share) + extra, cpu * share, read, turns=turns))
    return works


def _fetch_times(costs: Costs, size: int, generator: np.random.Generator) -> Iterator[float]:
    """Yield what fetching `size` samples takes, for several batches."""
    mean, group = costs.fetch_mean, costs.fetch_group
    # Fewer samples than were timed together spread more than these did, by the square root.
    drawn = max(1, round(size / group))
    wider = math.sqrt(max(1.0, group / size))
    values = np.asarray(costs.fetch_seconds)
    means = generator.choice(values, (DIFFERENT, drawn)).mean(axis=1)
    # Their mean is what was measured; a few draws would be off by chance.
    means += mean - means.mean()
    for value in means:
        yield size * max(0.0, mean + wider * (float(value) - mean))


def _in_main(settings: Settings, seconds: float) -> Work:
    """Receiving a batch, which holds the lock that thread workers want as well."""
    if settings.method == "thread":
        return Work(locked=seconds)
    return Work(cpu=seconds)


def _possible(costs: Costs, settings: Settings) -> Iterator[Costs]:
    """Yield the costs as measured, then with what is uncertain about them at both ends."""
    yield costs
    values = np.asarray(costs.fetch_seconds)
    error = 2 * values.std() / math.sqrt(len(values))
    scale = min(error / costs.fetch_mean, 0.5) if costs.fetch_mean else 0.0
    for factor, lock in ((1 - scale, 0.0), (1 + scale, 1.0)):
        faster = tuple(factor * value for value in costs.fetch_seconds)
        unknown = costs.lock_share is None and settings.method == "thread"
        yield replace(
            costs,
            fetch_seconds=faster,
            fetch_cpu_seconds=factor * costs.fetch_cpu_seconds,
            lock_share=lock if unknown else costs.lock_share,
        )


def _lock_share(costs: Costs) -> float:
    return 0.5 if costs.lock_share is None else costs.lock_share


def _crossing(costs: Costs, settings: Settings) -> Crossing:
    method = settings.method if settings.num_workers else "inline"
    return costs.crossings.get(method, TYPICAL[method])


def _step(costs: Costs, settings: Settings, step_time: float | None) -> Work:
    """What the training loop does with a batch: move it, then compute on it."""
    if step_time is None:
        grows = settings.batch_size / costs.batch_size if costs.step_cores > 0.5 else 1.0
        step_time = costs.step_mean * grows
    elif not is_real(step_time) or not 0 <= step_time < math.inf:
        raise ValueError(f"step_time must be 0 or more seconds, but got {step_time!r}")
    nbytes = settings.batch_size * costs.sample_bytes
    moving = costs.transfer_seconds + nbytes * costs.transfer_seconds_per_byte
    busy = costs.step_cores
    if busy < 0.05:  # it waits for an accelerator, or sleeps
        return Work(wait=step_time + moving)
    # Less than a core means that it computes for that share of the time.
    computing = step_time * min(busy, 1.0)
    return Work(wait=step_time - computing + moving, cpu=computing, cores=max(busy, 1.0))


def _memory(costs: Costs, settings: Settings) -> float:
    """Bytes on a node: each device's process, its workers, and the batches in flight."""
    workers = settings.num_workers
    own = workers * costs.worker_memory if settings.method == "process" else 0.0
    in_flight = workers * settings.prefetch_factor + 1  # and the one that is in use
    batches = in_flight * settings.batch_size * costs.sample_bytes
    return settings.devices * (costs.base_memory + own + batches)


def _costs_of(given: Any) -> Costs:
    costs = given if isinstance(given, Costs) else getattr(given, "costs", None)
    if not isinstance(costs, Costs):
        raise TypeError(
            "costs must be Costs, as dlkit.diagnose.measure.measure_costs returns, or a profile "
            f"with .costs, but got {given!r:.80}"
        )
    return costs
