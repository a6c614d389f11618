"""Random augmentation that is the same for any number of workers, and after a resume.

    seed, epoch, index  -->  seeds of the global generators  -->  transform(sample)

A random transform draws from global generators, and what it gets depends on which worker reads the
sample and on what that worker has read before. Here the generators are seeded for each sample.
"""

import contextlib
import inspect
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import data as torch_data

from dlkit.checks import check_sized
from dlkit.datasets.base import ArrayIndexed, Indices, as_index_array, read_samples
from dlkit.randomness import get_rng_state, set_rng_state
from dlkit.region import Region
from dlkit.transforms.seeds import sample_seeds

_global_generators = threading.Lock()  # there is one set of them for all threads


def _renew_lock() -> None:
    # In a process that was forked while a thread held it, nobody would ever let it go.
    global _global_generators
    _global_generators = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class SeededTransform(ArrayIndexed, torch_data.Dataset[Any]):
    """A dataset whose samples pass through a random transform that is seeded for each of them.

    What happens to sample `i` in epoch `e` depends on `seed`, `e` and `i`, and on nothing else. The
    generators are put back afterwards. A transform that takes an argument `generator` gets one of
    its own, which worker threads do not have to wait for.

    Tell it the epoch: `set_epoch(e)` before each pass, as a `DistributedSampler` wants too; dlkit's
    `Trainer` does so. It reaches workers that have been started already.

    Args:
        dataset: map-style; a cache, best of all.
        transform: called with the input of one sample, the first field of a tuple.
        seed: of the run.

    Raises:
        TypeError: if the transform cannot be called, the seed is no integer, or the dataset has no
            length.

    Example:
        >>> noisy = SeededTransform([0.0] * 4, lambda x: x + torch.rand(()).item(), seed=0)
        >>> first = noisy[2]
        >>> noisy[2] == first, noisy[1] == first
        (True, False)
        >>> noisy.set_epoch(1)
        >>> noisy[2] == first
        False
    """

    def __init__(self, dataset: Any, transform: Callable[..., Any], *, seed: int) -> None:
        if not callable(transform):
            raise TypeError(f"transform must be callable, but got {transform!r}")
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise TypeError(f"seed must be an integer, but got {seed!r}")
        check_sized("dataset", dataset)
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self._takes_generator = _has_parameter(transform, "generator")
        self._epoch = Region(8)  # shared, so that workers that live on hear of the next epoch

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def epoch(self) -> int:
        """The epoch whose random numbers are drawn."""
        return int(self._epoch.memory.view(np.int64)[0])

    def set_epoch(self, epoch: int) -> None:
        """Draw other random numbers from now on, in all workers.

        Raises:
            ValueError: if `epoch` is no integer of 0 or more.
        """
        if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 0:
            raise ValueError(f"epoch must be an integer of 0 or more, but got {epoch!r}")
        self._epoch.memory.view(np.int64)[0] = epoch
        set_epoch(self.dataset, epoch)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Indices) -> Sequence[Any]:
        array = as_index_array(indices)
        samples = read_samples(self.dataset, array)
        array = np.where(array < 0, array + len(self), array)
        seeds = sample_seeds(self.seed, self.epoch, array).tolist()
        if self._takes_generator:
            return [self._own(sample, seed) for sample, seed in zip(samples, seeds, strict=True)]
        with _borrowed_generators():
            return [self._seeded(sample, seed) for sample, seed in zip(samples, seeds, strict=True)]

    def _own(self, sample: Any, seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        return _on_input(lambda x: self.transform(x, generator=generator), sample)

    def _seeded(self, sample: Any, seed: int) -> Any:
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % (1 << 32))  # noqa: NPY002  # the global one is meant
        return _on_input(self.transform, sample)


@contextlib.contextmanager
def _borrowed_generators() -> Iterator[None]:
    """Keep other threads that borrow them out, and put the global generators back at the end."""
    with _global_generators:
        state = get_rng_state()
        try:
            yield
        finally:
            set_rng_state(state)


def _on_input(function: Callable[[Any], Any], sample: Any) -> Any:
    """Apply a function to the first field of a tuple, else to the whole sample."""
    if isinstance(sample, tuple) and not hasattr(sample, "_fields"):
        return (function(sample[0]), *sample[1:])
    return function(sample)


def _has_parameter(function: Callable[..., Any], name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # written in C
        return False


def set_epoch(dataset: Any, epoch: int) -> None:
    """Tell the epoch to a dataset and to those below it, as far as they want to know.

    Args:
        dataset: looked through by its attributes `dataset` and `datasets`.
        epoch: 0 or more.
    """
    tell = getattr(dataset, "set_epoch", None)
    if tell is not None:
        tell(epoch)
        return
    below = [getattr(dataset, "dataset", None), *(getattr(dataset, "datasets", None) or ())]
    for part in below:
        if part is not None:
            set_epoch(part, epoch)
