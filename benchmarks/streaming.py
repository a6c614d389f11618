"""Live streams: rate, cost of an item, latency under a doubling load, a long run, alignment.

    python -m benchmarks.streaming [--quick] [--only rate] [--json FILE] [--plot FILE]

rate    items/s through source -> preprocess -> micro-batch -> consumer, against two `queue.Queue`s
        between three threads that pass one item at a time. The consumer is a small network, or
        nothing at all; the second is the harsher one, for there batching saves only the passing.
        The bars: 5 times the baseline, and 20,000 items/s.
cost    CPU microseconds that the batcher alone takes for an item; the bar is 20.
load    the load doubles every 5 s, in real time, until overload; the p99 of the adaptive mode, of
        fixed batches of 1 and of 64. The bar: the adaptive one keeps the objective at each load
        that any way can serve. `--plot` writes the picture.
soak    10 minutes of mixed load (20 s with --quick): memory flat, counters exact. Linux only.
align   samples that are those of a brute-force search, of 1,000 random streams; the bar is 99.9 %.
"""

import argparse
import gc
import math
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import Row, compare, machine, report
from benchmarks.streaming_align import align
from benchmarks.streaming_load import load
from dlkit.streaming import Batcher, Camera, Fixed, Pipeline, Stamped, read_memory

BASELINE = "queue.Queue, one item at a time"
OURS = "dlkit.streaming.Pipeline"
ITEM = np.ones(16, dtype=np.float32)
RATE_BAR, COST_BAR = 20_000, 20.0
MEGABYTE = 1e6


# ---- rate ---------------------------------------------------------------------------------------


def _network() -> Callable[[torch.Tensor], torch.Tensor]:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
    ).eval()


def one_at_a_time(items: int, consume: Callable[[torch.Tensor], object] | None) -> int:
    """Pass items through two queues, and consume each one by itself."""
    raw: queue.Queue[np.ndarray | None] = queue.Queue(1024)
    ready: queue.Queue[np.ndarray | None] = queue.Queue(1024)

    def produce() -> None:
        for item in _generate(items):
            raw.put(item)
        raw.put(None)

    def preprocess() -> None:
        while (item := raw.get()) is not None:
            ready.put(item * 2.0)
        ready.put(None)

    threads = [threading.Thread(target=target) for target in (produce, preprocess)]
    for thread in threads:
        thread.start()
    count = 0
    with torch.inference_mode():
        while (item := ready.get()) is not None:
            if consume is not None:
                consume(torch.from_numpy(item)[None])
            count += 1
    for thread in threads:
        thread.join()
    return count


def in_batches(items: int, consume: Callable[[torch.Tensor], object] | None) -> int:
    """Pass items through a pipeline, and consume whole batches."""
    pipeline = Pipeline(
        _generate(items), _double, vectorised=True, max_batch=256, max_delay=0.01, capacity=4096
    )
    count = 0
    with torch.inference_mode():
        for batch in pipeline:
            if consume is not None:
                consume(torch.from_numpy(np.array(batch.items)))
            count += len(batch)
    return count


def _generate(items: int) -> Iterator[np.ndarray]:
    return (ITEM for _ in range(items))


def _double(items: list[np.ndarray]) -> np.ndarray:
    return np.array(items) * 2.0


def rate(rounds: int, quick: bool) -> list[Row]:
    """Compare the two, with a network and with nothing at the end."""
    items = 5_000 if quick else 40_000
    rows = []
    for name, consume in (("a small network", _network()), ("nothing", None)):
        rows += compare(
            f"items/s, the consumer is {name}",
            {
                BASELINE: lambda consume=consume: one_at_a_time(items, consume),  # type: ignore[misc]
                OURS: lambda consume=consume: in_batches(items, consume),  # type: ignore[misc]
            },
            rounds=rounds,
            bars={OURS: 5.0},
            seconds=0.1 if quick else 1.0,
        )
    ours = next(row for row in rows if row.candidate == OURS)
    share = ours.median / RATE_BAR
    rows.append(
        Row("sustained rate, as a multiple of 20,000 items/s", OURS, ours.median, share, share,
            share, bar=1.0)
    )  # fmt: skip
    return rows


# ---- cost ---------------------------------------------------------------------------------------


