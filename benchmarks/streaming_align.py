"""Aligned samples against a search over each whole recording: a part of `streaming`."""

import math

import numpy as np

from benchmarks.measure import Row
from dlkit.streaming import Aligner, Stamped


def align(_rounds: int, quick: bool) -> list[Row]:
    """Compare aligned samples with a search over each whole recording."""
    agree = total = 0
    for seed in range(50 if quick else 1000):
        streams, events = _recording(seed)
        aligner = Aligner(list(streams), 0.02, missing="none", lateness=0.02)
        ours = {}
        for when, name, item in events:
            aligner.offer(name, [item], when)
            ours.update({sample.stamp: sample.items for sample in aligner.poll(when)})
        for name in streams:
            aligner.end(name)
        ours.update({sample.stamp: sample.items for sample in aligner.poll(events[-1][0])})
        theirs = _search(events)
        total += len(theirs.keys() | ours.keys())
        agree += sum(ours.get(stamp) == items for stamp, items in theirs.items())
    share = agree / total
    return [
        Row("samples as a brute-force search finds them", "dlkit.streaming.Aligner", share, share,
            share, share, bar=0.999, unit="share", note=f"{total:,} samples")
    ]  # fmt: skip


Event = tuple[float, str, Stamped]


def _recording(seed: int) -> tuple[dict[str, float], list[Event]]:
    rng = np.random.default_rng(seed)
    streams = {"camera": 30.0, "lidar": 10.0, "imu": 100.0}
    events: list[Event] = []
    for name, rate in streams.items():
        stamps = np.arange(0, 2.0, 1 / rate) + rng.normal(0, 0.1 / rate, round(2 * rate))
        stamps = stamps[rng.random(len(stamps)) >= 0.03]
        arrived = stamps + rng.exponential(0.004, len(stamps))
        pairs = zip(arrived.tolist(), stamps.tolist(), strict=True)
        events += [(when, name, Stamped(stamp, number)) for number, (when, stamp) in
                   enumerate(pairs)]  # fmt: skip
    return streams, sorted(events, key=lambda event: event[0])


def _search(events: list[Event]) -> dict[float, dict[str, Stamped | None]]:
    kept: dict[str, list[Stamped]] = {}
    latest: dict[str, float] = {}
    for _, name, item in events:
        if item.stamp >= latest.get(name, -math.inf) - 0.02:
            kept.setdefault(name, []).append(item)
        latest[name] = max(latest.get(name, -math.inf), item.stamp)
    found = {}
    for lead in kept["camera"]:
        sample: dict[str, Stamped | None] = {"camera": lead}
        for name in ("lidar", "imu"):
            near = [
                (abs(item.stamp - lead.stamp), item.stamp, place)
                for place, item in enumerate(kept[name])
                if abs(item.stamp - lead.stamp) <= 0.02
            ]
            sample[name] = kept[name][min(near)[2]] if near else None
        found[lead.stamp] = sample
    return found
