"""The streaming machines on a simulated clock: counters, policies, deadlines, adaptation."""

import math
from collections import deque
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlkit.streaming import (
    POLICIES,
    Adaptive,
    Backoff,
    Batcher,
    Buffer,
    Camera,
    EndOfStream,
    Fixed,
    Flow,
    Latencies,
    Memory,
    MemoryGuard,
    Merger,
    Replay,
    Restarting,
    SimulatedClock,
    Stamped,
    Steady,
    StreamError,
    Watchdog,
    Windower,
)
from dlkit.streaming.simulated import simulate, steps
from dlkit.streaming.stats import Meter

# ---- buffer: a queue with a policy at its door --------------------------------------------------

moves = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(0, 6)),
        st.tuples(st.just("take"), st.integers(0, 6)),
        st.tuples(st.just("wait"), st.integers(0, 3)),
    ),
    max_size=40,
)


@given(moves, st.sampled_from(POLICIES), st.integers(1, 5), st.sampled_from([None, 2.0]))
def test_a_buffer_does_what_a_plain_list_would(moves, policy, capacity, max_age):
    buffer, clock, number = Buffer(capacity, policy, max_age, seed=3), 0.0, 0
    lot, model, produced, taken = Random(3), [], 0, 0

    def expire():
        nonlocal model
        if max_age is not None:
            while model and model[0][1] < clock - max_age:
                model.pop(0)

    for move, amount in moves:
        if move == "wait":
            clock += amount
        elif move == "take":
            expire()
            items, times = buffer.take(amount, clock)
            expected, model = model[:amount], model[amount:]
            assert list(zip(items, times, strict=True)) == expected
            taken += len(items)
        else:
            offered = list(range(number, number + amount))
            number += amount
            settled = buffer.offer(offered, clock)
            if amount > capacity - len(model):
                expire()
            for place, item in enumerate(offered):
                if len(model) < capacity:
                    model.append((item, clock))
                elif policy == "block":
                    assert settled == place
                    break
                else:
                    loser = {"drop_oldest": 0, "drop_newest": capacity}.get(policy)
                    loser = lot.randrange(capacity + 1) if loser is None else loser
                    model.append((item, clock))
                    del model[loser]
            else:
                assert settled == amount
            produced += settled
        counts = buffer.counts()
        assert counts.exact
        assert (counts.produced, counts.delivered, counts.in_flight) == (
            produced,
            taken,
            len(model),
        )


def test_a_buffer_of_a_thousand_items_takes_and_gives_them_in_whole_lists():
    buffer = Buffer(1000)
    assert buffer.offer(range(1200), now=1.0) == 1000
    items, times = buffer.take(1000, now=2.0)
    assert items == list(range(1000))
    assert set(times) == {1.0}


def test_sampling_keeps_old_and_new_items_with_the_same_chance_of_each_lot():
    # With room for 1, item k of n is left if it wins its own lot and all after it.
    left = [0, 0, 0]
    for seed in range(4000):
        buffer = Buffer(1, "sample", seed=seed)
        buffer.offer([0, 1, 2], now=0.0)
        left[buffer.take(1, now=0.0)[0][0]] += 1
    assert np.allclose(np.array(left) / 4000, [1 / 4, 1 / 4, 1 / 2], atol=0.03)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"capacity": 0}, "capacity must be a positive integer, but got 0"),
        ({"capacity": 2.5}, "capacity must be a positive integer"),
        ({"capacity": 1, "policy": "drop"}, 'policy must be "block", "drop_oldest", "drop_newest"'),
        ({"capacity": 1, "max_age": -1.0}, "max_age must be a finite number of seconds above 0"),
        ({"capacity": 1, "max_age": math.nan}, "max_age must be a finite number"),
    ],
)
def test_a_buffer_refuses_what_it_cannot_be(arguments, words):
    with pytest.raises(ValueError, match=words):
        Buffer(**arguments)


