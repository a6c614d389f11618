"""Batches of consecutive indices of another sampler."""

import copy
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Self

import torch

from dlkit.checks import check_bool, check_positive_int
from dlkit.samplers.base import IndexArray, Resumable, Sampler
from dlkit.samplers.elastic import ElasticOrder
from dlkit.samplers.foreign import resumable


class BatchSampler(torch.utils.data.BatchSampler, Resumable):
    """Consecutive indices of another sampler as lists, as `torch.utils.data.BatchSampler`.

    Args:
        sampler: any iterable of indices.
        batch_size: indices in a batch.
        drop_last: leave out the last batch if it has fewer.

    Raises:
        ValueError: if `batch_size` is no positive integer or `drop_last` no bool.

    Example:
        >>> list(BatchSampler(range(7), batch_size=3, drop_last=False))
        [[0, 1, 2], [3, 4, 5], [6]]
        >>> list(BatchSampler(range(7), batch_size=3, drop_last=True))
        [[0, 1, 2], [3, 4, 5]]
    """

    deals_anew = False  # whether a loaded state cut its batches otherwise than this would

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool) -> None:
        check_positive_int("batch_size", batch_size)
        check_bool("drop_last", drop_last)
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last
        self._source_of: Any = None
        self._origin = (0, 0)  # batches and samples before a state of another batch size

    @property
    def _source(self) -> Any:
        """The sampler in a form that can be saved; made anew when `sampler` is exchanged."""
        if self._source_of is not self.sampler:
            self._source_of, self._saved_source = self.sampler, resumable(self.sampler)
        return self._saved_source

    def own_pass(self) -> Self:
        """Return a copy whose sampler counts for itself too."""
        twin = copy.copy(self)
        twin._source_of, twin._saved_source = self.sampler, self._source.own_pass()
        self._origin = (0, 0)
        return twin

    def arrays(self) -> Iterator[IndexArray | list[int]]:
        """The batches as arrays where the sampler has them, else as lists."""
        if isinstance(self._source, Sampler):
            return self._source.arrays(self.batch_size, self.drop_last)
        return self._lists()

    def _lists(self) -> Iterator[list[int]]:
        indices = iter(self._source)
        while batch := list(islice(indices, self.batch_size)):
            if self.drop_last and len(batch) < self.batch_size:
                return
            yield batch

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.arrays():
            yield batch if isinstance(batch, list) else batch.tolist()

    def __len__(self) -> int:
        total = len(self.sampler)  # type: ignore[arg-type]  # only called where it is known
        return total // self.batch_size if self.drop_last else -(-total // self.batch_size)

    def state_dict(self, position: int | None = None) -> dict[str, Any]:
        """Return where the batches stand; `position` counts batches, by default those drawn."""
        batches, samples = self._origin
        taken = None if position is None else samples + (position - batches) * self.batch_size
        return {
            "sampler": "BatchSampler",
            "batch_size": self.batch_size,
            "drop_last": self.drop_last,
            "batches": position,
            "source": self._source.state_dict(taken),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration continue where `state` was made.

        Raises:
            ValueError: if the state has another batch size or belongs to another sampler. What is
                dealt to ranks may go on with another batch size, as it may with other ranks.
        """
        ours = {"batch_size": self.batch_size, "drop_last": self.drop_last}
        elastic = isinstance(self._source, ElasticOrder)
        if elastic:
            del ours["batch_size"]
        theirs = {key: state.get(key) for key in ours}
        if state.get("sampler") != "BatchSampler" or ours != theirs:
            raise ValueError(
                f"the state does not fit this BatchSampler: it was made by {state.get('sampler')} "
                f"with {theirs}, but this one has {ours}"
            )
        self._source.load_state_dict(state["source"])
        if elastic:
            samples = sum(turns for _, turns in state["source"]["legs"])
            batches = -(-samples // state["batch_size"])
            self._origin = (state.get("batches") or batches, samples)
            self.deals_anew = self._source.deals_anew or state["batch_size"] != self.batch_size


def resumable_batches(batch_sampler: Any) -> Any:
    """Return a batch sampler of the same batches that can be saved; see `resumable`.

    Example:
        >>> theirs = torch.utils.data.BatchSampler(range(5), 2, drop_last=True)
        >>> list(resumable_batches(theirs).arrays())
        [[0, 1], [2, 3]]
    """
    if type(batch_sampler) is torch.utils.data.BatchSampler:
        return BatchSampler(
            batch_sampler.sampler, batch_sampler.batch_size, batch_sampler.drop_last
        )
    return resumable(batch_sampler)
