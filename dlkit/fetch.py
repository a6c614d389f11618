"""One task to one batch: read the samples, collate them.

    indices -> samples -> batch

This is the whole work on a batch, whichever process or thread does it. An error that comes out of
the user's dataset or `collate_fn` keeps its type and gains a note that says which samples it was.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from dlkit.collate import default_collate
from dlkit.collate.default import rows_are_the_batch
from dlkit.datasets.base import Columns, Gathered, GathersBatches, as_list, samples_reader
from dlkit.datasets.combine import Subset, vectorised
from dlkit.datasets.tensors import TensorDataset
from dlkit.failures import SampleError
from dlkit.trace.recorder import UNTRACED, Untraced

Make = Callable[[Any], Any]


class Fetched(NamedTuple):
    """A batch with what came along with it, where there is more to deliver than the batch.

    Attributes:
        batch: what the user gets.
        skipped: samples that were left out of it.
        state: where the iterable dataset stands after it.
        empty: whether nothing is left of the batch.
    """

    batch: Any
    skipped: tuple[SampleError, ...] = ()
    state: Any = None
    empty: bool = False


def on_batch(function: Make) -> Make:
    """Return a function that does with a batch what `function` does, and leaves what came along.

    Example:
        >>> on_batch(str.upper)(Fetched("ab", state="c"))
        Fetched(batch='AB', skipped=(), state='c', empty=False)
    """

    def run(batch: Any) -> Any:
        if type(batch) is Fetched:
            return batch._replace(batch=function(batch.batch))
        return function(batch)

    return run


def map_fetcher(
    dataset: Any,
    collate_fn: Callable[[Any], Any],
    batched: bool,
    writing: Callable[[Make], Make] | None = None,
    recorder: Untraced = UNTRACED,
) -> Callable[[Any], Any]:
    """Return the function that fetches a batch of a map-style dataset by its indices.

    Args:
        dataset: map-style; PyTorch's own classes are exchanged for vectorised equals.
        collate_fn: from a list of samples to a batch.
        batched: whether a task is a list of indices, or one index whose sample is the batch.
        writing: wraps the function that makes a batch, where its memory has been prepared.
        recorder: wraps the stages of a batch where they are traced.

    Example:
        >>> fetch = map_fetcher(["a", "b", "c"], "".join, batched=True)
        >>> fetch([2, 0])
        'ca'
    """
    dataset = vectorised(dataset)
    make = (
        _batch_maker(dataset, collate_fn, writing or _as_it_is, recorder)
        if batched
        else _sample_maker(dataset, collate_fn, recorder)
    )

    def fetch(task: Any) -> Any:
        try:
            return make(task)
        except Exception as error:
            raise _explained(error, dataset, task if batched else [task])  # noqa: B904

    return fetch


def _batch_maker(
    dataset: Any,
    collate_fn: Callable[[Any], Any],
    writing: Callable[[Make], Make],
    recorder: Untraced,
) -> Callable[[Any], Any]:
    """Return the function from indices to a batch that takes the fewest steps."""
    whole = collate_fn is default_collate and rows_are_the_batch()
    if type(dataset) is TensorDataset and whole:
        # The rows of the tensors are the batch.
        return recorder.timed("fetch", writing(dataset.read_columns))
    read = samples_reader(recorder.dataset(dataset))
    if whole and _reads_rows(dataset):
        read = writing(read)
    read, collate = recorder.timed("fetch", read), recorder.timed("collate", writing(collate_fn))
    if collate_fn is default_collate:  # which takes samples in any form
        return lambda indices: collate(read(indices))
    return lambda indices: collate(for_collate(read(indices), collate_fn))


def _sample_maker(
    dataset: Any, collate_fn: Callable[[Any], Any], recorder: Untraced
) -> Callable[[Any], Any]:
    """Return the function from an index to its sample, where nothing is batched."""
    dataset = recorder.dataset(dataset)
    read = recorder.timed("fetch", lambda index: dataset[index])
    convert = recorder.timed("collate", collate_fn)
    return lambda index: convert(read(index))


def _as_it_is(make: Make) -> Make:
    return make


def _reads_rows(dataset: Any) -> bool:
    """Whether what the dataset reads is already the batch, and nobody else ever sees it."""
    while type(dataset) is Subset:
        dataset = dataset.dataset
    return type(dataset) is TensorDataset or isinstance(dataset, GathersBatches)


def skipping(
    fetch: Callable[[Any], Any], dataset: Any, collate_fn: Callable[[Any], Any], batched: bool
) -> Callable[[Any], Any]:
    """Return a function that fetches as `fetch` does, but leaves out samples that cannot be read.

    Example:
        >>> fetch = map_fetcher(["a", "b"], "".join, batched=True)
        >>> fetched = skipping(fetch, ["a", "b"], "".join, True)([1, 7, 0])
        >>> fetched.batch, [error.index for error in fetched.skipped]
        ('ba', [7])
    """

    def run(task: Any) -> Any:
        try:
            return fetch(task)
        except Exception as error:
            samples, skipped = [], []
            for index in as_list(task) if batched else [task]:
                try:
                    samples.append(dataset[index])
                except Exception as reason:
                    skipped.append(SampleError(index, reason))
            if not samples:
                return Fetched(None, tuple(skipped), empty=True)
            try:
                return Fetched(collate_fn(samples if batched else samples[0]), tuple(skipped))
            except Exception:
                if not skipped:
                    raise error from None  # it was no sample, but collating them
                raise

    return run


def for_collate(samples: Any, collate_fn: Callable[[Any], Any]) -> Any:
    """Give a user's `collate_fn` a list, which it may sort or append to, instead of columns."""
    if collate_fn is not default_collate and isinstance(samples, Columns | Gathered):
        return list(samples)
    return samples