# ---- batcher: full, or due ----------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=60),
    st.integers(1, 6),
    st.integers(0, 8),
)
def test_a_batch_leaves_when_it_is_full_or_its_oldest_item_has_waited_long_enough(
    gaps, size, delay
):
    batcher = Batcher(Fixed(size, float(delay)), capacity=1000)
    arrivals = list(np.cumsum(gaps))
    left = []
    for now in range(int(arrivals[-1]) + delay + 1):
        batcher.offer([place for place, when in enumerate(arrivals) if when == now], float(now))
        while (batch := batcher.poll(float(now))) is not None:
            assert len(batch) == size or now - batch.arrived[0] >= delay
            assert len(batch) <= size
            left += batch.items
            assert now - batch.arrived[0] <= delay  # nobody was busy: never later than due
        waiting = len(batcher.buffer)
        assert waiting < size
        assert waiting == 0 or batcher.due() > now
    assert left == list(range(len(arrivals)))


def test_what_is_left_at_the_end_leaves_at_once():
    batcher = Batcher(Fixed(4, delay=100.0))
    batcher.offer("ab", now=0.0)
    assert batcher.poll(now=1.0) is None
    batcher.end()
    assert batcher.poll(now=1.0).items == ["a", "b"]


def test_items_that_are_too_old_for_an_answer_are_dropped_and_counted():
    batcher = Batcher(Fixed(2, delay=0.0), max_age=1.0)
    batcher.offer("ab", now=0.0)
    batcher.offer("cd", now=1.5)
    assert batcher.poll(now=1.5).items == ["c", "d"]
    assert batcher.counts().dropped == {"max_age": 2}
    assert batcher.counts().exact


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Fixed(0, 0.1), "size must be a positive integer"),
        (lambda: Fixed(1, -0.1), "delay must be a finite number of seconds, 0 or more"),
        (lambda: Fixed(1, math.nan), "delay must be a finite number"),
        (lambda: Watchdog(0.0), "patience must be a finite number of seconds above 0"),
        (lambda: Adaptive(0.0), "objective must be a finite number of seconds above 0"),
        (lambda: Adaptive(1.0, percentile=1.0), "percentile must be a share from 0 to below 1"),
        (lambda: Batcher(Fixed(8, 0.1), capacity=4), "capacity must be at least 8, or no batch"),
    ],
)
def test_a_batcher_refuses_what_it_cannot_hold(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# ---- adaptive -----------------------------------------------------------------------------------


def service(items):
    """2 ms for a batch and 0.25 for each item: 444 items/s one by one, 3,555 in batches of 64."""
    return 0.002 + 0.00025 * items


CAPACITY = 64 / service(64)  # items/s in batches of 64
OBJECTIVE = 0.060


def run_steps(sizing, count=8):
    arrivals, plan = steps(first=25, factor=2, count=count, seconds=5.0, seed=1)
    run = simulate(arrivals, Batcher(sizing, capacity=100_000), service)
    assert run.counts.exact
    return [(rate, run.percentile(0.99, start + 1, start + 5)) for start, rate in plan]


def test_adaptive_batches_hold_the_objective_while_there_is_capacity():
    for rate, p99 in run_steps(Adaptive(OBJECTIVE, max_batch=64)):
        assert rate < CAPACITY
        assert p99 <= OBJECTIVE, f"at {rate:.0f}/s"


def test_fixed_batches_of_one_fail_under_load_and_fixed_batches_of_64_fail_without_it():
    one = dict(run_steps(Fixed(1, 0.0), count=6))
    full = dict(run_steps(Fixed(64, 10.0)))
    assert one[25] < OBJECTIVE < one[800]
    assert full[25] > OBJECTIVE > full[3200]


def test_adaptive_batches_are_as_large_as_the_objective_allows_and_no_larger_than_needed():
    arrivals, _ = steps(first=200, factor=1, count=1, seconds=30.0, seed=1)
    tight = simulate(arrivals, Batcher(Adaptive(0.020)), service)
    loose = simulate(arrivals, Batcher(Adaptive(0.200)), service)
    assert loose.sizes.mean() > 2 * tight.sizes.mean()
    assert tight.percentile(0.99) <= 0.020
    assert loose.percentile(0.99) <= 0.200


def test_a_size_that_was_slow_once_is_not_avoided_for_ever():
    sizing = Adaptive(objective=0.1, max_batch=64)
    sizing.served(64, 5.0)  # the first call of a model
    for _ in range(100):
        sizing.served(sizing.size, 0.002)
    assert sizing.size == 64


def test_waiting_is_cut_when_the_objective_is_missed_and_grows_when_it_is_held():
    sizing = Adaptive(objective=0.1)
    sizing.served(1, 0.001)
    seen = Latencies(span=1.0)
    delays = []
    for second in range(1, 6):
        seen.add([0.2] * 100, now=float(second))
        sizing.measured(seen, now=float(second))
        delays.append(sizing.delay)
    assert delays == sorted(delays, reverse=True)
    assert delays[-1] < delays[0] / 4
    lowest = sizing.delay
    for second in range(10, 40):
        seen.add([0.01] * 100, now=float(second))
        sizing.measured(seen, now=float(second))
    assert lowest < sizing.delay <= 0.1


# ---- the whole way ------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_item_is_delivered_in_order_or_dropped_and_counted_or_in_flight(data):
    policy = data.draw(st.sampled_from(POLICIES))
    staged = data.draw(st.booleans())
    capacity = data.draw(st.integers(1, 8))
    size = data.draw(st.integers(1, 4))
    max_age = data.draw(st.sampled_from([None, 1.5]))
    sizing = Fixed(size, data.draw(st.sampled_from([0.0, 1.0])))
    if staged:
        batcher = Batcher(sizing, capacity=max(size, 4), max_age=max_age)
        flow = Flow(batcher, Buffer(capacity, policy, max_age), chunk=3)
    else:
        flow = Flow(Batcher(sizing, max(size, capacity), policy, max_age))
    clock, number, tickets, out, failed = SimulatedClock(), 0, [], [], 0
    for _ in range(data.draw(st.integers(0, 40))):
        move = data.draw(st.sampled_from(["arrive", "claim", "finish", "poll", "wait", "let in"]))
        now = clock.now()
        if move == "arrive" and not flow.blocked:
            count = data.draw(st.integers(0, 5))
            flow.arrive(list(range(number, number + count)), now)
            number += count
        elif move == "claim" and (ticket := flow.claim(now, share=2)) is not None:
            tickets.append(ticket)
        elif move == "finish" and tickets:
            ticket = tickets.pop(data.draw(st.integers(0, len(tickets) - 1)))
            kept = [p for p in range(len(ticket.items)) if data.draw(st.integers(0, 4))]
            failed += len(ticket.items) - len(kept)
            flow.finish(ticket, [ticket.items[p] for p in kept], now, kept)
        elif move == "poll" and (batch := flow.poll(now)) is not None:
            out += batch.items
        elif move == "wait":
            clock.advance(data.draw(st.sampled_from([0.5, 1.0, 2.0])))
        elif move == "let in":
            flow.let_in(now)
        counts = flow.counts()
        assert counts.exact
        assert counts.produced == number
        assert counts.delivered == len(out)
        assert counts.dropped.get("failed", 0) == failed
        assert all(count >= 0 for count in counts.dropped.values())
    assert out == sorted(out)
    assert len(set(out)) == len(out)
    flow.clear("stopped")
    for ticket in tickets:
        flow.finish(ticket, list(ticket.items), clock.now())
    flow.clear("stopped")
    counts = flow.counts()
    assert counts.exact
    assert counts.in_flight == 0


def test_preprocessed_items_are_never_more_than_their_box_holds():
    flow = Flow(Batcher(Fixed(2, 0.0), capacity=4), Buffer(100), chunk=3)
    flow.arrive(list(range(50)), now=0.0)
    tickets = [flow.claim(0.0), flow.claim(0.0)]
    assert [len(ticket.items) for ticket in tickets] == [3, 1]
    assert flow.claim(0.0) is None
    for ticket in tickets:
        flow.finish(ticket, ticket.items, now=0.0)
    assert flow.claim(0.0) is None
    assert flow.poll(0.0).items == [0, 1]
    assert len(flow.claim(0.0).items) == 2


def test_simulated_batches_wait_as_littles_law_says():
    arrivals, _ = steps(first=300, factor=1, count=1, seconds=20.0, seed=2)
    run = simulate(arrivals, Batcher(Fixed(16, 0.03), capacity=10_000), service)
    waits = run.formed - run.arrived
    rate = len(waits) / run.seconds
    assert run.mean_waiting == pytest.approx(rate * waits.mean(), rel=1e-6)


def test_a_simulated_stream_answers_as_a_loop_by_hand_would():
    rng = np.random.default_rng(0)
    arrivals = np.cumsum(rng.exponential(0.004, 500))
    run = simulate(arrivals, Batcher(Fixed(4, 0.01), capacity=1000), service)
    waiting, free, place, expected = deque(), 0.0, 0, []
    while place < 500 or waiting:
        if not waiting:
            waiting.append(arrivals[place])
            place += 1
        # It leaves with its fourth item, or 10 ms after its first, when the server is free.
        while True:
            full = len(waiting) >= 4
            when = max(free, waiting[3] if full else waiting[0] + 0.01)
            if place < 500 and arrivals[place] <= when and not full:
                waiting.append(arrivals[place])
                place += 1
            else:
                break
        batch = [waiting.popleft() for _ in range(min(4, len(waiting)))]
        free = when + service(len(batch))
        expected += [free] * len(batch)
    assert np.allclose(run.answered, expected)


# ---- percentiles and rates ----------------------------------------------------------------------


@given(
    st.lists(st.floats(1e-5, 100.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99])
)
def test_a_percentile_is_at_most_4_percent_above_the_exact_one_and_never_below(values, share):
    seen = Latencies()
    seen.add(values, now=0.0)
    exact = float(np.quantile(values, share, method="inverted_cdf"))
    assert exact <= seen.quantile(share) * (1 + 1e-9)
    assert seen.quantile(share) <= exact * 1.04 * (1 + 1e-9)


def test_recent_percentiles_forget_the_past_and_all_of_them_do_not():
    seen = Latencies(span=1.0)
    seen.add([1.0] * 10, now=0.0)
    seen.add([0.01] * 10, now=5.0)
    assert seen.quantile(0.99, now=5.0) < 0.011
    assert seen.quantile(0.99) >= 1.0
    assert math.isnan(seen.quantile(0.5, now=50.0))
    assert seen.count == 20


def test_a_rate_is_of_the_recent_past():
    meter = Meter(span=1.0)
    for tick in range(100):
        meter.add(1, now=tick / 10)
    assert meter.rate(now=9.95) == pytest.approx(10.0, rel=0.1)
    assert meter.rate(now=30.0) < 1.0


# ---- merge --------------------------------------------------------------------------------------

offers = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), max_size=30)


