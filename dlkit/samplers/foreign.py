"""Samplers that were not written for dlkit: PyTorch's are exchanged, others are replayed.

PyTorch's own classes have an equal here, which draws the same order, faster, and can be saved.
Any other iterable of indices is left as it is; its state is where the random numbers stood when its
epoch began, and it is continued by drawing the epoch again from there.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils import data as torch_data

from dlkit.randomness import get_rng_state, set_rng_state
from dlkit.samplers import orders
from dlkit.samplers.base import Resumable
from dlkit.samplers.distributed import Exchanged


def resumable(sampler: Any) -> Any:
    """Return a sampler of the same order that has `state_dict(position)` and `load_state_dict`.

    Example:
        >>> type(resumable(torch_data.SequentialSampler(range(3)))).__module__
        'dlkit.samplers.orders'
        >>> list(resumable([3, 1, 2]))
        [3, 1, 2]
    """
    kind = type(sampler)
    if kind is torch_data.SequentialSampler:
        return orders.SequentialSampler(sampler.data_source)
    if kind is torch_data.RandomSampler:
        return orders.RandomSampler(
            sampler.data_source, sampler.replacement, sampler._num_samples, sampler.generator
        )
    if kind is torch_data.SubsetRandomSampler:
        return orders.SubsetRandomSampler(sampler.indices, sampler.generator)
    if kind is torch_data.WeightedRandomSampler:
        return orders.WeightedRandomSampler(
            sampler.weights, sampler.num_samples, sampler.replacement, sampler.generator
        )
    if kind is torch_data.DistributedSampler:
        return Exchanged(sampler)
    if isinstance(sampler, Resumable) and not _overrides_iter(kind):
        return sampler
    return Replayed(sampler)


def _overrides_iter(kind: type) -> bool:
    """Whether somebody's subclass of our sampler yields something else than we would draw."""
    return not kind.__iter__.__module__.startswith("dlkit.samplers.")  # type: ignore[attr-defined]


class Replayed(Resumable):
    """Gives a state to a sampler that has none, or whose own state runs ahead of the loader.

    Args:
        sampler: any iterable of indices or of batches of indices.

    Example:
        >>> letters = Replayed("abcde")
        >>> first = iter(letters)
        >>> next(first), next(first)
        ('a', 'b')
        >>> continued = Replayed("abcde")
        >>> continued.load_state_dict(letters.state_dict())
        >>> list(continued)
        ['c', 'd', 'e']
    """

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler
        self._starts: list[dict[str, Any] | None] | None = None  # at iter(), at the first item
        self._position = 0

    def __iter__(self) -> Iterator[Any]:
        # Some samplers draw their order when iter() is called, others at the first next(), and
        # PyTorch draws the workers' seed between the two. Both moments are kept, both are replayed.
        resume, self._resume = self._resume, None
        if resume is None or resume["starts"] is None:
            at_iter = _snapshot(self.sampler)
            self._starts, self._position = [at_iter, None], 0
            return self._run(at_iter, iter(self.sampler))
        outside = get_rng_state()
        at_iter, at_first = resume["starts"]
        _restore(self.sampler, at_iter)
        items = iter(self.sampler)
        if at_first is None:  # it was saved before its first item was asked for
            self._starts, self._position = [at_iter, None], 0
            if resume["generator_now"] is not None:
                self.sampler.generator.set_state(resume["generator_now"])
            set_rng_state(outside)
            return self._run(at_iter, items)
        _restore(self.sampler, {**at_first, "own": None})
        position = sum(1 for _ in islice(items, resume["position"]))
        if resume["generator_now"] is not None:  # others may have drawn from it in between
            self.sampler.generator.set_state(resume["generator_now"])
        set_rng_state(outside)
        self._starts, self._position = resume["starts"], position
        return self._continue(resume["starts"], items, position)

    def _run(self, at_iter: dict[str, Any], items: Iterator[Any]) -> Iterator[Any]:
        yield from self._continue([at_iter, _snapshot(self.sampler)], items, 0)

    def _continue(
        self, starts: list[dict[str, Any] | None], items: Iterator[Any], position: int
    ) -> Iterator[Any]:
        self._starts, self._position = starts, position
        for item in items:
            self._position += 1
            yield item

    def __len__(self) -> int:
        return len(self.sampler)

    def state_dict(self, position: int | None = None) -> dict[str, Any]:
        """Return where the order stands; `position` counts items, by default those drawn."""
        if self._resume is not None:  # loaded, and nothing was drawn since
            return dict(self._resume) if position is None else self._resume | {"position": position}
        level = position is None or position >= self._position
        return {
            "sampler": _name(self.sampler),
            "starts": self._starts,
            "position": self._position if position is None else position,
            "generator_now": _generator_state(self.sampler) if level else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration continue where `state` was made.

        Raises:
            ValueError: if the state was made by another kind of sampler.
        """
        name = _name(self.sampler)
        if state.get("sampler") != name or "starts" not in state:
            raise ValueError(
                f"the state does not fit this sampler: it was made by {state.get('sampler')}, but "
                f"this is {name}"
            )
        self._resume = dict(state)


def _name(sampler: Any) -> str:
    """What a state must have been made by; a share of an unknown kind fits its own world only."""
    ranks = getattr(sampler, "num_replicas", None)
    return type(sampler).__name__ + ("" if ranks is None else f" for {ranks} ranks")


def _snapshot(sampler: Any) -> dict[str, Any]:
    """Everything that an unknown sampler may draw its order from."""
    return {
        "global": get_rng_state(),
        "generator": _generator_state(sampler),
        "own": sampler.state_dict() if hasattr(sampler, "state_dict") else None,
    }


def _generator_state(sampler: Any) -> Tensor | None:
    generator = getattr(sampler, "generator", None)
    return generator.get_state() if isinstance(generator, torch.Generator) else None


def _restore(sampler: Any, start: dict[str, Any]) -> None:
    set_rng_state(start["global"])
    if start["generator"] is not None:
        sampler.generator.set_state(start["generator"])
    if start["own"] is not None:
        sampler.load_state_dict(start["own"])
