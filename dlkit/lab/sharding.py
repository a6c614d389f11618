"""The widget of the sharding notebook: which rank gets which sample, and what goes wrong."""

from __future__ import annotations

import ipywidgets

from dlkit.lab.choice import choice
from dlkit.lab.explorer import WIDE, Explorer, slider
from dlkit.plots.sharding import sharding_map
from dlkit.plots.style import Picture
from dlkit.samplers import shard_plan

CLASSES = 4  # the dataset is sorted: a quarter of it each


class ShardingExplorer(Explorer):
    """Drag samples, ranks, batch and epoch; tick the options; watch who gets what.

    Args:
        samples: Samples at the start, 0 to 64.
        ranks: Ranks at the start, 1 to 6.
        batch_size: Samples in a batch of one rank at the start, 1 to 8.
        epoch: Epoch at the start, 0 to 9.
        shuffle: Whether epochs are shuffled at the start.
        drop_last: Whether the last samples are left out at the start.
        pad: Whether the first samples are repeated at the start.
        set_epoch: Whether the sampler is told the epoch at the start.

    >>> ShardingExplorer(samples=10, ranks=3, batch_size=2)  # doctest: +ELLIPSIS
    <ShardingExplorer: 10 samples on 3 ranks in 2 steps of up to 6; repeated: 2 (...)...>
    """

    def __init__(
        self,
        samples: int = 22,
        ranks: int = 3,
        batch_size: int = 4,
        epoch: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        pad: bool = True,
        set_epoch: bool = True,
    ) -> None:
        boxes = {"shuffle": shuffle, "drop_last": drop_last, "pad": pad, "set_epoch": set_epoch}
        super().__init__(
            {
                "samples": slider("samples", samples, 0, 64),
                "ranks": slider("ranks", ranks, 1, 6),
                "batch_size": slider("batch size", batch_size, 1, 8),
                "epoch": slider("epoch", epoch, 0, 9),
                **{
                    name: ipywidgets.Checkbox(value=value, description=name, style=WIDE)
                    for name, value in boxes.items()
                },
                "colour": choice(("class", "sample"), description="colour by"),
            }
        )

    def draw(  # type: ignore[override]
        self,
        samples: int,
        ranks: int,
        batch_size: int,
        epoch: int,
        shuffle: bool,
        drop_last: bool,
        pad: bool,
        set_epoch: bool,
        colour: str,
    ) -> Picture:
        """Deal the samples of an epoch to the ranks and draw who got what.

        Args:
            samples: Samples in the dataset.
            ranks: The world size.
            batch_size: Samples in a batch of one rank.
            epoch: Which epoch it is.
            shuffle: Whether epochs are shuffled.
            drop_last: Whether the last samples are left out.
            pad: Whether the first samples are repeated.
            set_epoch: Whether the sampler is told the epoch; otherwise it stays at 0.
            colour: ``"class"`` or ``"sample"``.

        Returns:
            The sharding map.
        """
        used = epoch if set_epoch else 0
        plan = shard_plan(
            samples, ranks, batch_size, epoch=used, shuffle=shuffle, drop_last=drop_last, pad=pad
        )
        labels = [index * CLASSES // samples for index in range(samples)]
        picture = sharding_map(plan, labels if colour == "class" else None)
        order = f"the order of epoch {used}" if shuffle else "the order of the dataset"
        picture.caption += f"; epoch {epoch} has {order}"
        return picture