@given(offers, st.sampled_from(["arrival", "round_robin", "priority"]))
def test_a_merge_loses_nothing_and_keeps_the_order_within_each_stream(offers, policy):
    merger = Merger(["a", "b", "c"], policy)
    for name, value in offers:
        merger.offer(name, [value], now=0.0)
    out = merger.poll(now=0.0)
    for name in "abc":
        assert [v for n, v in out if n == name] == [v for n, v in offers if n == name]
    if policy == "arrival":
        assert out == offers
    if policy == "priority":
        assert [n for n, _ in out] == sorted(n for n, _ in offers)
    assert merger.counts().exact
    assert merger.counts().delivered == len(offers)


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)))
def test_a_round_robin_takes_one_of_each_in_turn(a, b, c):
    merger = Merger(["a", "b", "c"], "round_robin", tag=False)
    for name, values in zip("abc", (a, b, c), strict=True):
        merger.offer(name, values, now=0.0)
    expected = [
        values[k] for k in range(max(map(len, (a, b, c)), default=0)) for values in (a, b, c)
        if k < len(values)
    ]  # fmt: skip
    assert sorted(merger.poll(0.0)) == sorted(expected)
    if len({len(a), len(b), len(c)}) == 1:
        merger.offer("a", a, now=0.0), merger.offer("b", b, now=0.0), merger.offer("c", c, now=0.0)
        assert merger.poll(0.0) == expected


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 99)), max_size=30), st.data())
def test_a_merge_by_time_stamp_is_what_sorting_the_whole_recording_gives(entries, data):
    entries.sort(key=lambda entry: entry[1])
    queues = {name: [Stamped(t, name) for n, t in entries if n == name] for name in "ab"}
    merger, out = Merger(["a", "b"], "timestamp", tag=False), []
    while any(queues.values()):
        name = data.draw(st.sampled_from([name for name in "ab" if queues[name]]))
        merger.offer(name, [queues[name].pop(0)], now=0.0)
        if not queues[name]:
            merger.end(name)
        out += merger.poll(now=0.0)
    merger.end("a"), merger.end("b")
    out += merger.poll(now=0.0)
    assert [item.stamp for item in out] == [stamp for _, stamp in entries]
    assert merger.late == 0


