"""Latency of three ways of batching while the load doubles, in real time: a part of `streaming`.

load of 25, 50, ... 3,200 items/s  -->  adaptive | batches of 1 | batches of 64  -->  their p99
"""

import math
from pathlib import Path

import numpy as np

from benchmarks.measure import Row
from dlkit.streaming import Camera, MicroBatcher

CALL, FRAME = 0.004, 0.0005  # seconds for a call of the consumer, and for each item of it
OBJECTIVE = 0.150
Points = list[tuple[float, float]]


def under_load(quick: bool, first: float = 25.0, steps: int = 8) -> dict[str, Points]:
    """Run each way of batching under a doubling load, in real time.

    The consumer waits instead of computing, as for an accelerator: 222 items/s one by one, 1,778
    in batches of 64.
    """
    ways: dict[str, dict[str, float | None]] = {
        "adaptive": {"objective": OBJECTIVE, "max_batch": 64},
        "batches of 1": {"max_batch": 1, "max_delay": 0.0},
        "batches of 64": {"max_batch": 64, "max_delay": 10.0},
    }
    step = 1.0 if quick else 5.0
    return {name: _ramp(options, first, steps, step) for name, options in ways.items()}


def _ramp(options: dict[str, float | None], first: float, steps: int, step: float) -> Points:
    camera = Camera(first, jitter=0.2 / (first * 2**steps))
    seen: dict[int, list[float]] = {number: [] for number in range(steps)}
    clock = camera.clock
    with MicroBatcher(camera, capacity=512, policy="drop_oldest", **options) as pipeline:  # type: ignore[arg-type]
        begin, number = clock.now(), 0
        while number < steps:
            batch = pipeline.get()
            clock.sleep(CALL + FRAME * len(batch))
            now = clock.now()
            for arrived in batch.arrived:
                # The first fifth of a step belongs to the change.
                place = (arrived - begin) / step
                if 0 <= place < steps and place % 1 > 0.2:
                    seen[int(place)].append(now - arrived)
            number = int((now - begin) / step)
            if number < steps and camera.rate < first * 2**number:
                camera.rate = first * 2**number
    return [
        (first * 2**number, float(np.quantile(times, 0.99)) if times else math.nan)
        for number, times in seen.items()
    ]


def load(_rounds: int, quick: bool, plot: Path | None = None) -> list[Row]:
    """Say at which share of the loads under capacity each way keeps the objective."""
    curves = under_load(quick)
    capacity = 64 / (CALL + FRAME * 64)
    if plot is not None:
        from dlkit.plots.streaming import under_load as picture
        from dlkit.plots.style import png

        plot.parent.mkdir(parents=True, exist_ok=True)
        plot.write_bytes(png(picture(curves, OBJECTIVE, capacity)))
    rows = []
    for name, points in curves.items():
        # Nine tenths of the capacity: at all of it, a queue of random arrivals has no bound.
        served = [seconds for rate, seconds in points if rate < 0.9 * capacity]
        share = sum(seconds <= OBJECTIVE for seconds in served) / len(served)
        note = " ".join(f"{rate:.0f}/s:{seconds * 1e3:.0f}ms" for rate, seconds in points)
        bar = 1.0 if name == "adaptive" else None
        rows.append(
            Row(f"loads under capacity with p99 under {OBJECTIVE * 1e3:.0f} ms", name, share, share,
                share, share, bar=bar, unit="share", note=note)
        )  # fmt: skip
    return rows
