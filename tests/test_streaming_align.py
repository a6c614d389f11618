"""Aligning sensors, against a brute-force search over the whole recording."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlkit.streaming import Aligner, ClockOffset, Stamped, align

RATES = {"camera": 30.0, "lidar": 10.0, "imu": 100.0}


@dataclass
class Log:
    """A recording: in the order of arrival (time, stream, item)."""

    events: list

    def accepted(self, stream, lateness):
        """What is not late, by the definition of the watermark alone."""
        latest, kept = -math.inf, []
        for _, name, item in self.events:
            if name == stream:
                if item.stamp >= latest - lateness:
                    kept.append(item)
                latest = max(latest, item.stamp)
        return kept


def record(seed, seconds=2.0, mean_delay=0.004, dropout=0.03, rates=RATES):
    """Sensors with jitter, drop-outs, and delays that let items overtake."""
    rng = np.random.default_rng(seed)
    events = []
    for stream, rate in rates.items():
        stamps = np.arange(0, seconds, 1 / rate) + rng.uniform(0, 1 / rate)
        stamps = stamps + rng.normal(0, 0.1 / rate, len(stamps))
        stamps = stamps[rng.random(len(stamps)) >= dropout]
        arrived = stamps + rng.exponential(mean_delay, len(stamps))
        for number, (stamp, when) in enumerate(zip(stamps, arrived, strict=True)):
            events.append((float(when), stream, Stamped(float(stamp), f"{stream} {number}")))
    return Log(sorted(events, key=lambda event: event[0]))


def brute_force(log, tolerance, lateness, match="nearest", missing="none"):
    """For each item of the camera the nearest of all others, looked for everywhere."""
    found = {}
    others = {name: log.accepted(name, lateness) for name in RATES if name != "camera"}
    for lead in sorted(log.accepted("camera", lateness), key=lambda item: item.stamp):
        sample = {"camera": lead}
        for name, items in others.items():
            near = [
                (abs(item.stamp - lead.stamp), item.stamp, place, item)
                for place, item in enumerate(items)
                if abs(item.stamp - lead.stamp) <= tolerance
                and (match == "nearest" or item.stamp <= lead.stamp)
            ]
            sample[name] = min(near)[3] if near else None
        if missing == "none" or None not in sample.values():
            found[lead.stamp] = sample
    return found


def run(log, aligner, chunk=1):
    """Let the machine see the recording as it came; check its counters after each step."""
    samples = []
    for start in range(0, len(log.events), chunk):
        for when, stream, item in log.events[start : start + chunk]:
            aligner.offer(stream, [item], when)
        samples += aligner.poll(log.events[min(start + chunk, len(log.events)) - 1][0])
        assert all(counts.exact for counts in aligner.counts().values())
    for stream in RATES:
        aligner.end(stream)
    samples += aligner.poll(log.events[-1][0])
    for counts in aligner.counts().values():
        assert counts.exact
        assert counts.in_flight == 0
    return samples


def test_of_1000_random_streams_999_in_1000_samples_are_what_brute_force_finds():
    agree = total = 0
    for seed in range(1000):
        log = record(seed, seconds=1.0)
        aligner = Aligner(list(RATES), 0.02, missing="none", lateness=0.02)
        ours = {sample.stamp: sample.items for sample in run(log, aligner, chunk=1 + seed % 7)}
        theirs = brute_force(log, 0.02, 0.02)
        total += len(theirs.keys() | ours.keys())
        agree += sum(ours.get(stamp) == items for stamp, items in theirs.items())
    assert total > 25_000
    assert agree >= 0.999 * total


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.005, 0.05]),
    st.sampled_from([0.0, 0.01, 0.1]),
    st.sampled_from(["nearest", "before"]),
    st.sampled_from(["drop", "none"]),
    st.sampled_from([0.001, 0.01, 0.05]),
)
def test_aligning_is_searching_the_recording_whatever_the_policies(
    seed, tolerance, lateness, match, missing, mean_delay
):
    log = record(seed, seconds=0.7, mean_delay=mean_delay)
    aligner = Aligner(list(RATES), tolerance, match=match, missing=missing, lateness=lateness)
    samples = run(log, aligner)
    assert {s.stamp: s.items for s in samples} == brute_force(
        log, tolerance, lateness, match, missing
    )
    stamps = [sample.stamp for sample in samples]
    assert stamps == sorted(stamps)


def test_samples_do_not_depend_on_which_stream_is_faster():
    log = record(5)
    found = []
    for late_stream in RATES:
        events = sorted(
            log.events, key=lambda event: event[0] + (0.5 if event[1] == late_stream else 0.0)
        )
        aligner = Aligner(list(RATES), 0.02, lateness=0.02)
        found.append([sample.items for sample in run(Log(events), aligner)])
    assert found[0] == found[1] == found[2]
    assert found[0]


def test_of_two_items_as_near_the_earlier_one_is_taken():
    aligner = Aligner(["camera", "lidar"], 0.5)
    aligner.offer("lidar", [Stamped(0.75, "early"), Stamped(1.25, "late")], now=0.0)
    aligner.offer("camera", [Stamped(1.0, "image")], now=0.0)
    assert aligner.poll(now=0.0)[0].items["lidar"].data == "early"


def test_a_sample_leaves_as_soon_as_nothing_nearer_can_come():
    aligner = Aligner(["camera", "lidar"], tolerance=1.0)
    aligner.offer("camera", [Stamped(5.0, "image")], now=0.0)
    aligner.offer("lidar", [Stamped(4.9, "scan")], now=0.0)
    assert aligner.poll(now=0.0) == []  # one at 5.05 would be nearer
    aligner.offer("lidar", [Stamped(5.2, "next")], now=0.1)
    (sample,) = aligner.poll(now=0.1)  # and not at 6.0, where the tolerance ends
    assert (sample.items["lidar"].data, sample.waited) == ("scan", 0.1)


def test_a_silent_stream_is_waited_for_only_as_long_as_told():
    aligner = Aligner(["camera", "lidar"], 0.1, missing="none", max_wait=0.25)
    aligner.offer("camera", [Stamped(1.0, "image")], now=10.0)
    assert aligner.poll(now=10.2) == []
    assert aligner.due() == 10.25
    (sample,) = aligner.poll(now=10.25)
    assert sample.items["lidar"] is None
    aligner.offer("camera", [Stamped(0.5, "earlier than what has left")], now=10.3)
    assert aligner.counts()["camera"].dropped == {"late": 1}


def test_a_missing_item_can_be_replaced_by_the_last_one_before():
    aligner = Aligner(["camera", "lidar"], 0.05, missing="hold")
    aligner.offer("camera", [Stamped(float(k), k) for k in range(3)], now=0.0)
    aligner.offer("lidar", [Stamped(0.5, "old"), Stamped(9.0, "future")], now=0.0)
    samples = aligner.poll(now=0.0)
    assert [sample.items["lidar"].data for sample in samples] == ["old", "old"]
    assert aligner.counts()["camera"].dropped == {"missing": 1}  # nothing was before the first


def test_a_stamp_that_is_no_time_is_refused_or_counted():
    strict, tolerant = Aligner(["radar"], 0.1), Aligner(["radar"], 0.1, invalid="drop")
    with pytest.raises(ValueError, match="stream 'radar' gave nan"):
        strict.offer("radar", [Stamped(math.nan, 0)], now=0.0)
    tolerant.offer("radar", [Stamped(math.nan, 0), Stamped(math.inf, 0)], now=0.0)
    for aligner, count in ((strict, 1), (tolerant, 2)):
        assert aligner.counts()["radar"].dropped == {"invalid": count}
        assert aligner.counts()["radar"].exact


def test_memory_is_bounded_when_the_reference_is_silent():
    aligner = Aligner(["camera", "imu"], 0.1, capacity=50)
    for k in range(500):
        aligner.offer("imu", [Stamped(k / 100, k)], now=k / 100)
    counts = aligner.counts()["imu"]
    assert counts.in_flight == 50
    assert counts.dropped == {"overflow": 450}


def test_memory_is_bounded_when_another_stream_is_silent():
    aligner = Aligner(["camera", "imu"], 0.1, capacity=50)
    for k in range(500):
        aligner.offer("camera", [Stamped(k / 100, k)], now=k / 100)
    assert aligner.counts()["camera"].in_flight == 50
    assert aligner.counts()["camera"].exact


def test_items_that_no_sample_can_want_any_more_are_let_go():
    aligner = Aligner(["camera", "imu"], 0.02)
    most = 0
    for k in range(3000):
        aligner.offer("imu", [Stamped(k / 100, k)], now=k / 100)
        if k % 10 == 0:
            aligner.offer("camera", [Stamped(k / 100, k)], now=k / 100)
        aligner.poll(now=k / 100)
        most = max(most, aligner.counts()["imu"].in_flight)
    assert most < 20


def test_a_clock_that_is_ahead_is_measured_and_taken_out():
    rng = np.random.default_rng(0)
    clock = ClockOffset(window=500)
    for k in range(2000):
        clock.seen(stamp=k / 10 + 0.35, arrived=k / 10 + rng.exponential(0.02))
    assert clock.offset == pytest.approx(0.35, abs=0.001)
    streams = ["camera", "lidar"]
    plain, corrected = Aligner(streams, 0.02), Aligner(streams, 0.02, offsets={"lidar": 0.35})
    for aligner in (plain, corrected):
        for k in range(100):
            aligner.offer("camera", [Stamped(k * 1.0, k)], now=float(k))
            aligner.offer("lidar", [Stamped(k + 0.35, k)], now=float(k))
    assert len(plain.poll(now=100.0)) == 0
    assert len(corrected.poll(now=100.0)) >= 99


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60), st.integers(1, 10))
def test_the_offset_is_the_smallest_difference_of_the_last_items(differences, window):
    clock = ClockOffset(window=window)
    for place, difference in enumerate(differences):
        clock.seen(stamp=0.0, arrived=difference)
        recent = differences[max(0, place + 1 - window) : place + 1]
        assert clock.offset == -min(recent)


def test_streams_are_read_by_threads_and_aligned_into_one_source():
    log = record(7, mean_delay=0.0, dropout=0.0)
    streams = {name: [item for _, n, item in log.events if n == name] for name in RATES}
    samples = list(align(streams, 0.02, missing="none"))
    expected = brute_force(Log([(0.0, n, i) for n in RATES for i in streams[n]]), 0.02, math.inf)
    assert {sample.stamp: sample.items for sample in samples} == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"streams": [], "tolerance": 0.1}, "streams must have different names"),
        ({"streams": ["a", "a"], "tolerance": 0.1}, "streams must have different names"),
        ({"streams": ["a"], "tolerance": -0.1}, "tolerance of 'a' must be a finite number"),
        ({"streams": ["a"], "tolerance": math.nan}, "tolerance of 'a' must be a finite number"),
        ({"streams": ["a"], "tolerance": {"b": 1.0}}, r"tolerance names \['b'\]"),
        ({"streams": ["a"], "tolerance": 0.1, "lateness": -1}, "lateness of 'a'"),
        ({"streams": ["a"], "tolerance": 0.1, "reference": "b"}, 'reference must be "a"'),
        ({"streams": ["a"], "tolerance": 0.1, "match": "any"}, 'match must be "nearest"'),
        ({"streams": ["a"], "tolerance": 0.1, "missing": "x"}, 'missing must be "drop"'),
        ({"streams": ["a"], "tolerance": 0.1, "late": "x"}, 'late must be "drop"'),
        ({"streams": ["a"], "tolerance": 0.1, "max_wait": -1}, "max_wait must be"),
        ({"streams": ["a"], "tolerance": 0.1, "capacity": 0}, "capacity must be"),
    ],
)
def test_an_aligner_refuses_what_it_cannot_do(arguments, words):
    with pytest.raises(ValueError, match=words):
        Aligner(**arguments)
