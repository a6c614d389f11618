"""The widget of the workers notebook: which worker fetches which batch, and when it is used."""

from __future__ import annotations

import ipywidgets

from dlkit.lab.explorer import WIDE, Explorer, slider
from dlkit.plots.style import Picture
from dlkit.plots.workers import timeline
from dlkit.workers.simulated import simulate

BATCHES, FETCH, SLOW = 16, 20, 8  # sixteen batches, 20 ms to fetch one, but for number 8


class WorkersExplorer(Explorer):
    """Drag workers, prefetching and the slow batch; watch who works, who waits, and for what.

    Args:
        workers: Workers at the start, 0 to 4.
        prefetch_factor: Batches in flight for each worker at the start, 1 to 4.
        slow: Milliseconds to fetch batch 8 at the start, 20 to 200; the others take 20.
        step: Milliseconds that training computes on a batch at the start, 0 to 40.
        in_order: Whether a batch that is ready early waits for its turn at the start.

    >>> WorkersExplorer(workers=0, slow=20, step=0)  # doctest: +ELLIPSIS
    <WorkersExplorer: ...; the epoch takes 320 ms, of which training waits 320; ...>
    """

    def __init__(
        self,
        workers: int = 2,
        prefetch_factor: int = 2,
        slow: int = 100,
        step: int = 20,
        in_order: bool = True,
    ) -> None:
        super().__init__(
            {
                "workers": slider("num_workers", workers, 0, 4),
                "prefetch_factor": slider("prefetch_factor", prefetch_factor, 1, 4),
                "slow": slider(f"batch {SLOW} (ms)", slow, FETCH, 200, 10),
                "step": slider("compute (ms)", step, 0, 40, 5),
                "in_order": ipywidgets.Checkbox(value=in_order, description="in_order", style=WIDE),
            }
        )

    def draw(  # type: ignore[override]
        self, workers: int, prefetch_factor: int, slow: int, step: int, in_order: bool
    ) -> Picture:
        """Let the workers' clock run and draw what it shows.

        Args:
            workers: How many share the batches; 0 fetches in the training loop.
            prefetch_factor: Batches in flight for each worker.
            slow: Milliseconds to fetch batch 8.
            step: Milliseconds that training computes on each batch.
            in_order: Whether a batch that is ready early waits for its turn.

        Returns:
            The timeline.
        """
        seconds = [FETCH / 1e3] * BATCHES
        seconds[SLOW] = slow / 1e3
        return timeline(simulate(seconds, workers, prefetch_factor, in_order, step / 1e3))
