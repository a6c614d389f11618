"""A stream as an `IterableDataset`: for either loader, and so for training while data comes in.

    StreamDataset(camera, samples=1000) -> DataLoader(batch_size=32) -> Trainer.fit(epochs=5)

An epoch of a stream is as long as you say. The next one goes on where the last one ended: the
stream is not begun anew, and between epochs its policy decides what becomes of what comes in.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

from torch.utils import data as torch_data

from dlkit.checks import check_positive_int
from dlkit.streaming.checks import EndOfStream, StreamError
from dlkit.streaming.pipeline import Pipeline
from dlkit.workers.info import get_worker_info


class StreamDataset(torch_data.IterableDataset[Any]):
    """The items of a stream, so many in an epoch.

    A loader may read it without workers, or with one: a second would read a second stream.
    Preprocessing runs in threads of the stream itself.

    Args:
        source: anything that `as_source` takes.
        samples: items in an epoch; None goes on to the end of the stream.
        **options: those of `Pipeline`, such as `preprocess`, `capacity` and `policy`; the batches
            are the loader's.

    Raises:
        ValueError, TypeError: if an argument is none of the accepted.

    Example:
        >>> from dlkit import DataLoader
        >>> stream = StreamDataset((number for number in range(6)), samples=3)
        >>> loader = DataLoader(stream, batch_size=2)
        >>> [batch.tolist() for batch in loader], [batch.tolist() for batch in loader]
        ([[0, 1], [2]], [[3, 4], [5]])
        >>> stream.close()
    """

    def __init__(self, source: Any, samples: int | None = None, **options: Any) -> None:
        if samples is not None:
            check_positive_int("samples", samples)
        own = {"max_batch", "max_delay", "objective", "pool"} & options.keys()
        if own:
            raise TypeError(
                f"{', '.join(sorted(own))} cannot be given here: the loader makes the batches"
            )
        self.source = source
        self.samples = samples
        self.options = options
        self._pipeline: Pipeline | None = self._new_pipeline()
        self._left: deque[Any] = deque()  # taken from the stream, and not yet of any epoch

    def _new_pipeline(self) -> Pipeline:
        capacity = self.options.get("capacity", 256)
        most = min(capacity, 256) if isinstance(capacity, int) and capacity > 0 else 256
        return Pipeline(self.source, max_batch=most, max_delay=0.0, **self.options)

    @property
    def pipeline(self) -> Pipeline:
        """The stream itself, for its `stats` and `counts`."""
        if self._pipeline is None:
            self._pipeline = self._new_pipeline()
        return self._pipeline

    def __iter__(self) -> Iterator[Any]:
        workers = max(
            (
                info.num_workers
                for info in (get_worker_info(), torch_data.get_worker_info())
                if info
            ),
            default=0,
        )
        if workers > 1:
            raise StreamError(
                f"a stream can be read by one worker, but num_workers={workers}: each would read "
                "all of it; use num_workers=0 and preprocess in the stream (workers=...)"
            )
        return self._epoch()

    def _epoch(self) -> Iterator[Any]:
        pipeline, left, given = self.pipeline, self._left, 0
        while self.samples is None or given < self.samples:
            if not left:
                try:
                    left.extend(pipeline.get().items)
                except EndOfStream:
                    return
            given += 1
            yield left.popleft()

    def close(self) -> None:
        """End the stream and its threads."""
        if self._pipeline is not None:
            self._pipeline.stop()

    def __getstate__(self) -> dict[str, Any]:
        # Threads belong to their process; a worker begins a stream of its own.
        return {**self.__dict__, "_pipeline": None, "_left": deque()}
