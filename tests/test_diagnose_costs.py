"""Costs say what they hold, refuse what cannot be, and come back from JSON as they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlkit.diagnose.costs import Costs, Crossing

SECONDS = st.floats(0, 100, allow_nan=False)


@given(
    st.lists(SECONDS, min_size=1, max_size=5), SECONDS, st.none() | st.floats(0, 1),
    st.dictionaries(st.sampled_from(["process", "thread"]), st.builds(Crossing, SECONDS, SECONDS)),
    st.none() | st.integers(0, 10**9),
)  # fmt: skip
def test_they_come_back_from_json_exactly(fetch, cpu, lock, crossings, samples):
    costs = Costs(fetch, cpu, lock_share=lock, crossings=crossings, samples=samples, cores=1.5)
    assert Costs.from_json(costs.to_json()) == costs


def test_arrays_become_tuples_that_json_can_write():
    costs = Costs(np.array([0.5, 1.5]), 0.0, step_seconds=np.array([1], dtype=np.int64))
    assert (costs.fetch_seconds, costs.step_seconds) == ((0.5, 1.5), (1,))
    assert Costs.from_json(costs.to_json()) == costs


def test_what_is_no_computing_is_waiting():
    costs = Costs([0.004], 0.001)
    assert costs.fetch_wait == pytest.approx(0.75)
    assert Costs([0.0], 0.0).fetch_wait == 0.0
    assert Costs([0.001], 0.002).fetch_wait == 0.0  # clocks of different steps


def test_a_crossing_grows_with_the_bytes_of_a_batch():
    crossing = Crossing(1.0, 0.1, 2.0, 0.2)
    assert (crossing.worker(10), crossing.main(10)) == (2.0, 4.0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"fetch_seconds": []}, ValueError, "fetch_seconds must hold at least one value"),
        ({"fetch_seconds": "abc"}, TypeError, "fetch_seconds must be a sequence of seconds"),
        ({"fetch_seconds": [-1.0]}, ValueError, "fetch_seconds must be 0 or more"),
        ({"fetch_seconds": [None]}, TypeError, "fetch_seconds must be a number"),
        ({"step_seconds": [float("nan")]}, ValueError, "step_seconds must be 0 or more"),
        ({"collate_seconds": float("inf")}, ValueError, "collate_seconds must be 0 or more"),
        ({"batch_size": 0}, ValueError, "batch_size must be 1 or more"),
        ({"cores": 0}, ValueError, "cores must be more than 0"),
        ({"lock_share": 1.5}, ValueError, "lock_share must be 0 to 1"),
        ({"worker_method": "fork"}, ValueError, "worker_method must be one of"),
        ({"crossings": {"fork": Crossing()}}, ValueError, "crossings must be"),
        ({"crossings": {"thread": 3}}, ValueError, "crossings must be"),
    ],
)
def test_impossible_costs_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Costs(**{"fetch_seconds": [1.0], "fetch_cpu_seconds": 0.0, **arguments})


@pytest.mark.parametrize("text", ["", "[]", "3", '{"fetch_seconds": 1}', '{"speed": [1]}'])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match=r"what Costs\.to_json"):
        Costs.from_json(text)


def test_a_crossing_cannot_cost_less_than_nothing():
    with pytest.raises(ValueError, match="main_seconds must be 0 or more"):
        Crossing(main_seconds=-1.0)
