"""The widget of the batching notebook: which index lands in which batch."""

from __future__ import annotations

import ipywidgets

from dlkit.lab.explorer import WIDE, Explorer, slider
from dlkit.plots.batching import index_strip
from dlkit.plots.style import Picture
from dlkit.samplers import BatchSampler, SequentialSampler


class BatchingExplorer(Explorer):
    """Drag dataset size, batch size and ``drop_last``; watch the strip and the last batch.

    Args:
        size: Samples in the dataset at the start, 1 to 500.
        batch_size: Batch size at the start, 1 to 128.
        drop_last: Whether an incomplete last batch is left out at the start.

    >>> BatchingExplorer(size=10, batch_size=4)  # doctest: +ELLIPSIS
    <BatchingExplorer: 10 samples in 3 batches of 4, the last of 2; ... [8, 9]>
    """

    def __init__(self, size: int = 50, batch_size: int = 8, drop_last: bool = False) -> None:
        super().__init__(
            {
                "size": slider("dataset size", size, 1, 500),
                "batch_size": slider("batch size", batch_size, 1, 128),
                "drop_last": ipywidgets.Checkbox(
                    value=drop_last, description="drop_last", style=WIDE
                ),
            }
        )

    def draw(self, size: int, batch_size: int, drop_last: bool) -> Picture:  # type: ignore[override]
        """Batch the indices 0..size - 1 in order and draw who landed where.

        Args:
            size: Samples in the dataset.
            batch_size: Samples in a batch.
            drop_last: Whether an incomplete last batch is left out.

        Returns:
            The index strip.
        """
        batches = list(BatchSampler(SequentialSampler(range(size)), batch_size, drop_last))
        picture = index_strip(batches, size)
        last = batches[-1] if batches else []
        shown = str(last) if len(last) <= 8 else f"[{last[0]}, {last[1]}, ..., {last[-1]}]"
        picture.caption += f"; steps per epoch: {len(batches)}; last batch: {shown}"
        return picture
