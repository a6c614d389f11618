"""Watching a loader at work: run some steps of it, note everything, leave it as it was."""

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils import data as torch_data

from dlkit.checks import check_positive_int
from dlkit.diagnose.facts import loader_facts, machine_facts, tensors_in
from dlkit.diagnose.kept import generators_kept
from dlkit.diagnose.private import PrivateLoader
from dlkit.diagnose.probing import Probed, own_copy, probe
from dlkit.diagnose.profiled import Profile
from dlkit.diagnose.running import samples_in
from dlkit.diagnose.usage import MemoryWatch, bytes_read, queued_seconds
from dlkit.structure import count_bytes
from dlkit.trace import Trace
from dlkit.trace.spans import CODES, WHOLE, clock

_CAPACITY = 1 << 16  # spans of each process: samples and their transforms are among them


def profile(
    loader: Any,
    *,
    steps: int = 50,
    step: Callable[[Any], Any] | None = None,
    seconds: float = 30.0,
) -> Profile:
    """Run some steps of a loader and say where the time goes.

    The loader is copied, with its samplers, and the copy runs with workers of its own; what it
    yields is what the loader would yield next. The user's loader stays as it was: its attributes,
    its open workers, all random generators. The dataset is read, in this process if there are no
    worker processes.

    Args:
        loader: a `dlkit.DataLoader`, or a `torch.utils.data.DataLoader` as it is.
        steps: batches to take; a loader that has fewer is iterated over again.
        step: what training does with a batch. Without it, the profile says how fast batches come.
        seconds: after so many no further step begins.

    Returns:
        What was seen.

    Raises:
        TypeError: if `loader` is no such loader, or `step` cannot be called.
        ValueError: if `steps` or `seconds` is not positive, or the loader has no batch.
        whatever the dataset, the collate_fn or `step` raises, with a note of when; nothing is left
            running then either.

    Example:
        >>> from dlkit import DataLoader
        >>> seen = profile(DataLoader(range(64), batch_size=4), steps=10)
        >>> seen.steps, seen.loader.batch_size
        (10, 4)
    """
    _check(loader, steps, step, seconds)
    trace = Trace(_CAPACITY, samples=True, cpu=True)
    with generators_kept(loader):
        private = PrivateLoader(loader, trace)
        run = _Run(private, step)
        try:
            with MemoryWatch(private.pids) as watch:
                run.steps_until(steps, seconds, watch)
                run.measure_turn_over()
        except Exception as error:
            error.add_note(f"while profiling, after {run.taken} of {steps} steps")
            raise
        finally:
            private.close()
            trace.settle()  # whoever keeps the error keeps no descriptor of a ring with it
        found = probe(loader, run.kept, run.sizes[0], trace.records())
    return run.profile(loader, trace, watch, found)


