"""`Profile`: what was seen while a loader ran, as data, and what can be asked of it.

profile(loader) --> Profile --> summary(), timeline(), diagnose(), predict(num_workers=8)
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dlkit.diagnose.costs import Costs
from dlkit.diagnose.predict import Prediction, predict
from dlkit.diagnose.usage import MemoryPoint
from dlkit.trace import Trace
from dlkit.trace.spans import CODES, FIRST_PART, WHOLE

if TYPE_CHECKING:
    from dlkit.diagnose.findings import Diagnosis


@dataclass(frozen=True)
class LoaderFacts:
    """A loader's settings, and what can be seen of its dataset without reading it.

    Attributes:
        kind: `"dlkit"` or `"torch"`.
        num_workers: of the loader.
        worker_method: `"inline"`, `"process"` or `"thread"`.
        start_method: how worker processes start; empty without them.
        batch_size: samples in a full batch, as seen.
        prefetch_factor: batches in flight for each worker.
        persistent_workers: whether workers live on.
        pin_memory: whether batches are pinned.
        in_order: whether batches come in order.
        batches: of an epoch; None if that is not known.
        dataset: name of its class.
        collate: name of the `collate_fn`.
        iterable: whether the dataset is a stream.
        reads_batches: whether the dataset reads a batch by one call.
        python_objects: objects in the largest list or dict that the dataset holds.
        file_bytes: mean size of the files that the dataset lists; None if it lists none.
        moves_to_device: whether the loader copies batches to a device.
    """

    kind: str = "torch"
    num_workers: int = 0
    worker_method: str = "inline"
    start_method: str = ""
    batch_size: int = 1
    prefetch_factor: int = 2
    persistent_workers: bool = False
    pin_memory: bool = False
    in_order: bool = True
    batches: int | None = None
    dataset: str = "Dataset"
    collate: str = "default_collate"
    iterable: bool = False
    reads_batches: bool = False
    python_objects: int = 0
    file_bytes: float | None = None
    moves_to_device: bool = False


@dataclass(frozen=True)
class MachineFacts:
    """What the machine offers.

    Attributes:
        cores: that this process may use.
        accelerator: whether there is one.
        shared_memory: free bytes of /dev/shm; None where there is none.
        open_files: how many files a process may open.
        descriptors: how many this process had open when the profile began.
        memory: bytes that are free or could be freed; None if the system does not say.
    """

    cores: float = 1.0
    accelerator: bool = False
    shared_memory: int | None = None
    open_files: int = 1024
    descriptors: int = 32
    memory: int | None = None


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
        lock_share: share of fetching's CPU time that holds Python's lock; None if not measured.
        step_cores: cores that a step keeps busy.
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
    step_cores: float = 1.0
    notes: tuple[str, ...] = field(default=())

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
        """Return the seconds of each batch in a stage, in the order in which they began."""
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
        """Index and seconds of each sample whose reading was timed by itself.

        Those of each worker's first batch are left out if there are others: they pay for starting.
        """
        spans = self.records[self.records["index"] >= 0]
        later = spans[spans["batch"] >= max(1, self.loader.num_workers)]
        spans = later if len(later) else spans
        seconds = (spans["end"] - spans["start"]) / 1e9
        return list(zip(spans["index"].tolist(), seconds.tolist(), strict=True))

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
        """What the parts of the loader cost, as `predict` wants it."""
        size = max(1, self.loader.batch_size)
        spans = self.records[(self.records["stage"] == CODES["fetch"])]
        timed = spans[spans["index"] >= 0]
        group = 1
        if not len(timed):
            timed, group = spans[spans["index"] == WHOLE], size
        wall = (timed["end"] - timed["start"]) / 1e9 / group
        known = timed["cpu"] >= 0
        cpu = float(timed["cpu"][known].mean()) / 1e9 / group if known.any() else float(wall.mean())
        if group > 1:  # of single samples, queueing for a core is left out already
            wall = wall * (1 - self.queued)
        wall = np.maximum(wall, min(cpu, float(wall.min())))
        collate = self.times("collate")
        nbytes = self.nbytes / max(1, self.samples)
        return Costs(
            fetch_seconds=tuple(wall.tolist()),
            fetch_cpu_seconds=min(cpu, float(wall.mean())),
            fetch_group=group,
            lock_share=self.lock_share,
            collate_seconds=statistics.fmean(collate) / size if collate else 0.0,
            step_seconds=tuple(self.times("compute")) if self.has_step else (0.0,),
            step_cores=self.step_cores,
            start_seconds=self.first_batch if self.loader.num_workers else 0.0,
            sample_bytes=nbytes,
            read_bytes=self.read_bytes,
            worker_memory=self.worker_memory,
            batch_size=size,
            num_workers=self.loader.num_workers,
            worker_method=self.loader.worker_method,
            prefetch_factor=self.loader.prefetch_factor,
            in_order=self.loader.in_order,
            cores=self.machine.cores,
            samples=None if self.loader.batches is None else self.loader.batches * size,
        )

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
