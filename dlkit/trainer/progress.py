"""The progress bar of an epoch: loss, samples per second, share of the time waiting for data."""

import sys
import time
from typing import Any

REFRESH_SECONDS = 0.1
LOG_SECONDS = 30.0  # in a file each drawing is a line that stays


class EpochBar:
    """One `tqdm.auto` bar: a widget in a notebook, a line of text in a terminal.

    Without tqdm, or with `show=False`, every method does nothing.

    Args:
        title: Text in front of the bar.
        total: Steps in the epoch, `None` where the loader does not know.
        done: Steps done before, in an epoch that is resumed.
        show: Whether to draw at all.
    """

    def __init__(self, title: str, total: int | None, done: int = 0, *, show: bool = True) -> None:
        self._bar: Any = None
        self._drawn = 0.0
        self._pending = 0
        if show:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                return
            in_log = not sys.stderr.isatty() and "ipykernel" not in sys.modules
            self._refresh = LOG_SECONDS if in_log else REFRESH_SECONDS
            self._drawn = time.perf_counter() if in_log else 0.0
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=title,
                unit="batch",
                mininterval=self._refresh,
                delay=1e-9 if in_log else 0,  # no empty bar at the start
            )

    def step(self, loss: float, samples_per_second: float, wait_share: float) -> None:
        """Count one step; draw at most ten times a second, because drawing takes longer."""
        if self._bar is None:
            return
        self._pending += 1
        now = time.perf_counter()
        if now - self._drawn >= self._refresh:
            self._drawn = now
            self._draw(self._values(loss, samples_per_second, wait_share))

    def finish(self, row: dict[str, float]) -> None:
        """Draw the epoch's final numbers and leave the bar standing."""
        if self._bar is None:
            return
        values = self._values(row["train_loss"], row["samples_per_second"], row["wait_share"])
        shown = {k: f"{v:.4f}" for k, v in row.items() if k.startswith("val_")}
        self._draw(values | shown)
        self.close()

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _draw(self, values: dict[str, str]) -> None:
        self._bar.set_postfix(values, refresh=False)
        self._bar.update(self._pending)
        self._bar.refresh()
        self._pending = 0

    @staticmethod
    def _values(loss: float, samples_per_second: float, wait_share: float) -> dict[str, str]:
        return {
            "loss": f"{loss:.4f}",
            "samples/s": f"{samples_per_second:,.0f}",
            "waiting": f"{wait_share:.0%}",
        }
