"""A batch sampler whose batch size can change, between epochs and within one.

    batch size 4, then 8:   [4][4][4] | [8][8]...      the samples and their order stay the same

A loader with workers has drawn some batches ahead when its user decides; those keep their size.
`drawn` says how many there are, and `change(size, from_batch=...)` sets the first batch that has
the new size, which under DDP must be the same one on every rank.
"""

import copy
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Self

import numpy as np

from dlkit.checks import check_bool, check_positive_int
from dlkit.samplers.base import IndexArray, Resumable
from dlkit.samplers.foreign import resumable


class ResizableBatchSampler(Resumable):
    """Consecutive indices of another sampler, in batches of a size that may change.

    Args:
        sampler: any iterable of indices, a `DistributedSampler` for instance.
        batch_size: indices in a batch, at first.
        drop_last: leave out the last batch if it has fewer.

    Raises:
        ValueError: if `batch_size` is no positive integer or `drop_last` no bool.

    Example:
        >>> batches = ResizableBatchSampler(range(10), batch_size=2)
        >>> running = iter(batches)
        >>> next(running), next(running)
        ([0, 1], [2, 3])
        >>> batches.change(4)
        >>> list(running)
        [[4, 5, 6, 7], [8, 9]]
    """

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool = False) -> None:
        check_positive_int("batch_size", batch_size)
        check_bool("drop_last", drop_last)
        self.sampler = sampler
        self.drop_last = drop_last
        self._source = resumable(sampler)
        self._plan = _Plan(batch_size)
        self._taken = 0  # batches of this pass

    @property
    def batch_size(self) -> int:
        """The size of batches that nobody has asked for yet."""
        return self._plan.changes[-1][1]

    @property
    def drawn(self) -> int:
        """Batches of the newest pass that were drawn, by workers ahead of their user too."""
        return self._plan.drawn

    def change(self, batch_size: int, from_batch: int | None = None) -> None:
        """Make batches of another size: in the running pass, and in those that follow.

        Args:
            batch_size: indices in a batch.
            from_batch: the first batch of the running pass that has the new size, counted from 0;
                by default the next one that is drawn.

        Raises:
            ValueError: if `batch_size` is no positive integer, or that batch was drawn already.
        """
        check_positive_int("batch_size", batch_size)
        first = self.drawn if from_batch is None else from_batch
        if not isinstance(first, int) or first < self.drawn:
            raise ValueError(
                f"from_batch must be {self.drawn} or more, for so many batches of this pass are "
                f"drawn, but got {from_batch!r}"
            )
        kept = [(number, size) for number, size in self._plan.changes if number < first]
        self._plan.changes[:] = [*kept, (first, batch_size)]

    def own_pass(self) -> Self:
        """Return a copy that counts for itself; a change of size still reaches it."""
        twin = copy.copy(self)
        twin._source = self._source.own_pass()
        twin._taken = 0
        self._resume = None
        return twin

    def arrays(self) -> Iterator[IndexArray | list[int]]:
        """The batches, from the saved position on."""
        # Here, not at the first batch: whoever asks for the length now means the new pass.
        resume, self._resume = self._resume, None
        if resume is None:
            self._plan.begin()
        self._taken = resume["position"] if resume else 0
        self._plan.drawn = self._taken
        self._plan.finished = False
        return self._draw()

    def _draw(self) -> Iterator[IndexArray | list[int]]:
        indices = iter(self._source)
        while batch := list(islice(indices, self._plan.size_of(self._taken))):
            if self.drop_last and len(batch) < self._plan.size_of(self._taken):
                break
            self._taken += 1
            self._plan.drawn = self._taken
            yield np.array(batch) if all(type(index) is int for index in batch) else batch
        self._plan.finished = True

    def __iter__(self) -> Iterator[list[Any]]:
        for batch in self.arrays():
            yield batch if isinstance(batch, list) else batch.tolist()

    def __len__(self) -> int:
        """Batches of the pass that runs, or else of the next, if the size stays what it is now."""
        total = len(self.sampler)  # type: ignore[arg-type]  # only called where it is known
        if self._plan.finished:
            return _Plan(self.batch_size).batches_of(total, self.drop_last)
        return self._plan.batches_of(total, self.drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Tell the epoch to a sampler that shuffles by it."""
        tell = getattr(self.sampler, "set_epoch", None)
        if tell is not None:
            tell(epoch)

    def state_dict(self, position: int | None = None) -> dict[str, Any]:
        """Return where the batches stand; `position` counts batches, by default those drawn."""
        if self._resume is not None:
            return dict(self._resume) if position is None else self._resume | {"position": position}
        position = self._taken if position is None else position
        return {
            "sampler": "ResizableBatchSampler",
            "drop_last": self.drop_last,
            "position": position,
            "changes": [list(change) for change in self._plan.changes],
            "source": self._source.state_dict(self._plan.samples_before(position)),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration continue where `state` was made, with the sizes it had planned.

        Raises:
            ValueError: if the state belongs to another kind of sampler.
        """
        if (
            state.get("sampler") != "ResizableBatchSampler"
            or state.get("drop_last") != self.drop_last
        ):
            raise ValueError(
                "the state does not fit this ResizableBatchSampler: it was made by "
                f"{state.get('sampler')} with drop_last={state.get('drop_last')}, but this one has "
                f"drop_last={self.drop_last}"
            )
        self._source.load_state_dict(state["source"])
        self._plan.changes[:] = [(number, size) for number, size in state["changes"]]
        self._plan.drawn = state["position"]
        self._resume = dict(state)


class _Plan:
    """Which batch of a pass has which size. All passes over a sampler share it."""

    def __init__(self, batch_size: int) -> None:
        self.changes: list[tuple[int, int]] = [(0, batch_size)]  # (first batch, size), in order
        self.drawn = 0
        self.finished = False

    def begin(self) -> None:
        """Start a pass with the size that the last one ended with."""
        self.changes[:] = [(0, self.changes[-1][1])]
        self.drawn = 0

    def size_of(self, number: int) -> int:
        """Return the size of one batch."""
        return next(size for first, size in reversed(self.changes) if first <= number)

    def samples_before(self, number: int) -> int:
        """Return how many samples full batches before one have together."""
        firsts = [*(first for first, _ in self.changes[1:]), number]
        parts = zip(self.changes, firsts, strict=True)
        return sum(max(0, min(end, number) - first) * size for (first, size), end in parts)

    def batches_of(self, total: int, drop_last: bool) -> int:
        """Return how many batches `total` samples make."""
        last, size = self.changes[-1]
        left = total - self.samples_before(last)
        if left <= 0:  # the samples end before the last change
            number = 0
            while self.samples_before(number + 1) <= total - (0 if drop_last else 1):
                number += 1
            return number if drop_last else number + 1 if total else 0
        return last + (left // size if drop_last else -(-left // size))
