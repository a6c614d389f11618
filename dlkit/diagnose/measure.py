"""Measure what the parts of a loader cost, each by itself, in a second or two.

    loader --its indices--> fetch, collate, step here; one worker beside --> Costs

Fetching and collating are timed in this thread, on clocks that leave out queueing for a core, so
that a machine which is busy with something else gives the same costs. What it costs to let a worker
do so is the CPU time of real workers, less that.
"""

import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from torch.utils import data as torch_data

from dlkit.diagnose.clocks import Span, Stopwatch, available_cores, one_torch_thread
from dlkit.diagnose.costs import Costs, Crossing
from dlkit.diagnose.crossing import measure_crossing
from dlkit.diagnose.kept import generators_kept
from dlkit.diagnose.lock import lock_share
from dlkit.diagnose.parts import Parts
from dlkit.loader import DataLoader
from dlkit.structure import count_bytes


def measure_costs(
    loader: Any,
    *,
    step: Callable[[Any], Any] | None = None,
    seconds: float = 1.0,
    methods: Sequence[str] = ("process", "thread"),
) -> Costs:
    """Measure what fetching, collating, handing over and using a loader's batches cost.

    The loader's own workers are not used, and it is left as it was: so are the random generators.
    An iterable dataset is iterated anew, and read a little.

    Args:
        loader: a `dlkit.DataLoader` or a `torch.utils.data.DataLoader`.
        step: what training does with a batch; None if it does nothing.
        seconds: about how long fetching may be measured; workers and threads take as long again.
        methods: kinds of workers whose handing over is measured, of `"process"` and `"thread"`;
            PyTorch's loader has no threads.

    Raises:
        TypeError: if `loader` is no such loader, or `step` cannot be called.
        ValueError: if `seconds` or a method is impossible, or the loader has no batch.

    Example:
        >>> from dlkit.datasets import Cost, synthetic_images
        >>> data = synthetic_images(64, (1, 8, 8), cost=Cost(wait_seconds=0.002))
        >>> costs = measure_costs(DataLoader(data, batch_size=4), seconds=0.1, methods=())
        >>> 0.002 < costs.fetch_mean, costs.fetch_wait > 0.5, costs.batch_size
        (True, True, 4)
    """
    _check(loader, step, seconds, methods)
    with generators_kept(loader), one_torch_thread():
        parts = Parts.of(loader)
        fetched, batch = _time_fetching(parts, seconds / 2)
        collating, per_batch = _time_collating(parts, seconds / 8)
        lock = _lock_share(parts, seconds / 4)
    with generators_kept(loader):
        steps, step_cores = _time_steps(step, batch, seconds / 4)
        nbytes = count_bytes(batch)
        size = parts.batch_size
        alone = [span.cpu / count for span, count in fetched]
        made = statistics.fmean(alone) * size + collating * size + per_batch
        crossings: dict[str, Crossing] = {"inline": Crossing()}
        memory = start = 0.0
        for method in methods:
            if method == "thread" and not isinstance(loader, DataLoader):
                continue
            found = measure_crossing(loader, parts.tasks, method, made, nbytes, seconds / 2)
            crossings[method] = found.crossing
            if method == "process":
                memory, start = found.worker_memory, found.start_seconds
    per_sample = all(count == 1 for _, count in fetched)
    workers = loader.num_workers
    return Costs(
        fetch_seconds=tuple(span.alone / count for span, count in fetched),
        fetch_cpu_seconds=math.fsum(s.cpu for s, _ in fetched) / sum(c for _, c in fetched),
        fetch_group=1 if per_sample else size,
        lock_share=lock,
        collate_seconds=collating,
        batch_seconds=per_batch,
        crossings=crossings,
        step_seconds=steps,
        step_cores=step_cores,
        start_seconds=start,
        sample_bytes=nbytes / size,
        worker_memory=memory,
        base_memory=_resident_bytes(),
        batch_size=size,
        num_workers=workers,
        worker_method=getattr(loader, "worker_method", "process") if workers else "inline",
        prefetch_factor=loader.prefetch_factor or 2,
        in_order=getattr(loader, "in_order", True),
        cores=available_cores(),
        samples=_length(loader, parts),
    )


