"""When ranks exchange what they have computed: spans of a trace, and where the time of ranks goes.

    training   | agree |--- forward ---|------ backward ------|.........|- step -|
    exchange   |-------|                     |--- bucket ---|
                                                        |----- bucket --|
                                                 hidden behind | exposed: nobody computes

Gradients travel in buckets, each as soon as it is full. What arrives before the last bucket is sent
costs nothing; from then on there is nothing left to compute, and training stands still. Part of
that is no exchange at all, but waiting for a rank that is late.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, distributed
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from dlkit.trace.spans import AGREEMENT, CODES, EPOCH, EXCHANGE, GRADIENTS, LOOP, WHOLE, clock

if TYPE_CHECKING:
    from dlkit.trace.trace import Trace

_WAIT, _COMPUTE = CODES["wait"], CODES["compute"]


class ExchangeNotes:
    """Notes in the trace of a loader what a rank exchanges in each step; nothing without a trace.

    On a GPU only agreements are noted: the host does not see when NCCL has done its work. These
    notes do not hold the model, which holds them: its native part hides such a cycle from Python.
    """

    def __init__(self) -> None:
        self._hooked = False
        self._ring: Any = None
        self._key = 0

    def begin(self, trace: "Trace | None", model: Any) -> None:
        """Begin a pass of a loader, whose steps are counted from 0.

        Args:
            trace: of the loader.
            model: always the same one; its gradients are noted if it is a
                `DistributedDataParallel`.
        """
        self._ring = None
        if trace is None:
            return
        recorder = trace.recorder(EXCHANGE)
        self._ring, self._key = recorder.ring, recorder.epoch - 1
        on_cpu = isinstance(model, DistributedDataParallel) and model.device_type == "cpu"
        if on_cpu and not self._hooked:
            # Registered once and for all: without a trace it does what DDP does by itself.
            model.register_comm_hook(self, _exchange)
            self._hooked = True

    def agreed(self, start: int) -> None:
        """Note that all ranks have told each other how many samples they have: a step begins."""
        self._key += 1
        self.note(AGREEMENT, start)

    def note(self, part: int, start: int) -> None:
        """Note that a part of this step's exchange ends now."""
        if self._ring is not None:
            self._ring.write(start, clock(), self._key, _COMPUTE, part)


def _exchange(
    notes: ExchangeNotes,
    bucket: distributed.GradBucket,  # type: ignore[name-defined]  # not marked as exported
) -> Future[Tensor]:
    """Replace a bucket of gradients by the mean over the ranks; called during `backward`."""
    gradients = bucket.buffer()
    # A factor rather than a quotient, as in DDP's own code: so the bits are the same.
    gradients.mul_(1.0 / distributed.get_world_size())
    start = clock()
    work: Any = distributed.all_reduce(gradients, async_op=True)

    def arrived(future: Any) -> Tensor:
        notes.note(GRADIENTS, start)
        mean: Tensor = future.value()[0]
        return mean

    averaged: Future[Tensor] = work.get_future().then(arrived)
    return averaged


# ---- what it adds up to -------------------------------------------------------------------------


@dataclass(frozen=True)
class RankTime:
    """Where the time of a rank's training loop goes, in seconds.

    Attributes:
        seconds: all of it.
        load: it waited for batches.
        ranks: it waited for other ranks, which had not come to an exchange yet.
        exchange: it exchanged, and did nothing else.
        hidden: it exchanged gradients while it computed; part of `compute`.
    """

    seconds: float
    load: float
    ranks: float
    exchange: float
    hidden: float

    @property
    def compute(self) -> float:
        """It computed."""
        return self.seconds - self.load - self.ranks - self.exchange

    def __str__(self) -> str:
        names = ("compute", "load", "ranks", "exchange")
        parts = ", ".join(f"{name} {getattr(self, name) / self.seconds:.0%}" for name in names)
        return f"{self.seconds:.3g} s: {parts}"


def time_of_ranks(traces: "Sequence[Trace]", *, first_epoch: int = 0) -> list[RankTime]:
    """Return where the time of each rank went while it trained on a traced loader.

    Args:
        traces: the loaders' traces, one of each rank, all of one machine.
        first_epoch: passes before are left out, which pay for starting.

    Raises:
        ValueError: if there is no trace, or one has no step of that epoch.

    Example:
        >>> from dlkit import DataLoader
        >>> loader = DataLoader(range(8), batch_size=4, trace=True)
        >>> batches = list(loader)
        >>> [alone] = time_of_ranks([loader.trace])
        >>> alone.exchange, alone.ranks
        (0.0, 0.0)
    """
    ranks = _steps_of(traces, first_epoch)
    latest = _latest(ranks)
    found = []
    for rank in ranks:
        waited = sum(min(latest[key], end) - start for key, (start, end) in rank.exposed.items())
        exposed = sum(end - start for start, end in rank.exposed.values())
        parts = (rank.lasted, rank.loaded, waited, exposed - waited, rank.hidden)
        found.append(RankTime(*(part / 1e9 for part in parts)))
    return found