def iterable_fetcher(
    samples: Iterator[Any],
    collate_fn: Callable[[Any], Any],
    drop_last: bool,
    writing: Callable[[Make], Make] | None = None,
    skip: int | None = None,
    recorder: Untraced = UNTRACED,
) -> Callable[[int | None], Any]:
    """Return the function that fetches the next batch of an iterator of samples.

    A task is the number of samples in the batch, or None for one sample that is not batched. At the
    end of the samples the function raises `StopIteration`, and ever after.

    Args:
        samples: where they come from.
        collate_fn: from a list of samples to a batch.
        drop_last: whether to leave out a last batch that is not full.
        writing: wraps the function that makes a batch, where its memory has been prepared.
        skip: how many samples of one batch may fail and be left out; None raises the first error.
        recorder: wraps the stages of a batch where they are traced.

    Example:
        >>> fetch = iterable_fetcher(iter("abc"), "".join, drop_last=False)
        >>> fetch(2), fetch(2)
        ('ab', 'c')
    """
    collate = recorder.timed("collate", (writing or _as_it_is)(collate_fn))
    convert = recorder.timed("collate", collate_fn)

    def read(size: int | None) -> Any:
        if size is None:
            return next(samples)
        batch = list(islice(samples, size))
        if not batch or (drop_last and len(batch) < size):
            raise StopIteration
        return batch

    def read_skipping(size: int | None) -> tuple[list[Any], list[SampleError]]:
        batch: list[Any] = []
        skipped: list[SampleError] = []
        while len(batch) < (1 if size is None else size):
            try:
                batch.append(next(samples))
            except StopIteration:
                break
            except Exception as error:
                skipped.append(SampleError(None, error))
                if len(skipped) > (skip or 0):
                    break
        return batch, skipped

    take = recorder.timed("fetch", read)
    take_skipping = recorder.timed("fetch", read_skipping)

    def fetch(size: int | None) -> Any:
        return convert(take(size)) if size is None else collate(take(size))

    def fetch_skipping(size: int | None) -> Any:
        batch, skipped = take_skipping(size)
        if not batch or (drop_last and size is not None and len(batch) < size):
            if not skipped:
                raise StopIteration
            return Fetched(None, tuple(skipped), empty=True)
        return Fetched(convert(batch[0]) if size is None else collate(batch), tuple(skipped))

    return fetch if skip is None else fetch_skipping


def with_state(fetch: Callable[[Any], Any], dataset: Any) -> Callable[[Any], Any]:
    """Let each batch carry the dataset's state, which will have moved on when it is delivered."""

    def run(task: Any) -> Any:
        batch = fetch(task)
        fetched = batch if isinstance(batch, Fetched) else Fetched(batch)
        return fetched._replace(state=dataset.state_dict())

    return run


def read_again(fetch: Callable[[Any], Any], task: Any, count: int) -> None:
    """Come back to where a stream stood by reading everything before it once more."""
    for _ in range(count):
        try:
            fetch(task)
        except StopIteration:
            return
        except Exception:  # it was reported when this batch was due
            continue


def _explained(error: Exception, dataset: Any, indices: Any) -> Exception:
    """Add to an error which samples it happened in, and what a wrong index is likely to mean."""
    if isinstance(error, StopIteration):
        # Passed on as it is, it would end the epoch early, and nobody would be told.
        cause, error = error, RuntimeError("the dataset or collate_fn raised StopIteration")
        error.__cause__ = cause
    indices = indices.tolist() if isinstance(indices, np.ndarray) else list(indices)
    shown = ", ".join(map(repr, indices[:16])) + (", ..." if len(indices) > 16 else "")
    error.add_note(f"while fetching the samples with indices [{shown}]")
    length = len(dataset) if hasattr(dataset, "__len__") else None
    if length is None or not isinstance(error, IndexError | KeyError):
        return error
    outside = [i for i in indices if isinstance(i, int) and not -length <= i < length]
    if outside:
        error.add_note(
            f"the sampler yielded index {outside[0]}, but the dataset has {length} samples"
        )
    elif isinstance(error, IndexError):
        error.add_note(
            f"all of these indices are inside len(dataset), which is {length}: the dataset has "
            "fewer samples than its __len__ says"
        )
    return error