def test_a_merge_by_time_stamp_waits_for_a_silent_stream_only_as_long_as_told():
    merger = Merger(["a", "b"], "timestamp", max_wait=1.0, late="drop", tag=False)
    merger.offer("a", [Stamped(5.0, "first")], now=0.0)
    assert merger.poll(now=0.9) == []
    assert merger.due() == 1.0
    assert [item.data for item in merger.poll(now=1.0)] == ["first"]
    merger.offer("b", [Stamped(4.0, "too late"), Stamped(6.0, "second")], now=1.1)
    merger.end("a")
    assert [item.data for item in merger.poll(now=1.1)] == ["second"]
    assert merger.late == 1
    assert merger.counts().dropped == {"late": 1}
    assert merger.counts().exact


def test_a_stream_with_enough_waiting_is_told_to_wait():
    merger = Merger(["a"], capacity=2)
    merger.offer("a", [1, 2], now=0.0)
    assert merger.blocked("a")
    merger.poll(now=0.0)
    assert not merger.blocked("a")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Merger([]), "streams must have different names"),
        (lambda: Merger(["a", "a"]), "streams must have different names"),
        (lambda: Merger(["a"], "fastest"), 'policy must be "arrival", "round_robin"'),
        (lambda: Merger(["a"], "arrival", max_wait=1.0), "max_wait is for policy='timestamp'"),
    ],
)
def test_a_merge_refuses_what_it_cannot_do(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_time_stamp_that_is_no_time_is_refused_with_its_stream():
    merger = Merger(["radar"], "timestamp")
    with pytest.raises(ValueError, match="stream 'radar' gave nan"):
        merger.offer("radar", [Stamped(math.nan, 1)], now=0.0)
    with pytest.raises(TypeError, match="stream 'radar' gave None"):
        merger.offer("radar", [Stamped(None, 1)], now=0.0)


# ---- windows ------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(1, 6), st.integers(1, 8))
def test_windows_by_count_are_slices(items, size, step):
    windower = Windower(size, step)
    found = windower.offer(range(items)) + windower.end()
    expected = [list(range(items))[k : k + size] for k in range(0, items, step)]
    assert [window.items for window in found] == [slice_ for slice_ in expected if slice_]


@given(
    st.lists(st.integers(0, 60), max_size=40),
    st.integers(1, 8),
    st.integers(1, 10),
    st.integers(0, 5),
)
def test_windows_by_time_hold_what_was_seen_in_them_and_not_late(stamps, size, step, lateness):
    windower = Windower(float(size), float(step), by="time", lateness=float(lateness))
    found = windower.offer([Stamped(float(s), k) for k, s in enumerate(stamps)]) + windower.end()
    expected = {}
    watermark = -math.inf
    late = 0
    for number, stamp in enumerate(stamps):
        belongs = [k for k in range(-20, 70) if k * step <= stamp < k * step + size]
        still = [k for k in belongs if k * step + size > watermark]
        late += bool(belongs) and not still
        for k in still:
            expected.setdefault(k, []).append((stamp, number))
        watermark = max(watermark, stamp - lateness)
    expected = {k: [n for _, n in sorted(v, key=lambda e: e[0])] for k, v in expected.items()}
    assert {round(w.start / step): [item.data for item in w.items] for w in found} == expected
    assert windower.late == late
    starts = [window.start for window in found]
    assert len(set(starts)) == len(starts)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 0}, "size must be a positive integer"),
        ({"size": 2, "step": 0}, "step must be a positive integer"),
        ({"size": 0.0, "by": "time"}, "size must be a finite number of seconds above 0"),
        ({"size": 1, "by": "space"}, 'by must be "count" or "time"'),
        ({"size": 1, "lateness": -1}, "lateness must be a finite number of seconds, 0 or more"),
    ],
)
def test_a_window_refuses_what_it_cannot_be(arguments, words):
    with pytest.raises(ValueError, match=words):
        Windower(**arguments)


