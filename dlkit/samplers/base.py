"""An order that can be saved in its middle and continued.

The state of a running order is two things: the random number generator's state when the order was
drawn, and how many items were taken since. To continue, the order is drawn again from the same
random numbers and the items that were taken are passed over, which for an array is a slice.
"""

import copy
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils import data as torch_data

IndexArray = npt.NDArray[Any]
Item = TypeVar("Item", covariant=True)


class Resumable:
    """Marks what has `state_dict(position)` and `load_state_dict`, so that a loader can save it."""

    _resume: dict[str, Any] | None = None  # a loaded state that the next epoch starts from

    @abstractmethod
    def state_dict(self, position: int | None = None) -> dict[str, Any]:
        """Return where the order stands when `position` items count as taken."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration continue where `state` was made."""

    def own_pass(self) -> Self:
        """Return a shallow copy that counts for itself, over the same data and generator.

        Two passes over one sampler may run at the same time; the one that begins last must neither
        move the other's position nor take the state that was loaded for it.
        """
        twin = copy.copy(self)
        self._resume = None  # the copy continues from it
        return twin


class ResumableOrder(torch_data.Sampler[Item], Resumable):
    """The part that every sampler shares: where an epoch starts, and what its state is.

    `generator` is where random numbers come from; None means PyTorch's global generator.
    """

    generator: torch.Generator | None = None
    _drawn_from: Tensor | None = None  # the generator's state when the running epoch was drawn
    _position: int = 0  # items taken since
    _exhausted: bool = False  # whether it was asked for more than there is, and drew its last
    _rejoin_at: Tensor | None = None  # where a saved run had left a generator of its own

    def _begin(self) -> tuple[torch.Generator, int]:
        """Start an epoch: say which generator it draws from and how many items to pass over."""
        resume, self._resume = self._resume, None
        self._exhausted, self._rejoin_at = False, None
        if resume is None or resume["rng_state"] is None:
            generator, position = self._new_generator(), 0
        else:
            self._exhausted, self._rejoin_at = resume["exhausted"], resume["rng_now"]
            # Without a generator of its own the sampler drew from the global one, which has moved
            # on since and must not be turned back: a private generator repeats that draw.
            generator, position = self.generator or torch.Generator(), resume["position"]
            generator.set_state(resume["rng_state"])
        self._drawn_from = generator.get_state()
        self._position = position
        return generator, position

    def _new_generator(self) -> torch.Generator:
        return self.generator or torch.default_generator

    def _rejoin(self) -> None:
        """After drawing again what was taken: put the generator where the saved run had left it.

        Somebody else may have drawn from it in between, a dataset that adds noise for instance.
        """
        if self.generator is not None and self._rejoin_at is not None:
            self.generator.set_state(self._rejoin_at)

    def _identity(self) -> dict[str, Any]:
        """What must be equal for a saved state to fit: the kind of order and its length."""
        length = len(self) if hasattr(self, "__len__") else None
        return {"sampler": type(self).__name__, "length": length}

    def state_dict(self, position: int | None = None) -> dict[str, Any]:
        """Return where the order stands, as a dictionary of tensors and numbers.

        Args:
            position: how many items count as taken. By default those that were drawn; a loader
                that draws ahead of its user passes the number the user has received.
        """
        if self._resume is not None:  # loaded, and nothing was drawn since
            return dict(self._resume) if position is None else self._resume | {"position": position}
        # A loader that has drawn ahead must draw the same again, from where the generator was then.
        level = position is None or position >= self._position
        return {
            **self._identity(),
            "rng_state": self._drawn_from,
            "position": self._position if position is None else position,
            "exhausted": level and self._exhausted,
            "rng_now": self.generator.get_state() if level and self.generator else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration continue where `state` was made.

        Raises:
            ValueError: if the state belongs to another kind of sampler or another length.
        """
        expected = self._identity()
        found = {key: state.get(key) for key in expected}
        if found != expected or "rng_state" not in state or "position" not in state:
            raise ValueError(
                f"the state does not fit this sampler: it was made by {found['sampler']} of length "
                f"{found['length']}, but this is {expected['sampler']} of length "
                f"{expected['length']}"
            )
        self._resume = dict(state)


class Sampler(ResumableOrder[int]):
    """An order of single indices. A subclass writes `_order`; the rest follows from it."""

    @abstractmethod
    def _order(self, generator: torch.Generator) -> Iterator[IndexArray]:
        """Yield the indices of one epoch as arrays of any length, drawing from `generator`."""

    def _blocks(self) -> Iterator[IndexArray]:
        """The arrays of one epoch from the saved position on."""
        generator, skip = self._begin()
        order = self._order(generator)
        held = None
        while skip and (block := next(order, None)) is not None:
            held = block[skip:]
            skip -= min(skip, len(block))
        if self._exhausted:
            for _ in order:  # it had drawn its last random numbers already
                pass
        self._rejoin()
        if held is not None and len(held):
            yield held
        yield from order
        self._exhausted = True

    def __iter__(self) -> Iterator[int]:
        for block in self._blocks():
            for index in block.tolist():
                self._position += 1
                yield index

    def arrays(self, size: int, drop_last: bool = False) -> Iterator[IndexArray]:
        """Cut the order into arrays of `size` indices, without a loop over single ones.

        Args:
            size: indices in each array.
            drop_last: leave out the last array if it is shorter.

        Example:
            >>> from dlkit.samplers import SequentialSampler
            >>> list(SequentialSampler(range(5)).arrays(2))
            [array([0, 1]), array([2, 3]), array([4])]
        """
        held: list[IndexArray] = []  # indices of blocks that did not fill an array yet
        count = 0
        for block in self._blocks():
            held.append(block)
            count += len(block)
            if count < size:
                continue
            indices = held[0] if len(held) == 1 else np.concatenate(held)
            whole = count - count % size
            for start in range(0, whole, size):
                self._position += size
                yield indices[start : start + size]
            held, count = [indices[whole:]], count - whole
        if count and not drop_last:
            self._position += count
            yield np.concatenate(held)
