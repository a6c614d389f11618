"""Output once, not once for each rank."""

from collections.abc import Iterable
from typing import Any, TypeVar

from dlkit.ddp.context import current

Item = TypeVar("Item")


def print_once(*values: Any, **options: Any) -> None:
    """Print on rank 0 alone, at once.

    Args:
        values: as for `print`.
        options: as for `print`.

    Example:
        >>> print_once("epoch", 1)
        epoch 1
    """
    if current().is_first:
        print(*values, **{"flush": True, **options})


def progress(items: Iterable[Item], **options: Any) -> Iterable[Item]:
    """Show a progress bar over items on rank 0; the other ranks walk them silently.

    Args:
        items: what to walk over.
        options: for `tqdm.auto.tqdm`, which is left out where tqdm is not installed.

    Example:
        >>> list(progress(range(3), disable=True))
        [0, 1, 2]
    """
    if not current().is_first:
        return items
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return items
    bar: Iterable[Item] = tqdm(items, **options)
    return bar
