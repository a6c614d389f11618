"""Where a run stands in its data and in its random numbers.

A loader with `state_dict()` (dlkit's, or torchdata's) can go on after any batch. PyTorch's own
cannot: of it only the generators are kept, which is enough between two epochs.
"""

from dataclasses import dataclass
from typing import Any

import torch

from dlkit.trainer.checkpoint import CheckpointError, rng_state

_GENERATORS = ("generator", "sampler.generator", "batch_sampler.sampler.generator")


@dataclass(frozen=True)
class Position:
    """A point between two batches: state of the loader, and of the global random generators."""

    loader: dict[str, Any]
    rng: dict[str, Any]


def is_stateful(loader: Any) -> bool:
    """Say whether a loader can note its place in the middle of an epoch."""
    return hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")


def take_position(loader: Any, *, mid_epoch: bool) -> Position | None:
    """Note where a run stands; `None` in the middle of an epoch of a loader without state.

    Example:
        >>> take_position([1, 2], mid_epoch=True) is None
        True
    """
    if is_stateful(loader):
        return Position({"state": loader.state_dict()}, rng_state())
    if mid_epoch:
        return None
    states = {path: generator.get_state() for path, generator in _generators(loader).items()}
    return Position({"generators": states}, rng_state())


def restore_loader(loader: Any, position: Position, *, mid_epoch: bool, source: str) -> None:
    """Put a loader where `take_position` found one like it.

    Args:
        loader: The loader training will go on with.
        position: What was noted.
        mid_epoch: Whether that was in the middle of an epoch.
        source: How an error names where the position comes from.

    Raises:
        CheckpointError: If this loader cannot go on from there.
    """
    anew = "or start the epoch anew, with any loader, by trainer.restart_epoch()"
    kind = f"{type(loader).__module__}.{type(loader).__qualname__}"
    if "state" in position.loader and is_stateful(loader):
        try:
            loader.load_state_dict(position.loader["state"])
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"{source} belongs to another loader: {error}. Pass a loader made like the one it "
                f"was saved with, {anew}"
            ) from error
    elif mid_epoch:
        raise CheckpointError(
            f"{source} was made in the middle of an epoch, and {kind} cannot go on there because "
            "it has no state_dict(): pass a dlkit.DataLoader like the one it was saved with, "
            f"{anew}"
        )
    elif "generators" in position.loader:
        own = _generators(loader)
        for path, state in position.loader["generators"].items():
            if path in own:
                own[path].set_state(state)


def _generators(loader: Any) -> dict[str, torch.Generator]:
    found: dict[str, torch.Generator] = {}
    for path in _GENERATORS:
        value = loader
        for name in path.split("."):
            value = getattr(value, name, None)
        if isinstance(value, torch.Generator):
            found[path] = value
    return found
