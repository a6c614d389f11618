"""The widget of the storage notebook: what was measured, for one way of reading at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ipywidgets

from dlkit.lab.choice import choice
from dlkit.lab.explorer import WIDE, Explorer
from dlkit.plots.storage import format_rates
from dlkit.plots.style import Picture
from dlkit.storage.throughput import Throughput


class StorageExplorer(Explorer):
    """Choose record size, order and workers; see how fast each format was on this machine.

    Args:
        measured: For each kind of record, such as ``"28x28 bytes"``, what
            ``dlkit.storage.throughput.measure`` found, for the same orders and workers.

    Raises:
        ValueError: If nothing was measured.

    >>> found = [Throughput("arrow", "shuffled", 0, 2e5), Throughput("tar", "shuffled", 0, 1e4)]
    >>> StorageExplorer({"small": found})
    <StorageExplorer: best samples per second (shuffled): arrow 200 k, tar 10 k>
    """

    def __init__(self, measured: Mapping[str, Sequence[Throughput]]) -> None:
        if not measured or not all(measured.values()):
            raise ValueError(f"measured must hold a measurement of each record, got {measured!r}")
        self.measured = dict(measured)
        every = [one for found in measured.values() for one in found]
        workers = sorted({one.workers for one in every})
        super().__init__(
            {
                "record": _choice("record", list(measured)),
                "order": _choice("order", list(dict.fromkeys(one.order for one in every))),
                "workers": _choice("worker threads", workers),
            }
        )

    def draw(self, record: str, order: str, workers: int) -> Picture:  # type: ignore[override]
        """Draw what was measured for one way of reading.

        Args:
            record: Kind of record.
            order: In order or shuffled.
            workers: Threads that read.

        Returns:
            A mark for each format.
        """
        rates = {
            one.format: {order: one.samples_per_second}
            for one in self.measured[record]
            if (one.order, one.workers) == (order, workers)
        }
        return format_rates(rates, measured=True)


def _choice(label: str, options: Sequence[object]) -> ipywidgets.ToggleButtons:
    return choice([(str(option), option) for option in options], description=label, style=WIDE)
