"""What all samplers that deal an order out to ranks share: the epoch, and a state for any world.

The state of a pass is its epoch and its legs: how many ranks took how many turns. To go on, the
order of that epoch is drawn again, what the legs have taken is passed over, and the rest is dealt
to the ranks that there are now:

    legs [(3 ranks, 2 turns)]      0 1 2 0 1 2 | . . . .      saved
    the same, on 2 ranks           . . . . . . | 0 1 0 1      nothing lost, nothing twice

The state is the same on every rank, so the checkpoint that rank 0 writes serves all of them. No
rank gets more items than rank 0, so when that has finished its epoch, all have.
"""

import copy
import operator
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from dlkit.samplers.base import IndexArray, ResumableOrder, Sampler

Item = TypeVar("Item", covariant=True)
Ranks = int | list[int]  # how many there are, or how many on each node
Leg = tuple[Ranks, int]  # so many ranks took so many turns


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over an epoch: its number, and what was taken of it before this pass began."""

    epoch: int
    legs: tuple[Leg, ...] = ()

    @property
    def turns(self) -> int:
        """How many items each rank has taken."""
        return sum(turns for _, turns in self.legs)

    @property
    def items(self) -> int:
        """How many items all ranks have taken together, padding among them."""
        return sum(ranks * turns for ranks, turns in self.legs if isinstance(ranks, int))

    def and_then(self, ranks: Ranks, turns: int) -> "Pass":
        """Return the pass after `turns` more, which go to the last leg if that had the same ranks.

        A sampler may deal out the rest of an order otherwise than it would have dealt the whole.
        """
        if turns <= 0:
            return self
        if self.legs and self.legs[-1][0] == ranks:
            return Pass(self.epoch, (*self.legs[:-1], (ranks, self.legs[-1][1] + turns)))
        return Pass(self.epoch, (*self.legs, (ranks, turns)))


class ElasticOrder(ResumableOrder[Item]):
    """An order that is dealt to ranks. A subclass says what a rank gets of a given `Pass`."""

    num_replicas: int
    rank: int
    epoch: int = 0
    epoch_calls: int = 0  # how often somebody has set the epoch, also to the same number
    _running: Pass | None = None
    _is_twin: bool = False  # whether this is a loader's copy, for one pass

    @property
    @abstractmethod
    def repeats(self) -> bool:
        """Whether two passes of the same epoch are surprising, since epochs ought to differ."""

    def _ranks(self) -> Ranks:
        return self.num_replicas

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; each has an order of its own.

        dlkit's loader does it by itself: a pass has the number after the last one's, unless this
        was called in between.

        Args:
            epoch: its number; the same on all ranks.

        Raises:
            TypeError: if `epoch` is no integer.
        """
        try:
            self.epoch = operator.index(epoch)
        except TypeError:
            raise TypeError(f"epoch must be an integer, but got {epoch!r}") from None
        self.epoch_calls += 1

    def own_pass(self) -> Self:
        """Return a copy for one pass of a loader; see `Resumable.own_pass`."""
        twin = copy.copy(self)
        twin._is_twin, twin._running, twin._position = True, None, 0
        self._resume = None
        return twin

    def _begin_pass(self) -> Pass:
        resume, self._resume = self._resume, None
        before = self._running
        if resume is not None:
            self.epoch = resume["epoch"]
            self._running = _saved_pass(resume)
        else:
            self._running = Pass(self.epoch)
            # A loader's copy is not asked: the loader counts its passes itself.
            if self.repeats and not self._is_twin and before and before.epoch == self.epoch:
                warn_of_repeat(self, self.epoch, stacklevel=4)
        self._position = self._running.turns
        return self._running

    def state_dict(self, position: int | None = None) -> dict[str, Any]:
        """Return where the order stands, as numbers; the same on every rank.

        Args:
            position: how many items each rank has taken in this epoch. By default those that this
                one has drawn.
        """
        if self._resume is not None:  # loaded, and nothing was drawn since
            begun = _saved_pass(self._resume)
            taken = begun.turns
        else:
            begun = self._running or Pass(self.epoch)
            taken = self._position
        wanted = taken if position is None else position
        now = begun.and_then(self._ranks(), wanted - begun.turns)
        return {**self._identity(), "epoch": now.epoch, "legs": [list(leg) for leg in now.legs]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass continue where `state` was made, by any number of ranks.

        Raises:
            ValueError: if the state belongs to another order: another kind of sampler, length or
                seed.
        """
        expected = self._identity()
        found = {key: state.get(key) for key in expected}
        if found != expected or "legs" not in state:
            raise ValueError(
                f"the state does not fit this sampler: it was made by {found}, but this is "
                f"{expected}"
            )
        self._resume = dict(state)

    @property
    def deals_anew(self) -> bool:
        """Whether a loaded state was made by another number of ranks than there are now."""
        legs = self._resume["legs"] if self._resume else []
        return any(ranks != self._ranks() for ranks, _ in legs)


class ElasticIndices(ElasticOrder[int], Sampler):
    """An `ElasticOrder` of single indices. A subclass writes `_share`."""

    @abstractmethod
    def _share(self, running: Pass) -> Iterator[IndexArray]:
        """Yield what this rank gets of the rest of an epoch, as arrays of any length."""

    def _blocks(self) -> Iterator[IndexArray]:
        return self._share(self._begin_pass())

    def __iter__(self) -> Iterator[int]:
        # Not a generator: the pass has the epoch that is set now, as PyTorch's has.
        return self._items(self._blocks())

    def _items(self, blocks: Iterator[IndexArray]) -> Iterator[int]:
        for block in blocks:
            for index in block.tolist():
                self._position += 1
                yield index

    def _order(self, generator: Any) -> Iterator[IndexArray]:
        raise NotImplementedError("an elastic order is drawn by _share")


class RepeatedOrderWarning(UserWarning):
    """Two passes of a shuffled order have the same epoch, and so the same order."""


def warn_of_repeat(sampler: Any, epoch: int, stacklevel: int) -> None:
    """Warn that a pass has the order of the pass before it."""
    warnings.warn(
        f"{type(sampler).__name__} begins epoch {epoch} again, with the same order as before; call "
        "set_epoch(epoch) before each pass, or iterate over a dlkit.DataLoader, which moves on by "
        "itself",
        RepeatedOrderWarning,
        stacklevel=stacklevel + 1,
    )


def _saved_pass(state: dict[str, Any]) -> Pass:
    return Pass(state["epoch"], tuple((ranks, turns) for ranks, turns in state["legs"]))
