"""The widget of the shuffling notebook: what a shuffle buffer does to the order."""

from __future__ import annotations

import ipywidgets
import torch

from dlkit.checks import check_positive_int
from dlkit.lab.explorer import WIDE, Explorer, slider
from dlkit.mixing import displacement, mixing
from dlkit.plots.shuffling import displacements
from dlkit.plots.style import Picture
from dlkit.samplers import ShuffleBuffer

BUFFERS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class ShuffleExplorer(Explorer):
    """Drag the buffer's size and the seed; watch the order change and the mixing grow.

    Args:
        buffer_size: One of ``BUFFERS``.
        seed: Seed at the start, 0 to 20.
        size: Samples in the stream.

    Raises:
        ValueError: If the buffer's size or the seed is none of those.

    >>> ShuffleExplorer(buffer_size=1)  # doctest: +ELLIPSIS
    <ShuffleExplorer: 1000 samples, buffer of 1 (0.1%), seed 0: mixing 0.00; ...>
    """

    def __init__(self, buffer_size: int = 100, seed: int = 0, size: int = 1000) -> None:
        if buffer_size not in BUFFERS:
            raise ValueError(f"buffer_size must be one of {BUFFERS}, but got {buffer_size!r}")
        check_positive_int("size", size)
        self.size = size
        buffers = ipywidgets.SelectionSlider(
            options=BUFFERS,
            value=buffer_size,
            description="buffer size",
            style=WIDE,
            layout=ipywidgets.Layout(width="520px"),
        )
        super().__init__({"buffer_size": buffers, "seed": slider("seed", seed, 0, 20)})

    def draw(self, buffer_size: int, seed: int) -> Picture:  # type: ignore[override]
        """Pass the indices through a shuffle buffer and draw where they came out.

        Args:
            buffer_size: Samples held in memory.
            seed: Seed of the generator.

        Returns:
            The displacement plot.
        """
        generator = torch.Generator().manual_seed(seed)
        order = list(ShuffleBuffer(range(self.size), buffer_size, generator=generator))
        picture = displacements({f"buffer of {buffer_size}": order})
        moved = displacement(order)
        picture.caption = (
            f"{self.size} samples, buffer of {buffer_size} ({buffer_size / self.size:.1%}), "
            f"seed {seed}: mixing {mixing(order):.2f}; a sample comes at most "
            f"{moved.max()} places early and at most {-moved.min()} late"
        )
        return picture
