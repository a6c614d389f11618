"""Iterable datasets over several passes: where one stands, and how to come back there.

A stream has no order that could be drawn again. It can say where it stands itself (`state_dict`),
or what comes before has to be read once more; and how it is dealt out depends on the number of
workers.
"""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dlkit.epoch import Epoch
from dlkit.fetch import Fetched

if TYPE_CHECKING:
    from dlkit.loader import DataLoader


def with_state(fetch: Callable[[Any], Any], dataset: Any) -> Callable[[Any], Any]:
    """Let each batch carry the dataset's state, which will have moved on when it is delivered."""

    def run(task: Any) -> Any:
        batch = fetch(task)
        fetched = batch if isinstance(batch, Fetched) else Fetched(batch)
        return fetched._replace(state=dataset.state_dict())

    return run


def tell_reading_again(dataset: Any, count: int) -> None:
    """Warn of what continuing a stream without a state costs."""
    warnings.warn(
        f"{type(dataset).__name__} has no state_dict and load_state_dict, so {count} batches "
        "are read again and thrown away to continue after them",
        stacklevel=6,
    )


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
