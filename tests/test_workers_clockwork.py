"""What simulated workers share slows them down as queueing theory says it must."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlkit.workers.clockwork import Clockwork, Shared, Work
from dlkit.workers.interface import Position
from dlkit.workers.simulated import SimulatedPass


def finished(works, cores=math.inf, bandwidth=math.inf):
    """When each of these works is done, one worker each, all begun together."""
    clock = Clockwork(works, len(works), cores, bandwidth)
    clock.begin([Position()] * len(works))
    for number in range(len(works)):
        clock.submit(number, number, number)
    for _ in works:
        clock.take()
    return [clock.fetched[number][1] for number in range(len(works))]


def test_two_who_compute_on_one_core_take_twice_as_long():
    assert finished([Work(cpu=1.0), Work(cpu=1.0)], cores=1) == pytest.approx([2.0, 2.0])


def test_the_shorter_one_leaves_the_core_to_the_longer_one():
    assert finished([Work(cpu=1.0), Work(cpu=3.0)], cores=1) == pytest.approx([2.0, 4.0])


def test_waiting_needs_no_core():
    assert finished([Work(wait=1.0)] * 4, cores=1) == [1.0] * 4


def test_python_s_lock_lets_one_compute_at_a_time_however_many_cores_there_are():
    assert finished([Work(locked=1.0)] * 3, cores=8) == pytest.approx([3.0] * 3)
    assert finished([Work(cpu=1.0)] * 3, cores=8) == pytest.approx([1.0] * 3)


def test_who_waits_for_the_lock_leaves_the_core_to_others():
    # Three of them hold the lock in turn, on one of two cores; the fourth has the other to itself.
    ends = finished([Work(locked=1.0)] * 3 + [Work(cpu=1.0)], cores=2)
    assert ends == pytest.approx([3.0, 3.0, 3.0, 1.0])


def test_readers_share_what_the_storage_delivers():
    read = Work(wait=1.0, nbytes=100.0)
    assert finished([read] * 4, bandwidth=200.0) == pytest.approx([2.0] * 4)
    assert finished([read] * 2, bandwidth=200.0) == pytest.approx([1.0] * 2)
    assert finished([Work(nbytes=100.0)], bandwidth=200.0) == pytest.approx([0.5])


def test_a_step_of_many_threads_takes_cores_from_the_workers():
    simulated = SimulatedPass([Work(cpu=1.0)] * 3, 1, 1, cores=2)
    journeys = list(simulated.journeys(Work(cpu=1.0, cores=2)))
    # Three cores are wanted and two are there: worker and step both take one and a half times as
    # long, except for the first batch, beside which nothing runs, and the last step.
    assert [j.delivered for j in journeys] == pytest.approx([1.0, 2.5, 4.0])
    assert journeys[-1].used == pytest.approx(5.0)


AMOUNTS = st.floats(0.0, 4.0)
WORKS = st.lists(
    st.builds(
        Work, wait=AMOUNTS, cpu=AMOUNTS, locked=AMOUNTS, turns=st.integers(1, 4)
    ),
    min_size=1,
    max_size=6,
)  # fmt: skip


@given(WORKS, st.sampled_from([1.0, 1.5, 2.0, 8.0]))
def test_no_work_ends_before_it_could_and_no_core_works_more_than_it_can(works, cores):
    ends = finished(works, cores)
    for work, end in zip(works, ends, strict=True):
        assert end >= work.wait + work.cpu + work.locked - 1e-6
    computed = sum(work.cpu + work.locked for work in works)
    assert max(ends) >= computed / cores - 1e-6
    assert max(ends) >= sum(work.locked for work in works) - 1e-6


@given(WORKS)
def test_with_enough_of_everything_nobody_waits_for_anybody(works):
    alone = [Work(w.wait, w.cpu + w.locked, turns=w.turns) for w in works]
    expected = [w.wait + w.cpu for w in alone]
    assert finished(alone, cores=len(works)) == pytest.approx(expected, abs=1e-6)


def test_a_clock_without_work_says_so_instead_of_standing_still():
    with pytest.raises(RuntimeError, match="nothing to wait for"):
        Clockwork([Work(1.0)], 1).take()


def test_a_shared_thing_counts_nobody_when_all_are_done():
    shared = Shared(1.0)
    shared.add(0, 0.1, 0.3)
    shared.add(1, 0.2, 0.3)
    assert len(shared) == 2
    assert shared.advance(1.0) == [0, 1]
    assert (len(shared), shared.asked, shared.until_next()) == (0, 0.0, math.inf)
