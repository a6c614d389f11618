"""One task to one batch: read the samples, collate them.

    indices -> samples -> batch

This is the whole work on a batch, whichever process or thread does it. An error that comes out of
the user's dataset or `collate_fn` keeps its type and gains a note that says which samples it was.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from dlkit.collate import default_collate
from dlkit.datasets.base import Columns, samples_reader
from dlkit.datasets.combine import vectorised
from dlkit.datasets.tensors import TensorDataset


def map_fetcher(
    dataset: Any, collate_fn: Callable[[Any], Any], batched: bool
) -> Callable[[Any], Any]:
    """Return the function that fetches a batch of a map-style dataset by its indices.

    Args:
        dataset: map-style; PyTorch's own classes are exchanged for vectorised equals.
        collate_fn: from a list of samples to a batch.
        batched: whether a task is a list of indices, or one index whose sample is the batch.

    Example:
        >>> fetch = map_fetcher(["a", "b", "c"], "".join, batched=True)
        >>> fetch([2, 0])
        'ca'
    """
    dataset = vectorised(dataset)
    make = _batch_maker(dataset, collate_fn) if batched else lambda i: collate_fn(dataset[i])

    def fetch(task: Any) -> Any:
        try:
            return make(task)
        except Exception as error:
            raise _explained(error, dataset, task if batched else [task])  # noqa: B904

    return fetch


def _batch_maker(dataset: Any, collate_fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the function from indices to a batch that takes the fewest steps."""
    if type(dataset) is TensorDataset and collate_fn is default_collate:
        return dataset.read_columns  # the rows of the tensors are the batch
    read = samples_reader(dataset)
    return lambda indices: collate_fn(for_collate(read(indices), collate_fn))


def for_collate(samples: Any, collate_fn: Callable[[Any], Any]) -> Any:
    """Give a user's `collate_fn` a list, which it may sort or append to, instead of columns."""
    if type(samples) is Columns and collate_fn is not default_collate:
        return list(samples)
    return samples


def iterable_fetcher(
    samples: Iterator[Any], collate_fn: Callable[[Any], Any], drop_last: bool
) -> Callable[[int | None], Any]:
    """Return the function that fetches the next batch of an iterator of samples.

    A task is the number of samples in the batch, or None for one sample that is not batched. At the
    end of the samples the function raises `StopIteration`, and ever after.

    Example:
        >>> fetch = iterable_fetcher(iter("abc"), "".join, drop_last=False)
        >>> fetch(2), fetch(2)
        ('ab', 'c')
    """

    def fetch(size: int | None) -> Any:
        if size is None:
            return collate_fn(next(samples))
        batch = list(islice(samples, size))
        if not batch or (drop_last and len(batch) < size):
            raise StopIteration
        return collate_fn(batch)

    return fetch


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