# ---- clocks, cameras, recordings ----------------------------------------------------------------


def test_a_clock_that_is_set_back_does_not_hold_a_batch():
    wrong = SimulatedClock(1000.0)
    clock = Steady(wrong)
    batcher = Batcher(Fixed(10, delay=0.5))
    batcher.offer(["item"], clock.now())
    wrong.jump(-3600.0)
    assert batcher.poll(clock.now()) is None
    wrong.advance(0.5)
    assert batcher.poll(clock.now()).items == ["item"]
    assert clock.jumps == 1


def test_a_leap_forward_is_believed_unless_a_longest_step_is_given():
    wrong = SimulatedClock()
    believing, doubting = Steady(wrong), Steady(wrong, longest_step=10.0)
    wrong.jump(3600.0)
    assert believing.now() == 3600.0
    assert doubting.now() == 0.0
    assert (believing.jumps, doubting.jumps) == (0, 1)


def test_a_camera_keeps_its_rate_loses_its_share_and_never_lets_frames_overtake():
    clock = SimulatedClock()
    camera = Camera(100, jitter=0.02, dropout=0.2, frames=5000, seed=1, clock=clock)
    frames, arrivals = [], []
    for _ in range(60_000):
        clock.advance(0.001)
        got = camera.due(clock.now())
        frames += got
        arrivals += [clock.now()] * len(got)
    numbers = [frame.data for frame in frames]
    assert numbers == sorted(set(numbers))
    assert len(frames) + camera.lost == 5000
    assert 0.17 < camera.lost / 5000 < 0.23
    delays = np.array(arrivals) - [frame.stamp for frame in frames]
    assert delays.min() >= -1e-9
    assert delays.mean() > 0.02
    with pytest.raises(EndOfStream):
        camera.read(1)