def spans_of_ranks(
    traces: "Sequence[Trace]", *, epoch: int = 0, steps: int = 6
) -> list[list[tuple[str, float, float]]]:
    """Return what each rank did in the first steps of a pass: see `plots.ranks.rank_timeline`.

    Args:
        traces: as for `time_of_ranks`.
        epoch: of the traces.
        steps: how many.

    Returns:
        For each rank `(what, start, end)` in seconds, where what is "compute", "wait" (for a batch
        or for another rank) or "exchange".

    Raises:
        ValueError: if there is no trace, or one has no step of that epoch.

    Example:
        >>> from dlkit import DataLoader
        >>> loader = DataLoader(range(8), batch_size=4, trace=True)
        >>> batches = list(loader)
        >>> [alone] = spans_of_ranks([loader.trace])
        >>> {what for what, _, _ in alone} <= {"compute", "wait"}
        True
    """
    ranks = _steps_of(traces, epoch, epoch + 1, steps)
    latest = _latest(ranks)
    rows = []
    for rank in ranks:
        still = [("wait", int(s["start"]), int(s["end"])) for s in rank.loop if s["stage"] == _WAIT]
        for key, (start, end) in rank.exposed.items():
            there = min(latest[key], end)
            still += [("wait", start, there), ("exchange", there, end)]
        row, now = [], int(rank.loop["start"].min())
        for what, start, end in sorted(still, key=lambda span: span[1:]):
            row += [("compute", now, start), (what, start, end)]
            now = max(now, end)
        row.append(("compute", now, int(rank.loop["end"].max())))
        rows.append([(what, a / 1e9, b / 1e9) for what, a, b in row if b > a])
    return rows


class _Steps:
    """The spans of one rank that matter here, of some passes."""

    def __init__(self, trace: "Trace", first: int, last: int | None, steps: int | None) -> None:
        records = trace.records()
        records = records[records["epoch"] >= first]
        if last is not None:
            records = records[records["epoch"] < last]
        if steps is not None:
            records = records[records["batch"] < steps]
        self.loop = records[(records["worker"] == LOOP) & (records["index"] == WHOLE)]
        self.loop = self.loop[np.isin(self.loop["stage"], (_WAIT, _COMPUTE))]
        if not len(self.loop):
            raise ValueError(f"the trace of rank {trace.rank} has no step from epoch {first} on")
        self.exchange = records[records["worker"] == EXCHANGE]
        waits = self.loop[self.loop["stage"] == _WAIT]
        self.loaded = int((waits["end"] - waits["start"]).sum())
        self.lasted = 0
        both = np.concatenate([self.loop, self.exchange])
        for epoch in np.unique(both["epoch"]):
            mine = both[both["epoch"] == epoch]
            self.lasted += int(mine["end"].max() - mine["start"].min())
        self.exposed: dict[tuple[int, int], tuple[int, int]] = {}
        self.hidden = 0
        self._sort_out()

    def _sort_out(self) -> None:
        """For each exchange: from when on nothing else was done, and how much was hidden before."""
        found: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for span in self.exchange:
            key = int(span["epoch"]) * EPOCH + int(span["batch"]), int(span["index"])
            found[key].append((int(span["start"]), int(span["end"])))
        for key, spans in found.items():
            sent = max(start for start, _ in spans)
            self.exposed[key] = sent, max(end for _, end in spans)
            now = min(start for start, _ in spans)
            for start, end in sorted(spans):
                begun, until = max(now, start), min(end, sent)
                self.hidden += max(0, until - begun)
                now = max(now, until)


def _steps_of(
    traces: "Sequence[Trace]", first: int, last: int | None = None, steps: int | None = None
) -> list[_Steps]:
    if not traces:
        raise ValueError("traces must hold the trace of at least one rank, got none")
    return [_Steps(trace, first, last, steps) for trace in traces]


def _latest(ranks: Sequence[_Steps]) -> dict[tuple[int, int], int]:
    """When the last rank came to each exchange."""
    latest: dict[tuple[int, int], int] = {}
    for rank in ranks:
        for key, (start, _) in rank.exposed.items():
            latest[key] = max(latest.get(key, start), start)
    return latest