class _Run:
    """The steps of a profile."""

    def __init__(self, private: PrivateLoader, step: Callable[[Any], Any] | None) -> None:
        self.private = private
        self.step = step
        self.taken = 0
        self.sizes: list[int] = []
        self.nbytes: list[int] = []
        self.tensors = 1
        self.batch: Any = None
        self.kept: Any = None  # a copy of the first batch
        self.first_batch = 0.0
        self.turn_overs: list[float] = []
        self.saw_epoch_end = False
        self.lasted = 0.0
        self.cpu = 0.0
        self.queued = 0.0
        self.read: int | None = None
        self.worker_processes = False

    def steps_until(self, steps: int, seconds: float, watch: MemoryWatch) -> None:
        """Take batches, pass after pass."""
        limit = time.perf_counter() + seconds
        self._start()
        watch.look_soon()
        self._before = self._counts()
        began = time.perf_counter()
        while self.taken < steps and time.perf_counter() < limit:
            if self.taken:
                try:
                    batch = self.private.next()
                except StopIteration:
                    self._turn_over()
                    continue
            else:
                batch = self.batch
            self._take(batch)
            del batch
            self.batch = None
        self.lasted = time.perf_counter() - began
        watch.look()
        self._count_up()

    def _start(self) -> None:
        start = time.perf_counter()
        self.private.start()
        try:
            self.batch = self.private.next()
        except StopIteration:
            raise ValueError("loader must have at least one batch, but it yields none") from None
        self.first_batch = time.perf_counter() - start
        self.kept = own_copy(self.batch)

    def _take(self, batch: Any) -> None:
        self.sizes.append(samples_in(batch))
        self.nbytes.append(count_bytes(batch))
        self.tensors = max(self.tensors, tensors_in(batch))
        if self.step is not None:
            self._compute(self.step, batch)
        self.taken += 1

    def _compute(self, step: Callable[[Any], Any], batch: Any) -> None:
        start, cpu = clock(), time.process_time()
        step(batch)
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()  # else the next wait would pay for this step
        self.cpu += time.process_time() - cpu
        self.private.note_compute(start, clock())

    def _turn_over(self) -> None:
        """An epoch has ended: begin the next one."""
        self._count_up()
        start = time.perf_counter()
        self.private.leave()
        self.private.start()
        try:
            batch = self.private.next()
        except StopIteration:
            raise ValueError("loader must have at least one batch in every epoch") from None
        self.turn_overs.append(time.perf_counter() - start)
        self._before = self._counts()
        self.saw_epoch_end = True
        self._take(batch)

    def measure_turn_over(self) -> None:
        """Leave the pass and begin another, where no epoch has ended by itself."""
        if self.turn_overs or not self.private.loader.num_workers:
            return
        start = time.perf_counter()
        self.private.leave()
        self.private.start()
        with contextlib.suppress(StopIteration):
            self.private.next()
        self.turn_overs.append(time.perf_counter() - start)

    def _counts(self) -> dict[int, tuple[float | None, int | None]]:
        pids = self.private.pids()
        self.worker_processes = bool(pids)
        pids = pids or [os.getpid()]
        return {pid: (queued_seconds(pid), bytes_read(pid)) for pid in pids}

    def _count_up(self) -> None:
        """Note how long workers have queued for a core, and what they have read, by now."""
        after = self._counts()
        for pid in after.keys() & self._before.keys():
            (queued, read), (queued_before, read_before) = after[pid], self._before[pid]
            if queued is not None and queued_before is not None:
                self.queued += queued - queued_before
            if read is not None and read_before is not None:
                self.read = (self.read or 0) + read - read_before

    def profile(self, loader: Any, trace: Trace, watch: MemoryWatch, found: Probed) -> Profile:
        """Return what was seen."""
        records = trace.records()
        work = records[(records["stage"] == CODES["fetch"]) & (records["index"] == WHOLE)]
        inner = self.sizes[1:] or self.sizes
        read = None
        fetched = len(work) * (max(self.sizes) if self.sizes else 1)
        if self.read is not None and fetched:
            read = self.read / fetched
        steps_time = self._computed(records)
        return Profile(
            loader=loader_facts(loader, max(self.sizes)),
            machine=machine_facts(),
            trace=trace,
            steps=self.taken,
            samples=sum(inner),
            nbytes=sum(self.nbytes[1:] or self.nbytes),
            seconds=max(self.lasted - sum(self.turn_overs if self.saw_epoch_end else []), 1e-9),
            first_batch=self.first_batch,
            turn_over=sorted(self.turn_overs)[len(self.turn_overs) // 2] if self.turn_overs else 0,
            saw_epoch_end=self.saw_epoch_end,
            has_step=self.step is not None,
            memory=tuple(watch.points),
            queued=self._queued_share(records),
            read_bytes=read,
            tensors=self.tensors,
            step_cores=self.cpu / steps_time if steps_time else 1.0,
            lock_share=found.lock_share,
            slow_again=found.slow_again,
            crossings=found.crossings,
        )

    def _queued_share(self, records: Any) -> float:
        """Return the share of queueing in the time that those were busy whose queueing counts."""
        workers = self.private.loader.num_workers
        if workers and not self.worker_processes:
            return 0.0  # the count is of the training loop's thread, not of theirs
        stages = ("fetch", "collate", "transfer") if workers else ("fetch", "collate", "compute")
        theirs = np.isin(records["stage"], [CODES[stage] for stage in stages])
        theirs &= (records["worker"] >= 0) == bool(workers)
        spans = records[theirs & (records["index"] == WHOLE)]
        busy = float((spans["end"] - spans["start"]).sum()) / 1e9
        return min(0.9, self.queued / busy) if busy else 0.0

    def _computed(self, records: Any) -> float:
        spans = records[records["stage"] == CODES["compute"]]
        return float((spans["end"] - spans["start"]).sum()) / 1e9


def _check(loader: Any, steps: Any, step: Any, seconds: Any) -> None:
    if not isinstance(loader, torch_data.DataLoader):
        raise TypeError(
            "loader must be a dlkit.DataLoader or a torch.utils.data.DataLoader, but got a "
            f"{type(loader).__name__}"
        )
    check_positive_int("steps", steps)
    if step is not None and not callable(step):
        raise TypeError(f"step must be a function of a batch or None, but got {step!r:.80}")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise ValueError(f"seconds must be a positive number, but got {seconds!r}")
