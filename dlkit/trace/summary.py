"""What a trace adds up to: the seconds of each stage, and the share that training waited."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dlkit.trace.rings import Records
from dlkit.trace.spans import CODES, STAGES, WHOLE


@dataclass(frozen=True, slots=True)
class StageTotal:
    """One stage, over all batches of a trace; times in seconds.

    Attributes:
        stage: its name.
        spans: how many there are.
        seconds: their sum, over all workers.
        share: of the sum over the stages that are work, or of the training loop's time for
            `wait` and `compute`.
        median: of a span.
        p95: 95 of 100 spans are at most so long.
        longest: the longest span.
    """

    stage: str
    spans: int
    seconds: float
    share: float
    median: float
    p95: float
    longest: float


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """A trace in numbers.

    Attributes:
        stages: those that occur, in the order of the data.
        batches: how many were delivered.
        epochs: in how many passes.
        seconds: from the first span's start to the last one's end.
        wait_share: of the training loop's time, how much it waited for batches.
        dropped: spans that had to go for newer ones, or came too fast to be noted.
    """

    stages: tuple[StageTotal, ...]
    batches: int
    epochs: int
    seconds: float
    wait_share: float
    dropped: int

    def __getitem__(self, stage: str) -> StageTotal:
        """Return one stage's total.

        Raises:
            KeyError: if the trace has no such span.
        """
        for total in self.stages:
            if total.stage == stage:
                return total
        raise KeyError(f"the trace has no span of stage {stage!r}")

    @property
    def line(self) -> str:
        """The summary in one line."""
        lost = f"; {self.dropped} spans were dropped" if self.dropped else ""
        return (
            f"{self.batches} batches of {self.epochs} epoch{'s' * (self.epochs != 1)} in "
            f"{self.seconds:.3g} s, of which training waited {self.wait_share:.0%}{lost}"
        )

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield the cells of a table, the heading first."""
        yield ("stage", "spans", "seconds", "share", "median ms", "p95 ms", "longest ms")
        for t in self.stages:
            times = (f"{1e3 * value:.3f}" for value in (t.median, t.p95, t.longest))
            yield (t.stage, str(t.spans), f"{t.seconds:.3f}", f"{t.share:.0%}", *times)

    def __str__(self) -> str:
        rows = list(self.rows())
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        lines = [
            "  ".join(
                cell.ljust(w) if place == 0 else cell.rjust(w)
                for place, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([self.line, *lines])


def summarise(records: Records, dropped: int = 0) -> TraceSummary:
    """Return what spans add up to.

    Args:
        records: of a `Trace`. Those of single samples and their parts are left out: they lie inside
            of others.
        dropped: how many spans are missing.

    Example:
        >>> from dlkit.trace import Trace
        >>> print(Trace().summary())
        0 batches of 0 epochs in 0 s, of which training waited 0%
        stage  spans  seconds  share  median ms  p95 ms  longest ms
    """
    records = records[records["index"] == WHOLE]
    stage = records["stage"]
    seconds = {
        code: (records["end"] - records["start"])[stage == code] / 1e9
        for code in sorted(set(stage.tolist()))
    }
    loop = (CODES["wait"], CODES["compute"])
    of_loop = sum(float(seconds[code].sum()) for code in loop if code in seconds)
    of_work = sum(float(times.sum()) for code, times in seconds.items() if code not in loop)
    totals = []
    for code, times in seconds.items():
        total, whole = float(times.sum()), of_loop if code in loop else of_work
        median, p95 = np.percentile(times, (50, 95)).tolist()
        share = total / whole if whole else 0.0
        longest = float(times.max())
        totals.append(StageTotal(STAGES[code], len(times), total, share, median, p95, longest))
    waits = records[stage == CODES["wait"]]
    lasted = int(records["end"].max() - records["start"].min()) / 1e9 if len(records) else 0.0
    waited = seconds.get(CODES["wait"])
    share = float(waited.sum()) / of_loop if waited is not None and of_loop else 0.0
    epochs = len(set(records["epoch"].tolist()))
    return TraceSummary(tuple(totals), len(waits), epochs, lasted, share, dropped)
