"""Recording: a stage's function is exchanged, once, for one that also notes when it ran.

    fetch = recorder.timed("fetch", fetch)      # with a trace: notes a span each time
    fetch = UNTRACED.timed("fetch", fetch)      # without: the same function, nothing is paid

Which recorder is asked is decided when a pass or a worker starts, never in its steady state. A call
that raises leaves no span.
"""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice, repeat
from operator import itemgetter, length_hint
from time import thread_time_ns
from typing import Any

from dlkit.trace.chain import Chain
from dlkit.trace.rings import LocalRing, SharedRing
from dlkit.trace.spans import CODES, FIRST_PART, UNKNOWN, WHOLE, clock

Function = Callable[[Any], Any]
_FETCH, _TRANSFER = CODES["fetch"], CODES["transfer"]
_FIRST = itemgetter(0)

GROUP = 64  # batches that are noted one after another
NOTING = 1_000  # nanoseconds that noting a batch is taken to cost
SHARE = 0.01  # of the time that noting is to take
MOST_BETWEEN = 15  # groups that are left out between two


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
    """Notes what the training loop does itself, where it fetches: one row for a batch.

    That takes about a microsecond, and batches of rows in memory may come every twelve. So such
    batches are noted in groups, with others between them that are only counted: the more, the
    faster they come.

    Args:
        ring: where spans go that are no link of the chain.
        chain: of drawing and fetching.
    """

    def __init__(self, ring: LocalRing, chain: Chain) -> None:
        super().__init__(ring)
        self.chain = chain
        self._over = False
        self._asks_for_key = False  # whether other stages are noted, each under its batch's key

    def timed(self, stage: str, function: Function) -> Function:
        """Return the function, timed unless the chain knows its times anyway."""
        if stage == "fetch":
            return function
        self._asks_for_key = True
        return super().timed(stage, function)

    def draws(self, tasks: Iterator[Any]) -> Iterator[Any]:
        """Return the tasks: the chain knows when they were drawn."""
        return tasks

    def run(self, fetch: Function, tasks: Iterator[Any]) -> Iterator[Any]:
        """Return the batches of tasks, and let their times be noted."""
        self.key = self.epoch - 1
        # Like `map(fetch, tasks)` it goes on after an error, which a generator would not.
        return chain.from_iterable(self._groups(fetch, tasks))

    def _groups(self, fetch: Function, tasks: Iterator[Any]) -> Iterator[Iterator[Any]]:
        """Yield groups of batches, until one has come to the end of the tasks."""
        noted = self._noted(fetch, tasks)
        while not self._over:
            begun = clock()
            yield map(noted, repeat(None, GROUP))
            per_batch = max(1.0, (clock() - begun) / GROUP)
            between = min(NOTING / (SHARE * per_batch) - 1, MOST_BETWEEN)
            if between > 0 and not self._over:
                self.chain.begin()
                before = self.key
                yield from self._counted(fetch, tasks, round(between * GROUP))
                self.chain.left_out += self.key - before

    def _noted(self, fetch: Function, tasks: Iterator[Any]) -> Function:
        """Return a function that makes the next batch, and notes when."""
        draw, extend, numbers, end = (
            tasks.__next__,
            self.chain.extend,
            self.chain.numbers,
            self.chain.end,
        )

        def make(_: None) -> Any:
            asked = clock()
            try:
                task = draw()
                drawn = clock()
                self.key = key = self.key + 1
                batch = fetch(task)
            except BaseException as error:
                self._over = isinstance(error, StopIteration)
                end(asked)
                raise
            extend((next(numbers), key, asked, drawn, clock()))
            return batch

        return make

    def _counted(self, fetch: Function, tasks: Iterator[Any], size: int) -> Iterator[Any]:
        """Yield the next `size` batches, or as many as there are, in one group."""
        if self._asks_for_key:
            yield map(partial(self._count, fetch), islice(tasks, size))
            return
        places = repeat(None, size)  # each task takes one, and they know how many are left
        yield map(fetch, map(_FIRST, islice(zip(tasks, places), size)))  # noqa: B905
        self.key += size - length_hint(places)

    def _count(self, fetch: Function, task: Any) -> Any:
        self.key += 1
        return fetch(task)


class _Here(threading.local):
    recorder: Any = Untraced()  # of this thread, for what is called deep inside of a dataset


here = _Here()
