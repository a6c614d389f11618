"""The clock that counts instead of waiting agrees with arithmetic, and with real workers."""

import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dlkit
from dlkit.workers.simulated import simulate

# Halves and quarters add up without rounding, so that times can be compared exactly.
TIMES = st.lists(st.integers(0, 40).map(lambda quarters: quarters / 4), max_size=30)
WORKERS, FACTORS = st.integers(1, 5), st.integers(1, 4)
STEPS = st.integers(0, 20).map(lambda quarters: quarters / 4)


def by_hand(seconds, workers, prefetch_factor, step):
    """When each batch is started, ready and delivered in order, one after the other."""
    limit = workers * prefetch_factor
    started, ready, delivered = [], [], []
    for t, duration in enumerate(seconds):
        submitted = delivered[t - limit] if t >= limit else 0.0
        started.append(max(submitted, ready[t - workers] if t >= workers else 0.0))
        ready.append(started[t] + duration)
        delivered.append(max(ready[t], delivered[t - 1] + step if t else 0.0))
    return list(zip(started, ready, delivered, strict=True))


@given(TIMES, WORKERS, FACTORS, STEPS)
def test_in_order_it_is_the_recurrence(seconds, workers, prefetch_factor, step):
    journeys = simulate(seconds, workers, prefetch_factor, step=step)
    assert [j.number for j in journeys] == list(range(len(seconds)))
    assert [j.worker for j in journeys] == [t % workers for t in range(len(seconds))]
    times = [(j.started, j.ready, j.delivered) for j in journeys]
    assert times == by_hand(seconds, workers, prefetch_factor, step)
    assert all(j.used == j.delivered + step for j in journeys)


@given(TIMES, WORKERS, FACTORS, STEPS, st.booleans())
def test_every_batch_once_no_worker_twice_at_a_time_and_no_more_in_flight_than_allowed(
    seconds, workers, prefetch_factor, step, in_order
):
    journeys = simulate(seconds, workers, prefetch_factor, in_order, step)
    assert sorted(j.number for j in journeys) == list(range(len(seconds)))
    assert all(j.asked <= j.delivered and j.ready <= j.delivered for j in journeys)
    assert all(j.ready - j.started == seconds[j.number] for j in journeys)
    for worker in range(workers):
        own = sorted((j.started, j.ready) for j in journeys if j.worker == worker)
        assert all(before[1] <= after[0] for before, after in pairwise(own))
    # What was begun after k deliveries can only be one of the first k + limit tasks.
    for j in journeys:
        delivered = sum(other.delivered <= j.started for other in journeys)
        assert j.number < delivered + workers * prefetch_factor


@given(TIMES, WORKERS, FACTORS)
def test_out_of_order_a_batch_never_lies_ready_while_training_waits(
    seconds, workers, prefetch_factor
):
    journeys = simulate(seconds, workers, prefetch_factor, in_order=False)
    assert all(j.delivered == j.ready for j in journeys)


@given(TIMES, STEPS)
def test_without_workers_all_times_add_up(seconds, step):
    journeys = simulate(seconds, 0, step=step)
    assert [j.worker for j in journeys] == [None] * len(seconds)
    assert all(j.started == j.asked for j in journeys)
    assert (journeys[-1].used if journeys else 0.0) == sum(seconds) + step * len(seconds)


class FirstIsLast:
    """Sample 0 is read when the last one has been, whatever the speed of the workers."""

    def __init__(self, n):
        self.n, self.last_read = n, threading.Event()

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index == 0:
            assert self.last_read.wait(60)
        if index == self.n - 1:
            self.last_read.set()
        return index


@pytest.mark.parametrize("prefetch_factor", [1, 2, 3])
def test_a_straggler_gives_the_order_of_real_workers(prefetch_factor):
    expected = [j.number for j in simulate([1.0] + [0.01] * 9, 2, prefetch_factor, in_order=False)]
    loader = dlkit.DataLoader(
        FirstIsLast(10),
        num_workers=2,
        prefetch_factor=prefetch_factor,
        worker_method="thread",
        in_order=False,
    )
    # The last one and the straggler are ready at about the same time: either may come first.
    found = [int(batch) for batch in loader]
    assert sorted(found) == list(range(10))
    before = expected.index(9)
    assert found[:before] == expected[:before]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], -1), "workers must be 0 or more"),
        (([1.0], 1, 0), "prefetch_factor 1 or more"),
        (([-1.0], 1), "times must be 0 seconds or more"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate(*arguments)