def _time_fetching(parts: Parts, seconds: float) -> tuple[list[tuple[Span, int]], Any]:
    """Read batches for a while; return what each reading took and of how many samples it was."""
    spans: list[tuple[Span, int]] = []
    batch: Any = None
    with Stopwatch() as watch:
        end = time.perf_counter() + seconds
        for number, task in enumerate(parts.tasks):
            samples: Any = []
            try:
                if parts.one_by_one is None:
                    watch.start()
                    samples = parts.read(task)
                    found = [(watch.lap(), len(task))]
                else:
                    found = []
                    for index in task:
                        watch.start()
                        samples.append(parts.one_by_one(index))
                        found.append((watch.lap(), 1))
            except StopIteration:  # a stream that is shorter
                break
            if number == 0 or len(task) == parts.batch_size:
                batch = parts.collate(samples)
            if number == 0:
                cold = found
                continue  # caches fill, modules are imported
            spans += found
            if time.perf_counter() > end and number >= 2:
                break
    if batch is None:
        raise ValueError("loader must have at least one batch, but its dataset ended before that")
    return spans or cold, batch


def _time_collating(parts: Parts, seconds: float) -> tuple[float, float]:
    """Return the CPU seconds that collating takes, per sample and for each batch."""
    try:
        samples = parts.read(parts.tasks[0])
    except StopIteration:
        return 0.0, 0.0
    if not len(samples):
        return 0.0, 0.0
    size = parts.batch_size
    if type(samples) is list and len(samples) == size and size >= 4:
        large = _cpu_of(lambda: parts.collate(list(samples)), seconds / 2)
        small = _cpu_of(lambda: parts.collate(samples[: size // 4]), seconds / 2)
        each = max(0.0, (large - small) / (size - size // 4))
        return each, max(0.0, large - each * size)
    return _cpu_of(lambda: parts.collate(samples), seconds) / size, 0.0


def _cpu_of(work: Callable[[], Any], seconds: float) -> float:
    """Return the median CPU seconds of some work, repeated for a while."""
    work()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < 3 or (time.perf_counter() < end and len(taken) < 50):
        before = time.thread_time()
        work()
        taken.append(time.thread_time() - before)
    return statistics.median(taken)


def _lock_share(parts: Parts, seconds: float) -> float | None:
    """Return the share of fetching's CPU time that holds the GIL; None for a stream."""
    if parts.tasks[0][0] is None:
        return None  # reading on would use it up
    if parts.one_by_one is None:
        return lock_share(parts.read, parts.tasks, seconds)
    return lock_share(parts.one_by_one, list(chain.from_iterable(parts.tasks)), seconds)


def _time_steps(
    step: Callable[[Any], Any] | None, batch: Any, seconds: float
) -> tuple[tuple[float, ...], float]:
    """Return the seconds of some steps, and the cores that they keep busy."""
    if step is None:
        return (0.0,), 1.0
    step(batch)  # warm-up: libraries choose algorithms, memory is claimed
    walls: list[float] = []
    cpu = 0.0
    with Stopwatch() as watch:
        end = time.perf_counter() + seconds
        while len(walls) < 3 or (time.perf_counter() < end and len(walls) < 200):
            before = time.process_time()
            watch.start()
            step(batch)
            walls.append(watch.lap().alone)
            cpu += time.process_time() - before
    total = math.fsum(walls)
    return tuple(walls), cpu / total if total else 1.0


def _length(loader: Any, parts: Parts) -> int | None:
    """Samples of an epoch, as far as the loader knows."""
    try:
        return len(loader) * parts.batch_size
    except TypeError:
        return None


def _resident_bytes() -> float:
    """Bytes of memory that this process takes; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return float(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0.0


def _check(loader: Any, step: Any, seconds: Any, methods: Sequence[str]) -> None:
    if not isinstance(loader, torch_data.DataLoader):
        raise TypeError(f"loader must be a dlkit or PyTorch DataLoader, but got {loader!r:.80}")
    if step is not None and not callable(step):
        raise TypeError(f"step must be callable or None, but got {step!r}")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"seconds must be a number, but got {seconds!r}")
    if not 0 < seconds < math.inf:
        raise ValueError(f"seconds must be more than 0, but got {seconds!r}")
    for method in methods:
        if method not in ("process", "thread"):
            raise ValueError(f'methods must hold "process" and "thread", but got {method!r}')
