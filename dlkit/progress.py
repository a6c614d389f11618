"""A progress bar, tqdm's, for work that takes long; nothing where tqdm is not installed."""

from typing import Any


class NoBar:
    """Stands for a bar where none is to be drawn."""

    def __enter__(self) -> "NoBar":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, count: int = 1) -> None:
        """Do nothing."""


def progress_bar(show: bool, **options: Any) -> Any:
    """Return a bar for a `with` statement, to be updated by what was done.

    Args:
        show: whether to draw one.
        options: for `tqdm.auto.tqdm`, which draws a widget in a notebook.

    Example:
        >>> with progress_bar(False, total=2) as bar:
        ...     bar.update()
    """
    if not show:
        return NoBar()
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError:
        return NoBar()
    return tqdm(**options)
