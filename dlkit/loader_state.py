"""Where a loader stands, as numbers and tensors: what it saves, and what it accepts.

loader.state_dict() --> loader_state --> {...} --> check_state --> loader.load_state_dict(...)
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from dlkit.epoch import Epoch
from dlkit.samplers import ShardedIterable
from dlkit.samplers.epochs import EpochCounter, with_epoch

if TYPE_CHECKING:
    from dlkit.loader import DataLoader


def loader_state(
    loader: "DataLoader[Any]", epochs: EpochCounter, epoch: Epoch | None
) -> dict[str, Any]:
    """Return the state of a loader whose newest pass is `epoch`."""
    under_way = epoch is not None and not epoch.finished
    return {
        **_identity(loader),
        "generators": [generator.get_state() for generator in generators_of(loader)],
        "sampler_epoch": epochs.state_dict(loader),
        "epoch": epoch.state_dict() if epoch is not None and under_way else None,
    }


def check_state(loader: "DataLoader[Any]", state: Any) -> None:
    """Raise unless a loader can go on from a state.

    Raises:
        ValueError: if the state was made over another dataset, order or batch size.
    """
    if not isinstance(state, Mapping) or "epoch" not in state:
        raise ValueError(
            f"state must be a dictionary made by DataLoader.state_dict(), but got {state!r:.80}"
        )
    for key, ours in _identity(loader).items():
        dealt = with_epoch(loader) is not None or isinstance(loader.dataset, ShardedIterable)
        if key == "batch_size" and ours and state.get(key) and dealt:
            continue  # ranks that are fewer or more may have larger or smaller batches
        if state.get(key) != ours:
            raise ValueError(
                f"the state does not fit this DataLoader: it was made with {key} "
                f"{state.get(key)!r}, but this one has {ours!r}"
            )
    epoch = state["epoch"]
    if epoch is not None and epoch["order"] is not None:
        order = loader.new_order()
        order.load_state_dict(epoch["order"])
        if epoch["early"] and getattr(order, "deals_anew", False):
            raise ValueError(
                f"the state does not fit this DataLoader: batches {epoch['early']} were "
                "delivered before their turn (in_order=False), so it can only be continued by "
                "as many ranks with batches as large"
            )
    generators = generators_of(loader)
    if len(generators) != len(state["generators"]):
        raise ValueError(
            f"the state does not fit this DataLoader: it was made with "
            f"{len(state['generators'])} generators, but this one has {len(generators)}"
        )


def restore_generators(loader: "DataLoader[Any]", state: Mapping[str, Any]) -> None:
    """Put the generators of a loader back to where they were when a state was made."""
    for generator, saved in zip(generators_of(loader), state["generators"], strict=True):
        generator.set_state(saved)


def generators_of(loader: Any) -> list[torch.Generator]:
    """Return the generators that further passes will draw from: a loader's and its samplers'."""
    inner = getattr(loader.batch_sampler, "sampler", None)
    owners = [loader, loader.sampler, loader.batch_sampler, inner]
    found = [getattr(owner, "generator", None) for owner in owners]
    return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())


def _identity(loader: "DataLoader[Any]") -> dict[str, Any]:
    """What a saved state and this loader must have in common."""
    sized = not loader.is_iterable and hasattr(loader.dataset, "__len__")
    return {
        "dataset": type(loader.dataset).__name__,
        "length": len(loader.dataset) if sized else None,
        "batch_size": loader.batch_size,
        "drop_last": loader.drop_last,
    }
