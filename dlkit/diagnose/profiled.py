"""`Profile`: what was seen while a loader ran, as data, and what can be asked of it.

profile(loader) --> Profile --> summary(), timeline(), diagnose(), predict(num_workers=8)
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dlkit.diagnose.costs import Costs, Crossing
from dlkit.diagnose.facts import LoaderFacts, MachineFacts
from dlkit.diagnose.predict import Prediction, predict
from dlkit.diagnose.skew import AGAIN, sample_times, skew_of
from dlkit.diagnose.usage import MemoryPoint
from dlkit.trace import Trace
from dlkit.trace.spans import CODES, FIRST_PART, WHOLE

if TYPE_CHECKING:
    from dlkit.diagnose.findings import Diagnosis


@dataclass(frozen=True)
class Part:
    """What one transform of a dataset cost.

    Attributes:
        name: of its class or function.
        calls: how many were seen.
        seconds: in all.
    """

    name: str
    calls: int
    seconds: float

    @property
    def mean(self) -> float:
        """Seconds of a call."""
        return self.seconds / self.calls if self.calls else 0.0


@dataclass(frozen=True)
class WorkerUse:
    """What one worker did.

    Attributes:
        worker: its number; -1 where the training loop fetched itself.
        batches: that it made.
        busy: seconds in which it fetched, collated or packed.
    """

    worker: int
    batches: int
    busy: float


@dataclass(frozen=True)
class Profile:
    """What was seen while a loader ran. Times are seconds.

    Attributes:
        loader: its settings.
        machine: what there is to use.
        trace: all spans.
        steps: batches that were delivered.
        samples: in the batches that `seconds` covers.
        nbytes: of their tensors.
        seconds: from the first batch's delivery to the last step's end.
        first_batch: seconds from `iter(loader)` to the first batch.
        turn_over: seconds from one epoch's end to the next one's first batch, or from leaving a
            pass to the next one's first batch where no end was reached.
        saw_epoch_end: whether an epoch ended while it was watched.
        has_step: whether a training step was given.
        memory: of all processes over time.
        queued: share of their busy time in which workers were ready but had no core.
        read_bytes: bytes that workers have read by system calls, for each sample; None if unknown.
        tensors: in a batch.
        lock_share: share of fetching's CPU time that holds the GIL; None if not measured.
        slow_again: how many times as long as usual ones the slowest samples took when they were
            read again; 0 if none stood out, or they could not be read.
        step_cores: cores that a step keeps busy.
        crossings: by worker method, what a batch like these costs for being made by a worker; see
            `probing`.
    """

    loader: LoaderFacts
    machine: MachineFacts
    trace: Trace
    steps: int
    samples: int
    nbytes: int
    seconds: float
    first_batch: float
    turn_over: float = 0.0
    saw_epoch_end: bool = False
    has_step: bool = False
    memory: tuple[MemoryPoint, ...] = ()
    queued: float = 0.0
    read_bytes: float | None = None
    tensors: int = 1
    lock_share: float | None = None
    slow_again: float = 0.0
    step_cores: float = 1.0
    crossings: Mapping[str, Crossing] = field(default_factory=dict)

    # ---- figures --------------------------------------------------------------------------------

    @property
    def samples_per_second(self) -> float:
        """Samples that came in a second, the first batch left out."""
        return self.samples / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_second(self) -> float:
        """Bytes that came in a second."""
        return self.nbytes / self.seconds if self.seconds else 0.0

    @cached_property
    def records(self) -> Any:
        """All spans, as `Trace.records` gives them."""
        return self.trace.records()

    def times(self, stage: str) -> list[float]:
        """Return the seconds of each batch in a stage, in the order in which they began.

        Raises:
            ValueError: if there is no such stage.
        """
        if stage not in CODES:
            raise ValueError(f"stage must be one of {', '.join(CODES)}, but got {stage!r}")
        wanted = (self.records["stage"] == CODES[stage]) & (self.records["index"] == WHOLE)
        spans = self.records[wanted]
        seconds: list[float] = ((spans["end"] - spans["start"]) / 1e9).tolist()
        return seconds

    @cached_property
    def waits(self) -> list[float]:
        """Seconds that training waited for each batch; the first of a pass are starts, left out."""
        waiting = (self.records["stage"] == CODES["wait"]) & (self.records["batch"] > 0)
        spans = self.records[waiting]
        seconds: list[float] = ((spans["end"] - spans["start"]) / 1e9).tolist()
        return seconds

    @property
    def wait_share(self) -> float:
        """Share of its time that training waited for batches, 0 to 1, starts left out."""
        waited, computed = sum(self.waits), sum(self.times("compute"))
        return waited / (waited + computed) if waited + computed else 0.0

    @cached_property
    def stages(self) -> dict[str, float]:
        """Share of each stage in the time of all that is work: 0 to 1, `wait` left out."""
        seconds = {stage: sum(self.times(stage)) for stage in CODES if stage != "wait"}
        total = sum(seconds.values())
        return {stage: value / total if total else 0.0 for stage, value in seconds.items()}

    @cached_property
    def sample_times(self) -> list[tuple[int, float]]:
        """Index and seconds of each sample whose reading was timed by itself; see `skew`."""
        return sample_times(self.records, self.loader.num_workers)

    @property
    def skewed(self) -> bool:
        """Whether a few samples take many times as long as the others, each time they are read."""
        return self.slow_again >= AGAIN

    @cached_property
    def held_up(self) -> bool:
        """Whether samples stood out in the run, but not when they were read again."""
        can_be_asked = not self.loader.iterable
        return can_be_asked and not self.skewed and skew_of(self.sample_times) is not None

    def slowest(self, count: int = 5) -> list[tuple[int, float]]:
        """Return index and seconds of the samples that took longest, the slowest first."""
        return sorted(self.sample_times, key=lambda sample: -sample[1])[:count]

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """What each transform cost, the dearest first."""
        spans = self.records[self.records["index"] <= FIRST_PART]
        seconds = (spans["end"] - spans["start"]) / 1e9
        found = []
        for number, name in enumerate(self.trace.parts):
            mine = seconds[spans["index"] == FIRST_PART - number]
            found.append(Part(name, len(mine), float(mine.sum())))
        return tuple(sorted(found, key=lambda part: -part.seconds))

    @cached_property
    def workers(self) -> tuple[WorkerUse, ...]:
        """What each worker did, or the training loop where it fetched itself."""
        work = np.isin(self.records["stage"], [CODES[s] for s in ("fetch", "collate", "transfer")])
        spans = self.records[work & (self.records["index"] == WHOLE)]
        found = []
        for worker in sorted(set(spans["worker"].tolist())):
            mine = spans[spans["worker"] == worker]
            fetched = int((mine["stage"] == CODES["fetch"]).sum())
            if fetched:
                busy = float((mine["end"] - mine["start"]).sum()) / 1e9
                found.append(WorkerUse(worker, fetched, busy))
        return tuple(found)

    @property
    def step_seconds(self) -> float:
        """Median seconds that training computed on a batch."""
        return statistics.median(self.times("compute") or [0.0])

    @property
    def batch_work(self) -> float:
        """Mean seconds that fetching and collating a batch took, queueing for a core left out."""
        fetch, collate = self.times("fetch"), self.times("collate")
        total = (sum(fetch) + sum(collate)) / max(1, len(fetch))
        return total * (1 - self.queued)

    @property
    def cpu_share(self) -> float:
        """Share of fetching's time in which a core was used; the rest is waiting, as for a disk."""
        costs = self.costs
        return 1 - costs.fetch_wait

    @property
    def worker_memory(self) -> float:
        """Mean bytes that a worker has for itself at the end."""
        last: Mapping[int, int] = {p.worker: p.uss for p in self.memory if p.worker >= 0}
        return statistics.fmean(last.values()) if last else 0.0

    # ---- what follows ---------------------------------------------------------------------------

    @cached_property
    def costs(self) -> Costs:
        """What the parts of the loader cost, as `predict` wants it; see `seen_costs`."""
        from dlkit.diagnose.seen_costs import costs_of

        return costs_of(self)

    def predict(self, **settings: Any) -> Prediction:
        """Predict what the loader would deliver at other settings; see `dlkit.predict`."""
        return predict(self.costs, **settings)

    def diagnose(self) -> "Diagnosis":
        """Return what could be better, in the order of what it would gain."""
        from dlkit.diagnose.findings import diagnose

        return diagnose(self)

    def timeline(self, seconds: float | None = None) -> Any:
        """Draw who did what when: a row for each worker and for training.

        Args:
            seconds: how much of the end of the run to draw; None for what is readable.
        """
        from dlkit.plots.profiling import timeline

        return timeline(self.records, seconds)

    def summary(self) -> str:
        """Return the figures as text."""
        from dlkit.diagnose.report import summary

        return summary(self)

    def __repr__(self) -> str:
        return (
            f"<Profile: {self.steps} steps, {self.samples_per_second:,.0f} samples/s, "
            f"training waits {self.wait_share:.0%}>"
        )

    def _repr_html_(self) -> str:
        from dlkit.diagnose.report import html

        return html(self)
