"""A span: one stage of one batch, from when to when, and who did it.

The clock is `time.perf_counter_ns`. On Linux that is CLOCK_MONOTONIC, on macOS the machine's
uptime in ticks and on Windows the performance counter: one clock for all processes of a machine,
so spans of workers and of the training loop can be laid beside each other. (Python promises this
for one process only. Traces of two machines, or of two boots, have no common clock.)
"""

from time import perf_counter_ns as clock
from typing import NamedTuple

import numpy as np

__all__ = [
    "AGREEMENT",
    "CODES",
    "EPOCH",
    "EXCHANGE",
    "FIRST_PART",
    "GRADIENTS",
    "LOOP",
    "PIN",
    "RECORD",
    "STAGES",
    "UNKNOWN",
    "WHOLE",
    "Span",
    "clock",
    "row_name",
]

# The way of a batch: indices are drawn, samples read, joined, moved; training waits, and computes.
STAGES = ("sample", "fetch", "collate", "transfer", "wait", "compute")
CODES = {stage: code for code, stage in enumerate(STAGES)}
LOOP = -1  # instead of a worker's number: the thread that iterates over the loader
PIN = -2  # the thread that pins batches
EXCHANGE = -3  # no thread, but what travels between ranks while training computes
# What stands in place of a sample's index where a span is not of one sample in the dataset.
WHOLE = -1  # a whole batch
UNKNOWN = -2  # a sample without a number
FIRST_PART = -3  # part 0 of reading a sample, and -4, -5, ... parts 1, 2, ...; see `Trace.parts`
# In spans of computing instead, what ranks exchange:
GRADIENTS = -3  # a bucket of gradients
AGREEMENT = -4  # how many samples each rank has

# How spans are read; `worker`, `epoch` and `stage` last, so that all numbers are aligned.
RECORD = np.dtype(
    [
        ("start", "i8"),
        ("end", "i8"),
        ("batch", "i8"),
        ("index", "i8"),
        ("cpu", "i8"),
        ("epoch", "i4"),
        ("worker", "i2"),
        ("stage", "i2"),
    ]
)
EPOCH = 1 << 40  # a batch's key is its epoch times this, plus its number


class Span(NamedTuple):
    """One stage of one batch.

    Attributes:
        stage: one of `STAGES`. Fetching without workers happens inside of `wait`, because training
            stands still meanwhile.
        worker: who did it: a number from 0, `LOOP`, `PIN` or `EXCHANGE`.
        batch: number of the batch in its pass, from 0 where iterating began.
        rank: of the process in a distributed run, 0 otherwise.
        start: nanoseconds on the machine's monotonic clock.
        end: the same.
        epoch: number of the pass in this trace, from 0.
        index: of the sample in the dataset, where single samples were recorded; `WHOLE` (-1) where
            the span is of a batch. What else is below 0 is said beside `UNKNOWN`.
        cpu: nanoseconds in which the thread used a core; -1 where that was not recorded.

    Example:
        >>> Span("fetch", worker=0, batch=3, rank=0, start=1_000, end=4_000).nanoseconds
        3000
    """

    stage: str
    worker: int
    batch: int
    rank: int
    start: int
    end: int
    epoch: int = 0
    index: int = WHOLE  # type: ignore[assignment]  # as a field it hides tuple.index
    cpu: int = -1

    @property
    def nanoseconds(self) -> int:
        """How long it took."""
        return self.end - self.start


def row_name(worker: int) -> str:
    """Return how the row of a worker is called in tables and pictures.

    Example:
        >>> row_name(2), row_name(LOOP)
        ('worker 2', 'training')
    """
    names = {LOOP: "training", PIN: "pinning", EXCHANGE: "exchange"}
    return names.get(worker, f"worker {worker}")
