"""A pass over the data that is traced: the same pass, and one row in the trace for each batch.

__next__:  asked --> the pass's own __next__ --> ready        Trace.deliveries
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from dlkit.delivery import Delivery
from dlkit.iterator import EpochIterator
from dlkit.trace.recorder import InlineRecorder, Recorder, here
from dlkit.trace.spans import clock
from dlkit.workers import Result

if TYPE_CHECKING:
    from dlkit.loader import DataLoader
    from dlkit.trace.chain import Chain

Batch = TypeVar("Batch")


def traced_pass(
    loader: "DataLoader[Batch]", saved: dict[str, Any] | None
) -> "EpochIterator[Batch]":
    """Return a pass whose stages are noted in the loader's trace.

    Args:
        loader: which has a trace.
        saved: the state of an `Epoch` to continue.
    """
    trace = loader.trace
    assert trace is not None
    trace.begin()
    moves = loader.pin_memory or loader.device is not None
    inline = not (loader.num_workers or loader.is_iterable or moves)
    recorder = trace.inline_recorder() if inline else trace.recorder()
    here.recorder = recorder  # for what notes samples and transforms
    if isinstance(recorder, InlineRecorder):
        return EpochIterator(loader, saved, recorder)
    return TracedIterator(loader, saved, recorder, trace.deliveries)


class TracedDelivery(Delivery):
    """Delivers as any pass does, and notes when the batch began to be given out.

    Attributes:
        given: when that was, for the batch that was delivered last; 0 before the first.
    """

    given = 0

    def deliver(self, get: Callable[[], Any]) -> Any:
        """Give out the batch that has waited longest."""
        self.newest = self.waiting.popleft()
        self.given = clock()
        return get()


class TracedAhead(TracedDelivery):
    """The same where batches go to a device: they are taken from the workers one batch ahead."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def arrived(self, result: Result) -> Callable[[], Any]:
        """Take a result from a worker; return the function that gives its batch out."""
        return self._recorder.arrived(result.number, super().arrived(result))


class TracedIterator(EpochIterator[Batch]):
    """The same pass, and it notes when the training loop waited, and when it computed.

    Args:
        loader: whose dataset, order, workers and trace it uses.
        saved: the state of an `Epoch` to continue.
        recorder: notes the spans of the thread that iterates.
        chain: where a row for each batch goes.

    Attributes:
        number: of the newest batch in its pass; -1 before the first.
    """

    _delivery: TracedDelivery

    def __init__(
        self,
        loader: "DataLoader[Batch]",
        saved: dict[str, Any] | None,
        recorder: Recorder,
        chain: "Chain",
    ) -> None:
        self._chain = chain
        self._first = recorder.epoch  # the key of batch 0
        self.number = -1
        ahead = loader.device is not None
        delivery = TracedAhead(recorder) if ahead else TracedDelivery()
        super().__init__(loader, saved, recorder, delivery)
        self._earlier = self.epoch.batches  # those of the pass that is continued

    def __next__(self) -> Batch:
        chain = self._chain
        asked = clock()
        try:
            batch: Batch = _next(self)
        except BaseException:
            chain.end(asked)
            raise
        delivery = self._delivery
        newest = delivery.newest
        # Where no worker has numbered it: batches that failed, or were left empty, count too.
        number = self.epoch.batches - 1 - self._earlier if newest is None else newest.number
        self.number = number
        chain.extend((next(chain.numbers), self._first + number, asked, delivery.given, clock()))
        return batch


_next: Any = EpochIterator.__next__
