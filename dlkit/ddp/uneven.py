"""Uneven data: ranks with more batches than others, or with smaller ones.

    rank 0   8  8  8  8 |            samples of each step
    rank 1   8  8  8  - |            no batch left: it takes part with weight 0
             16 16 16 8              of all ranks together

DDP averages gradients as if all ranks had as many samples, and waits for ever for a rank that has
none left. `join` cures both: all ranks take the same number of steps, and each loss gets the weight
with which the average over the ranks is the mean over the samples.

PyTorch's own `DistributedDataParallel.join` lets early ranks answer for the missing gradients, but
they do not take the optimizer's steps, so momentum differs between ranks from then on. Here a rank
without a batch computes on one old sample with weight 0, and stays in step with the others.
"""

from collections.abc import Iterable, Iterator, Sized
from typing import Any

import torch
from torch import Tensor, distributed

from dlkit.ddp.context import current
from dlkit.ddp.reductions import gather
from dlkit.structure import map_structure

_END = object()


def join(loader: Iterable[Any]) -> Iterator[tuple[Any, float]]:
    """Yield a rank's batches, each with the weight of its loss, until no rank has one left.

    Every rank gets the same number of steps. One that has no batch any more gets a single sample
    that it had before, with weight 0. Without a process group every weight is 1.

    Args:
        loader: gives this rank's batches: tensors, or tuples, lists and dicts of them.

    Yields:
        The batch, and the factor for the *mean* loss over it: ranks * samples of this batch /
        samples of all ranks' batches.

    Example:
        >>> for batch, weight in join([torch.zeros(8, 3), torch.zeros(5, 3)]):
        ...     print(len(batch), weight)
        8 1.0
        5 1.0
    """
    step = Lockstep()
    iterator = iter(loader)
    while True:
        batch = next(iterator, _END)
        batches = [] if batch is _END else [batch]
        if not step.agree_on(batches):
            return
        samples = sum(map(count_samples, batches))
        yield batches[0] if batches else step.stand_in(), step.weight(samples)


class Lockstep:
    """Keeps ranks in the same step: what one needs to know of the others before each.

    Attributes:
        everybody: samples of all ranks in the step.
        interrupted: whether a rank wants to stop.
    """

    def __init__(self) -> None:
        self._sample: Any = _END  # a batch of one, in place of one that is missing
        self.everybody = 0
        self.interrupted = False

    def agree(self, samples: int, *, interrupted: bool = False) -> int:
        """Exchange how many samples each rank has for the step.

        Args:
            samples: of this rank; 0 if it has no batch left.
            interrupted: whether this rank wants to stop; `interrupted` then says so on all.

        Returns:
            The samples of all ranks; 0 at the end of the data.
        """
        context = current()
        if not context.is_distributed:
            self.everybody, self.interrupted = samples, interrupted
            return samples
        lacking = samples == 0 and self._sample is _END
        said = torch.tensor([samples, int(lacking), int(interrupted)], dtype=torch.int64)
        if distributed.get_backend() == "nccl":
            said = said.to(context.device)
        distributed.all_reduce(said)
        self.everybody, lack, stops = map(int, said.tolist())
        self.interrupted = stops > 0
        if lack and self.everybody:
            self._pass_a_sample_on(samples)
        return self.everybody

    def agree_on(self, batches: list[Any], *, interrupted: bool = False) -> int:
        """Exchange how many samples each rank has in several batches, which make one step."""
        if batches:
            self.keep_sample(batches[0])
        return self.agree(sum(map(count_samples, batches)), interrupted=interrupted)

    def weight(self, samples: int) -> float:
        """Return the factor for a mean loss over `samples` in this step."""
        return current().world_size * samples / self.everybody

    def keep_sample(self, batch: Any) -> None:
        """Keep a copy of a batch's first sample, unless there is one already."""
        # A copy: a batch may lie in a slot of shared memory that is wanted for the next one.
        if self._sample is _END and current().is_distributed:
            self._sample = map_structure(
                lambda part: part[:1].clone() if isinstance(part, Tensor) and part.ndim else part,
                batch,
            )

    def stand_in(self) -> Any:
        """Return a batch of one sample, for a rank that has none left."""
        return self._sample

    def _pass_a_sample_on(self, samples: int) -> None:
        """Give a sample to ranks that have never had one."""
        source = gather(samples > 0 and self._sample is not _END).index(True)
        box = [self._sample if current().rank == source else None]
        distributed.broadcast_object_list(box, src=source)
        if self._sample is _END:
            self._sample = box[0]


def count_samples(batch: Any) -> int:
    """Return the samples in a batch: the length of the first tensor in it, else its own.

    Raises:
        TypeError: if it has neither.

    Example:
        >>> count_samples({"image": torch.zeros(4, 2), "name": "a"})
        4
    """
    lengths: list[int] = []

    def note(part: Any) -> Any:
        if isinstance(part, Tensor) and part.ndim:
            lengths.append(len(part))
        return part

    map_structure(note, batch)
    if lengths:
        return lengths[0]
    if isinstance(batch, Sized) and not isinstance(batch, str | bytes):
        return len(batch)
    raise TypeError(
        f"a batch must hold a tensor to count its samples by, but got a {type(batch).__name__}"
    )
