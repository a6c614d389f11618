"""Iterable datasets over several passes: where one stands, and how to come back there.

A stream has no order that could be drawn again. It can say where it stands itself (`state_dict`),
or what comes before has to be read once more; and how it is dealt out depends on the number of
workers.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dlkit.epoch import Epoch
from dlkit.samplers.readers import ShardedIterable, warn_of_reading_again
from dlkit.workers import Position

if TYPE_CHECKING:
    from dlkit.loader import DataLoader


def start_positions(dataset: Any, size: int) -> list[Position]:
    """Return where the workers of a pass begin that is not continued."""
    if isinstance(dataset, ShardedIterable):
        return [Position(dataset.start_state(worker, size)) for worker in range(size)]
    return [Position()] * size


def tell_reading_again(dataset: Any, places: Sequence[Position]) -> None:
    """Warn of what continuing a stream without a state costs its readers."""
    batches = sum(place.skip for place in places)
    if batches:
        warn_of_reading_again(dataset, f"{batches} batches", stacklevel=7)
    states = [place.state for place in places if place.state is not None]
    if isinstance(dataset, ShardedIterable):  # it has a state, and its own dataset may have none
        samples = sum(map(dataset.samples_before, states))
        if samples:
            warn_of_reading_again(dataset.dataset, f"{samples} samples", stacklevel=7)


def tell_size(loader: "DataLoader[Any]", size: int) -> None:
    """Warn that a pass goes on among as many workers as it was dealt out to at its beginning."""
    if size != loader.num_workers:
        warnings.warn(
            f"this pass over {type(loader.dataset).__name__} was begun with num_workers={size} and "
            f"is continued with as many; the next one has num_workers={loader.num_workers}",
            stacklevel=6,
        )


def length_watcher(loader: "DataLoader[Any]", epoch: Epoch) -> Callable[[Any], Any]:
    """Return a function that passes batches on, and warns beyond a promised `len(loader)`."""
    promised = loader.told_length

    def watch(batch: Any) -> Any:
        if promised is not None and epoch.delivered >= promised:
            hint = "; with workers, each must read its own share: see get_worker_info"
            warnings.warn(
                f"the length of {type(loader.dataset).__name__} promised {promised} batches, but "
                f"this is number {epoch.delivered + 1}{hint if loader.num_workers else ''}",
                stacklevel=3,
            )
        return batch

    return watch
