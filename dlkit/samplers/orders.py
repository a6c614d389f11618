"""Orders of single indices: sequential, random, weighted, of a subset, block by block."""

from collections.abc import Iterator, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch.utils import data as torch_data

from dlkit.checks import check_bool, check_generator, check_positive_int, check_sized
from dlkit.samplers.base import IndexArray, Sampler

_SEQUENTIAL_BLOCK = 65_536  # bounds the memory of an order of a billion indices to half a megabyte
_REPLACEMENT_BLOCK = 32  # PyTorch draws so many at a time; another size would shift its stream
_EMPTY = "data_source is empty: there is nothing to draw a random order from"


class SequentialSampler(Sampler, torch_data.SequentialSampler):
    """Indices 0, 1, 2, ... of a data source, as `torch.utils.data.SequentialSampler`.

    Args:
        data_source: anything with a length; it is asked for at the start of each epoch.

    Example:
        >>> list(SequentialSampler("abc"))
        [0, 1, 2]
    """

    def __init__(self, data_source: Sized) -> None:
        check_sized("data_source", data_source)
        self.data_source = data_source

    def _order(self, generator: torch.Generator) -> Iterator[IndexArray]:
        total = len(self.data_source)
        for start in range(0, total, _SEQUENTIAL_BLOCK):
            yield np.arange(start, min(start + _SEQUENTIAL_BLOCK, total))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler, torch_data.RandomSampler):
    """All indices in random order, or indices drawn with replacement; as PyTorch's class.

    Args:
        data_source: anything with a length of at least 1.
        replacement: draw each index anew, so that one can come twice and another not at all.
        num_samples: how many to draw; the length of `data_source` by default. Without replacement,
            more than that length means further permutations, one after another.
        generator: source of random numbers. Without one, each epoch takes one number from
            PyTorch's global generator and seeds a generator of its own with it.

    Raises:
        TypeError: if `replacement` is no bool.
        ValueError: if there is nothing to draw from, at the latest when an order is drawn; or if
            `num_samples` is no positive integer.

    Example:
        >>> sampler = RandomSampler(range(5), generator=torch.Generator().manual_seed(0))
        >>> list(sampler), list(sampler)
        ([4, 0, 1, 3, 2], [2, 4, 1, 3, 0])
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        check_sized("data_source", data_source)
        check_bool("replacement", replacement, TypeError)
        check_generator(generator)
        if num_samples is not None:
            check_positive_int("num_samples", num_samples)
        elif len(data_source) == 0:
            raise ValueError(_EMPTY)
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator

    @property
    def num_samples(self) -> int:
        """How many indices an epoch has; follows the data source when it was not given."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def _new_generator(self) -> torch.Generator:
        if self.generator is not None:
            return self.generator
        seed = int(torch.empty((), dtype=torch.int64).random_().item())
        return torch.Generator().manual_seed(seed)

    def _order(self, generator: torch.Generator) -> Iterator[IndexArray]:
        n, wanted = len(self.data_source), self.num_samples
        if n == 0:
            raise ValueError(_EMPTY)
        if self.replacement:
            for _ in range(wanted // _REPLACEMENT_BLOCK):
                yield torch.randint(n, (_REPLACEMENT_BLOCK,), generator=generator).numpy()
            yield torch.randint(n, (wanted % _REPLACEMENT_BLOCK,), generator=generator).numpy()
            return
        for _ in range(wanted // n):
            yield torch.randperm(n, generator=generator).numpy()
        # PyTorch draws one more permutation even when it needs nothing of it. On a generator that
        # others draw from too, leaving it out would change everything that comes after.
        if wanted % n or self.generator is not None:
            yield torch.randperm(n, generator=generator)[: wanted % n].numpy()

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler, torch_data.SubsetRandomSampler):
    """The given indices in random order, as `torch.utils.data.SubsetRandomSampler`.

    Args:
        indices: what to shuffle.
        generator: source of random numbers; PyTorch's global one by default.

    Example:
        >>> list(SubsetRandomSampler([10, 20, 30], generator=torch.Generator().manual_seed(0)))
        [30, 10, 20]
    """

    def __init__(self, indices: Sequence[Any], generator: torch.Generator | None = None) -> None:
        check_sized("indices", indices)
        check_generator(generator)
        self.indices = indices
        self.generator = generator

    def _order(self, generator: torch.Generator) -> Iterator[IndexArray]:
        items = as_array(self.indices)
        yield items[torch.randperm(len(items), generator=generator).numpy()]

    def __len__(self) -> int:
        return len(self.indices)


def as_array(indices: Sequence[Any]) -> IndexArray:
    """Indices as integers; keys of any other type as objects, which come out as they went in."""
    try:
        array = np.asarray(indices)
        if array.ndim == 1 and array.dtype.kind in "iu":
            return array
    except ValueError:  # keys of different shapes
        pass
    array = np.empty(len(indices), dtype=object)
    for position, index in enumerate(indices):
        array[position] = index
    return array


class WeightedRandomSampler(Sampler, torch_data.WeightedRandomSampler):
    """Indices drawn with given probabilities, as `torch.utils.data.WeightedRandomSampler`.

    Args:
        weights: one non-negative number per index; they need not sum to 1.
        num_samples: how many to draw in an epoch.
        replacement: whether an index can come more than once.
        generator: source of random numbers; PyTorch's global one by default.

    Raises:
        ValueError: if the weights are not a flat list of finite, non-negative numbers with a
            positive one among them, or too few are positive to draw without replacement.

    Example:
        >>> rare_class_as_often = WeightedRandomSampler([1, 1, 1, 3], num_samples=1000,
        ...     generator=torch.Generator().manual_seed(0))
        >>> 450 < list(rare_class_as_often).count(3) < 550
        True
    """

    def __init__(
        self,
        weights: Sequence[float] | torch.Tensor,
        num_samples: int,
        replacement: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        check_positive_int("num_samples", num_samples)
        check_bool("replacement", replacement)
        check_generator(generator)
        self.weights = torch.as_tensor(weights, dtype=torch.double)
        if self.weights.dim() != 1:
            raise ValueError(
                f"weights must be a flat list, but its shape is {list(self.weights.shape)}"
            )
        if not (torch.isfinite(self.weights) & (self.weights >= 0)).all():
            bad = int(torch.nonzero(~(torch.isfinite(self.weights) & (self.weights >= 0)))[0])
            raise ValueError(
                f"weights must be finite and not negative, but weights[{bad}] is "
                f"{self.weights[bad].item()}"
            )
        positive = int((self.weights > 0).sum())
        if positive == 0 or (not replacement and num_samples > positive):
            raise ValueError(
                f"cannot draw {num_samples} indices {'with' if replacement else 'without'} "
                f"replacement from {positive} positive weights"
            )
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def _order(self, generator: torch.Generator) -> Iterator[IndexArray]:
        yield torch.multinomial(
            self.weights, self.num_samples, self.replacement, generator=generator
        ).numpy()

    def __len__(self) -> int:
        return self.num_samples


class BlockShuffleSampler(Sampler):
    """Contiguous blocks in random order, shuffled inside: what data on disk can afford.

    Each block is one sequential read. The larger the block, the better the mixing and the more
    memory it takes; a block as long as the data is a full shuffle, a block of 1 as well.

    Args:
        data_source: anything with a length.
        block_size: indices in a block.
        generator: source of random numbers; PyTorch's global one by default.

    Raises:
        ValueError: if `block_size` is no positive integer.

    Example:
        >>> list(BlockShuffleSampler(range(6), 3, generator=torch.Generator().manual_seed(0)))
        [0, 2, 1, 3, 5, 4]
    """

    def __init__(
        self, data_source: Sized, block_size: int, *, generator: torch.Generator | None = None
    ) -> None:
        check_sized("data_source", data_source)
        check_positive_int("block_size", block_size)
        check_generator(generator)
        self.data_source = data_source
        self.block_size = block_size
        self.generator = generator

    def _order(self, generator: torch.Generator) -> Iterator[IndexArray]:
        total, size = len(self.data_source), self.block_size
        for block in torch.randperm(-(-total // size), generator=generator).tolist():
            length = min(size, total - block * size)
            yield block * size + torch.randperm(length, generator=generator).numpy()

    def __len__(self) -> int:
        return len(self.data_source)


class InfiniteSampler:
    """Yields None for ever: the tasks of an iterable dataset, which sets its own order."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None