def test_the_rate_of_a_camera_can_be_changed_while_it_runs():
    clock = SimulatedClock()
    camera = Camera(10, clock=clock)
    camera.due(clock.now())
    assert len(camera.due(clock.advance(1.0))) == 10
    camera.rate = 1000
    camera.due(clock.advance(0.1))
    assert len(camera.due(clock.advance(1.0))) == 1000


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf, "fast", None])
def test_a_camera_needs_a_rate(rate):
    with pytest.raises(ValueError, match="rate must be a finite number of frames/s above 0"):
        Camera(rate)


def test_a_recording_plays_at_its_speed_and_survives_a_clock_that_was_set_back():
    clock = SimulatedClock()
    replay = Replay("abcd", stamps=[10.0, 11.0, 9.0, 13.0], speed=2.0, clock=clock)
    seen = []
    for _ in range(16):
        seen += [(clock.now(), item) for item in replay.due(clock.now())]
        clock.advance(0.25)
    assert seen == [(0.0, "a"), (0.5, "b"), (0.5, "c"), (1.5, "d")]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Replay("ab", stamps=[1.0]), "stamps must have one time for each item"),
        (lambda: Replay("ab", stamps=[1, 2], speed=0), "speed must be a finite number"),
        (lambda: Replay("ab", stamps=[math.nan, 2]).due(0.0), "time stamps must be finite"),
    ],
)
def test_a_recording_refuses_what_it_cannot_play(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# ---- failures on a simulated clock --------------------------------------------------------------


def test_a_failing_source_is_made_again_after_longer_and_longer_waits():
    clock, times = SimulatedClock(), []

    def make():
        times.append(clock.now())
        if len(times) < 5:
            raise OSError("no camera")
        return ["frame"]

    source = Restarting(make, Backoff(first=1.0, most=3.0, attempts=4), clock)
    assert source.read(1) == ["frame"]
    assert times == [0.0, 1.0, 3.0, 6.0, 9.0]
    assert (source.restarts, len(source.errors)) == (4, 4)


def test_a_source_that_fails_too_often_raises_its_own_error():
    def make():
        raise OSError("no camera")

    source = Restarting(make, Backoff(attempts=3), SimulatedClock())
    with pytest.raises(OSError, match="no camera") as caught:
        source.read(1)
    assert caught.value.__notes__ == ["the source has failed 4 times in a row"]


def test_a_source_may_fail_for_days_and_the_wait_stays_the_longest():
    backoff = Backoff(first=0.1, most=30.0, attempts=5_000)
    assert [backoff.next() for _ in range(5_001)][-2:] == [30.0, None]


def test_waits_are_shortened_by_chance_so_that_many_do_not_come_back_together():
    waits = [Backoff(first=1.0, jitter=0.5, seed=seed).next() for seed in range(50)]
    assert len(set(waits)) == 50
    assert all(0.5 <= wait <= 1.0 for wait in waits)


def test_a_source_must_be_made_by_a_function_to_be_restarted():
    with pytest.raises(TypeError, match="make must be a function"):
        Restarting([1, 2, 3])


def test_a_watchdog_tells_each_silence_once():
    dog = Watchdog(2.0)
    dog.seen(0.0)
    heard = []
    for now in range(1, 20):
        if now == 10:
            dog.seen(10.0)
        if dog.barks(float(now)):
            heard.append(now)
    assert heard == [3, 13]


# ---- memory -------------------------------------------------------------------------------------


def test_batches_shrink_fast_while_memory_is_tight_and_grow_back_slowly():
    used = iter([50, 101, 101, 101, 95, 80, 80, 80])
    guard = MemoryGuard(64, host_limit=100, read=lambda: Memory(host=next(used)), every=1.0)
    sizes = [guard.update(float(now)) for now in range(8)]
    assert sizes == [64, 32, 16, 8, 8, 9, 10, 11]
    assert guard.tight == 3


def test_memory_is_read_no_more_often_than_told():
    calls = []
    guard = MemoryGuard(8, read=lambda: calls.append(1) or Memory(), every=1.0)
    for tick in range(40):
        guard.update(tick / 10)
    assert len(calls) == 4


def test_the_head_room_of_a_gpu_counts_what_pytorch_keeps_unused():
    free = Memory(allocated=30, reserved=50, gpu_free=40, gpu_total=100)
    assert free.headroom == 60
    guard = MemoryGuard(64, headroom=0.2, read=lambda: free, every=1.0)
    assert guard.update(0.0) == 64
    full = Memory(allocated=85, reserved=90, gpu_free=5, gpu_total=100)
    guard = MemoryGuard(64, headroom=0.2, read=lambda: full, every=1.0)
    assert guard.update(0.0) == 32


def test_one_item_at_least_whatever_the_memory():
    guard = MemoryGuard(4, host_limit=1, read=lambda: Memory(host=100), every=1.0)
    assert [guard.update(float(now)) for now in range(4)] == [2, 1, 1, 1]


def test_a_batcher_holds_to_what_memory_allows():
    batcher = Batcher(Fixed(8, 0.0))
    batcher.offer(range(8), now=0.0)
    batcher.limit = 3
    assert batcher.poll(now=0.0).items == [0, 1, 2]


@pytest.mark.parametrize(
    "arguments", [{"host_limit": 0}, {"headroom": 1.0}, {"headroom": -0.1}, {"every": 0.0}]
)
def test_a_guard_refuses_limits_that_are_none(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        MemoryGuard(8, **arguments)


def test_a_late_item_can_be_an_error():
    from dlkit.streaming import Aligner

    aligner = Aligner(["a"], 0.1, late="raise")
    aligner.offer("a", [Stamped(1.0, 0)], now=0.0)
    with pytest.raises(StreamError, match="came after the watermark 1"):
        aligner.offer("a", [Stamped(0.5, 0)], now=0.0)
