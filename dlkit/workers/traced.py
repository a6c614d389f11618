"""What workers do where a trace is kept: the same, and they note when.

    WorkerSetup.trace --> TracedFetcher, TracedPacker --> rings --> Trace

Each is chosen once, when a worker starts. Without a trace none of this is reached.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlkit.trace.recorder import Recorder, here
from dlkit.trace.spans import CODES, EPOCH, clock
from dlkit.workers.interface import Position, Task
from dlkit.workers.parcel import Packer, Parcel
from dlkit.workers.shared_memory import Slot
from dlkit.workers.worker import Fetcher, WorkerSetup, Writing

if TYPE_CHECKING:
    from dlkit.trace.trace import Trace

_TRANSFER = CODES["transfer"]


@dataclass(frozen=True)
class ProcessTrace:
    """What worker processes need for tracing; it travels to them with their setup.

    Attributes:
        rings: one for each worker.
        samples: whether to note single samples.
        cpu: whether to note time on a core.
    """

    rings: list[Any]
    samples: bool
    cpu: bool

    def recorder(self, worker: int) -> Recorder:
        """Return what notes the spans of one worker."""
        ring = self.rings[worker]
        ring.go_on()
        return Recorder(ring, self.samples, self.cpu)

    def epoch(self, of_pass: int) -> int:
        """Return what stands for a pass in the rings: its number, which the trace knows."""
        return of_pass


class ThreadTrace:
    """What worker threads need for tracing: the trace itself.

    Args:
        trace: where their spans go.
    """

    def __init__(self, trace: "Trace") -> None:
        self._trace = trace

    def recorder(self, worker: int) -> Recorder:
        """Return what notes the spans of one worker."""
        return self._trace.recorder(worker)

    def epoch(self, of_pass: int) -> int:
        """Return the trace's number of the pass that runs."""
        return self._trace.epochs - 1


class TracedFetcher(Fetcher):
    """Fetches as any worker does, and notes when each batch was fetched and collated."""

    def __init__(self, setup: WorkerSetup, writing: Writing, recorder: Recorder) -> None:
        super().__init__(setup, writing, recorder)
        self._notes = recorder

    def begin(self, position: Position, of_pass: int) -> None:
        """Begin a pass."""
        super().begin(position, of_pass)
        here.recorder = self._notes  # for what notes samples and transforms
        self._notes.epoch = self._setup.trace.epoch(of_pass) * EPOCH

    def fetch(self, task: Task, number: int) -> Any:
        """Return the batch of a task."""
        self._notes.key = self._notes.epoch + number
        return super().fetch(task, number) if self._fetch is None else self._fetch(task)


class TracedPacker(Packer):
    """Packs as any worker process does, and notes how long that took."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def pack(self, make: Callable[[], Any]) -> tuple[Parcel, Slot | None]:
        """Make a batch and pack it."""
        made = 0

        def make_first() -> Any:
            nonlocal made
            batch = make()
            made = clock()
            return batch

        packed = super().pack(make_first)
        self._recorder.ring.write(made, clock(), self._recorder.key, _TRANSFER)
        return packed


def process_tools(setup: WorkerSetup, worker: int) -> tuple[Packer, Fetcher]:
    """Return what a worker process packs and fetches with."""
    if setup.trace is None:
        packer = Packer()
        return packer, Fetcher(setup, packer.target.writing)
    recorder = setup.trace.recorder(worker)
    packer = TracedPacker(recorder)
    return packer, TracedFetcher(setup, packer.target.writing, recorder)


def thread_fetcher(setup: WorkerSetup, worker: int, writing: Writing) -> Fetcher:
    """Return what a worker thread fetches with."""
    if setup.trace is None:
        return Fetcher(setup, writing)
    return TracedFetcher(setup, writing, setup.trace.recorder(worker))
