"""Recording: a stage's function is exchanged, once, for one that also notes when it ran.

    fetch = recorder.timed("fetch", fetch)      # with a trace: notes a span each time
    fetch = UNTRACED.timed("fetch", fetch)      # without: the same function, nothing is paid

Which recorder is asked is decided when a pass or a worker starts, never in its steady state. A call
that raises leaves no span.
"""

import threading
from collections.abc import Callable, Iterator
from time import thread_time_ns
from typing import Any

from dlkit.trace.rings import Chain, LocalRing, SharedRing
from dlkit.trace.spans import CODES, FIRST_PART, UNKNOWN, WHOLE, clock

Function = Callable[[Any], Any]
_FETCH, _TRANSFER = CODES["fetch"], CODES["transfer"]


class Untraced:
    """Gives everything back as it is: what the loader asks where there is no trace."""

    def timed(self, stage: str, function: Function) -> Function:
        """Return the function that does this stage."""
        return function

    def dataset(self, dataset: Any) -> Any:
        """Return the dataset whose samples are read."""
        return dataset

    def draws(self, tasks: Iterator[Any]) -> Iterator[Any]:
        """Return the tasks of a pass."""
        return tasks

    def numbers(self, tasks: Iterator[Any]) -> Iterator[Any]:
        """Return the tasks of a pass over a stream, which draws no indices."""
        return tasks

    def arrived(self, number: int, get: Callable[[], Any]) -> Callable[[], Any]:
        """Return the function that gives a batch out."""
        return get

    def run(self, fetch: Function, tasks: Iterator[Any]) -> Iterator[Any]:
        """Return the batches of tasks that are fetched here, each when it is asked for."""
        return map(fetch, tasks)

    def note_sample(self, index: Any, start: int, end: int, cpu: int = -1) -> None:
        """Note nothing: the sample was not read by a loader that is traced."""

    def note_part(self, number: int, start: int, end: int) -> None:
        """Note nothing."""

    def note_fetch(self, start: int, end: int) -> None:
        """Note nothing."""

    def note_collate(self, start: int, end: int) -> None:
        """Note nothing."""


UNTRACED = Untraced()


class Recorder(Untraced):
    """Notes the spans of one thread, or of one worker process.

    Args:
        ring: where they go.
        samples: whether to note each sample of a dataset that reads them one by one.
        cpu: whether to note the time on a core, too; asking the system for it costs about 0.5
            microseconds a span.

    Attributes:
        key: the epoch and number of the batch at hand; whoever begins a batch sets it.
        epoch: the key of batch 0 of the running pass.
    """

    def __init__(
        self, ring: LocalRing | SharedRing, samples: bool = False, cpu: bool = False
    ) -> None:
        self.ring = ring
        self.samples = samples
        self.cpu = cpu
        self.key = 0
        self.epoch = 0

    def timed(self, stage: str, function: Function) -> Function:
        """Return a function that does what `function` does, and notes a span of the stage."""
        code, write = CODES[stage], self.ring.write

        def run(argument: Any) -> Any:
            start = clock()
            result = function(argument)
            write(start, clock(), self.key, code)
            return result

        def run_with_cpu(argument: Any) -> Any:
            before = thread_time_ns()
            start = clock()
            result = function(argument)
            end = clock()
            write(start, end, self.key, code, WHOLE, thread_time_ns() - before)
            return result

        return run_with_cpu if self.cpu else run

    def draws(self, tasks: Iterator[Any]) -> Iterator[Any]:
        """Yield the tasks of a pass, and note how long each took to draw."""
        code, write = CODES["sample"], self.ring.write
        key = self.epoch
        while True:
            start = clock()
            try:
                task = next(tasks)
            except StopIteration:
                return
            self.key = key
            write(start, clock(), key, code)
            key += 1
            yield task

    def numbers(self, tasks: Iterator[Any]) -> Iterator[Any]:
        """Yield the tasks of a pass over a stream, and count them."""
        for key, task in enumerate(tasks, self.epoch):
            self.key = key
            yield task

    def arrived(self, number: int, get: Callable[[], Any]) -> Callable[[], Any]:
        """Return a function that gives batch `number` out, and notes how long that took."""

        def run() -> Any:
            self.key = key = self.epoch + number
            start = clock()
            batch = get()
            self.ring.write(start, clock(), key, _TRANSFER)
            return batch

        return run

    def dataset(self, dataset: Any) -> Any:
        """Return the dataset, with each sample's reading noted where that was asked for."""
        if not self.samples or getattr(dataset, "__getitems__", None):
            return dataset
        from dlkit.trace.samples import timed_samples  # which needs torch

        return timed_samples(dataset)

    def note(self, stage: int, number: int, start: int, end: int) -> None:
        """Note a span of a batch that was timed elsewhere."""
        self.ring.write(start, end, self.epoch + number, stage)

    def note_sample(self, index: Any, start: int, end: int, cpu: int = -1) -> None:
        """Note the reading of one sample; what is no number, or below 0, has none in the trace."""
        number = index if isinstance(index, int) and index >= 0 else UNKNOWN
        self.ring.write(start, end, self.key, _FETCH, number, cpu)

    def note_part(self, number: int, start: int, end: int) -> None:
        """Note that part `number` of reading a sample ran, such as one of its transforms."""
        self.ring.write(start, end, self.key, _FETCH, FIRST_PART - number)


class InlineRecorder(Recorder):
    """Notes what the training loop does itself, where it fetches: with four numbers for a batch.

    A batch of rows in memory takes 20 microseconds, of which a note for each stage would take one.
    Drawing begins when training asks, fetching when that has ended, and training goes on when that
    has: so three times say it all, and `Chain.read` makes spans of them.
    """

    def __init__(self, ring: LocalRing, chain: Chain) -> None:
        super().__init__(ring)
        self.chain = chain

    def timed(self, stage: str, function: Function) -> Function:
        """Return the function, timed unless the chain knows its times anyway."""
        return function if stage == "fetch" else super().timed(stage, function)

    def draws(self, tasks: Iterator[Any]) -> Iterator[Any]:
        """Return the tasks: the chain knows when they were drawn."""
        return tasks

    def run(self, fetch: Function, tasks: Iterator[Any]) -> Iterator[Any]:
        """Return the batches of tasks, and let their times be noted."""
        self.key = self.epoch - 1
        return _Inline(fetch, tasks, self)


class _Inline:
    """`map(fetch, tasks)`, and it notes when; like that it goes on after an error."""

    def __init__(self, fetch: Function, tasks: Iterator[Any], recorder: InlineRecorder) -> None:
        self._fetch = fetch
        self._draw = tasks.__next__
        self._extend = recorder.chain.rows.extend
        self._recorder = recorder

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        asked = clock()
        try:
            task = self._draw()
        except StopIteration:
            self._extend((-1, asked, asked, asked))
            raise
        drawn = clock()
        recorder = self._recorder
        recorder.key = key = recorder.key + 1
        batch = self._fetch(task)
        self._extend((key, asked, drawn, clock()))
        return batch


class _Here(threading.local):
    recorder: Any = Untraced()  # of this thread, for what is called deep inside of a dataset


here = _Here()