def cost(rounds: int, quick: bool) -> list[Row]:
    """Measure the CPU time of the batcher alone, for items that come singly and in lists."""
    items = 20_000 if quick else 200_000
    rows = []
    for chunk in (1, 64):
        figures = []
        for _ in range(rounds):
            batcher = Batcher(Fixed(64, 1.0), capacity=1024)
            some = list(range(chunk))
            gc.collect()
            start = time.process_time()
            for number in range(items // chunk):
                now = number * 1e-6
                batcher.offer(some, now)
                batch = batcher.poll(now)
                if batch is not None:
                    batcher.answered(batch, now)
            figures.append((time.process_time() - start) / (items // chunk * chunk) * 1e6)
        shares = [figure / COST_BAR for figure in figures]
        rows.append(
            Row("CPU of the batcher for an item, as a share of 20 microseconds",
                f"items in lists of {chunk}", float(np.median(figures)), float(np.median(shares)),
                min(shares), max(shares), bar=1.0, unit="us", at_most=True)
        )  # fmt: skip
    return rows


# ---- soak ---------------------------------------------------------------------------------------


LARGEST, ITEM_BYTES = 1500, 8  # numbers in a frame, at most, and bytes of each


def soak(_rounds: int, quick: bool) -> list[Row]:
    """Run a mixed load for minutes, and compare memory in the second and the last quarter."""
    seconds = 20.0 if quick else 600.0
    camera = Camera(500, lambda number: np.full(LARGEST - number % 500, 1.0), jitter=0.001, seed=1)
    pipeline = Pipeline(camera, _average, max_batch=64, objective=0.05, capacity=256,
                        policy="drop_oldest")  # fmt: skip
    readings: list[int] = []
    exact, most = True, 0
    begin = camera.clock.now()
    with pipeline:
        while (elapsed := camera.clock.now() - begin) < seconds:
            # Quiet, busy, flooded, by turns; the consumer is slow in the last of them.
            phase = int(elapsed / (seconds / 20)) % 3
            wanted = (100.0, 1000.0, 5000.0)[phase]
            if camera.rate != wanted:
                camera.rate = wanted
            batch = pipeline.get()
            camera.clock.sleep(0.02 if phase == 2 else 0.001 * len(batch) / 8)
            if elapsed >= len(readings) * seconds / 40:
                counts = pipeline.counts()
                exact = exact and counts.exact
                most = max(most, counts.in_flight)
                readings.append(read_memory().host or 0)
        bound = pipeline.memory_bound()
    counts = pipeline.counts()
    exact = exact and counts.exact and counts.in_flight == 0
    held = most * LARGEST * ITEM_BYTES <= bound
    quarter = len(readings) // 4
    early = float(np.median(readings[quarter : 2 * quarter]))
    late = float(np.median(readings[-quarter:]))
    note = (
        f"{counts.produced:,} items, {counts.lost:,} dropped, at most {most} in flight, counters "
        f"exact: {exact}, bound of {bound / MEGABYTE:.1f} MB held: {held}"
    )
    allowed = 4.0  # MB, as for the loader's long run
    growth = (late - early) / MEGABYTE
    share = growth / allowed if exact and held else math.inf
    return [
        Row("memory, last quarter less second, as a share of 4 MB", OURS, growth, share, share,
            share, bar=1.0, unit="MB", at_most=True, note=note)
    ]  # fmt: skip


def _average(frame: Stamped) -> float:
    return float(frame.data.mean())


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each candidate (7)")
    parser.add_argument("--quick", action="store_true", help="small and short, to see that it runs")
    parser.add_argument("--only", default="", help="rate, cost, load, soak or align")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--plot", type=Path, help="write the picture of the doubling load here")
    options = parser.parse_args()
    parts: dict[str, Callable[[int, bool], list[Row]]] = {
        "rate": rate,
        "cost": cost,
        "load": lambda rounds, quick: load(rounds, quick, options.plot),
        "soak": soak,
        "align": align,
    }
    if options.only and options.only not in parts:
        parser.error(f"--only must be one of {', '.join(parts)}, but got {options.only!r}")
    about = machine()
    torch.set_num_threads(1)
    rows = [
        row
        for name, part in parts.items()
        if options.only in ("", name)
        for row in part(options.rounds, options.quick)
    ]
    report(rows, about, options.json)
    sys.exit(any(row.reached is False for row in rows) and not options.quick)


if __name__ == "__main__":
    main()
