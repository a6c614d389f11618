"""Predictions agree with arithmetic where that is possible, and behave as they must elsewhere."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dlkit
from dlkit.diagnose.costs import Costs, Crossing
from dlkit.diagnose.predict import predict

FREE = {method: Crossing() for method in ("inline", "process", "thread")}


def costs(**changes):
    """Samples of 10 ms on a core, batches of 4, crossing for nothing, two cores, no step."""
    plain = Costs([0.010], 0.010, crossings=FREE, batch_size=4, cores=2.0, lock_share=1.0)
    return replace(plain, **changes)


WAITING = {"fetch_cpu_seconds": 0.0}


def test_without_workers_fetch_and_step_add_up():
    found = predict(costs(step_seconds=(0.020,), step_cores=0.0), num_workers=0)
    assert found.throughput == pytest.approx(4 / (0.040 + 0.020))
    assert found.wait_share == pytest.approx(0.040 / 0.060)


def test_with_a_worker_the_longer_of_fetch_and_step_decides():
    slow_step = costs(step_seconds=(0.100,), step_cores=0.0)
    assert predict(slow_step, num_workers=1).throughput == pytest.approx(4 / 0.100)
    assert predict(slow_step, num_workers=1).wait_share == pytest.approx(0.0, abs=1e-9)
    assert predict(costs(), num_workers=1).throughput == pytest.approx(100.0)


def test_waiting_gains_from_every_worker_and_computing_only_from_cores():
    for workers in (1, 2, 3, 4, 8):
        waiting = predict(costs(**WAITING), num_workers=workers).throughput
        assert waiting == pytest.approx(100.0 * workers, rel=0.02)
        computing = predict(costs(), num_workers=workers).throughput
        assert computing == pytest.approx(100.0 * min(workers, 2), rel=0.02)


def test_threads_gain_only_from_what_leaves_the_lock():
    held = predict(costs(lock_share=1.0), num_workers=2, method="thread")
    left = predict(costs(lock_share=0.0), num_workers=2, method="thread")
    assert held.throughput == pytest.approx(100.0, rel=0.02)
    assert left.throughput == pytest.approx(200.0, rel=0.02)


def test_an_unknown_lock_share_makes_the_band_hold_both_ends():
    unknown = predict(costs(lock_share=None), num_workers=2, method="thread")
    assert unknown.low <= 100.0
    assert unknown.high >= 200.0
    assert any("half of the CPU time" in text for text in unknown.assumptions)


def test_overheads_of_both_sides_are_paid_by_those_sides():
    crossing = Crossing(worker_seconds=0.010, main_seconds=0.100)
    dear = costs(crossings={**FREE, "process": crossing})
    # The worker needs 50 ms for a batch, the training loop 100 ms to receive it.
    assert predict(dear, num_workers=1).throughput == pytest.approx(4 / 0.100, rel=0.02)
    assert predict(dear, num_workers=0).throughput == pytest.approx(100.0)


def test_moving_a_batch_to_the_device_takes_the_training_loops_time():
    moved = costs(transfer_seconds=0.010, transfer_seconds_per_byte=1e-6, sample_bytes=5000)
    # 40 ms to fetch a batch, 10 ms to move it and 20 ms for its 20,000 bytes.
    assert predict(moved, num_workers=0).throughput == pytest.approx(4 / (0.040 + 0.030))


def test_nodes_share_the_storage():
    reading = costs(**WAITING, sample_bytes=1e6)
    alone = predict(reading, num_workers=2, storage_bandwidth=1e9)
    assert alone.throughput == pytest.approx(200.0, rel=0.02)
    many = [
        predict(reading, num_workers=2, nodes=nodes, storage_bandwidth=1e9).throughput
        for nodes in (2, 4, 8, 64)
    ]
    # 1e9 bytes/s are 1,000 samples/s, however many nodes want them.
    assert many == pytest.approx([400.0, 800.0, 1000.0, 1000.0], rel=0.03)


def test_devices_share_the_cores_of_their_node():
    two = predict(costs(), num_workers=2, devices=2)
    assert two.throughput == pytest.approx(200.0, rel=0.02)
    assert any("2 devices of a node share its 2 cores" in text for text in two.assumptions)


def test_ranks_wait_for_the_slowest_at_each_step():
    skewed = costs(fetch_seconds=(0.002,) * 15 + (0.130,), fetch_cpu_seconds=0.0)
    one = predict(skewed, num_workers=2).throughput
    eight = predict(skewed, num_workers=2, nodes=8).throughput
    assert eight < 0.95 * 8 * one


def test_prefetching_hides_a_slow_batch():
    skewed = costs(
        fetch_seconds=(0.005,) * 31 + (0.160,), fetch_cpu_seconds=0.0, step_seconds=(0.024,),
        step_cores=0.0,
    )  # fmt: skip
    few, many = (predict(skewed, num_workers=2, prefetch_factor=f).wait_share for f in (1, 8))
    assert many < few


def test_larger_batches_spread_less_than_small_ones():
    skewed = costs(fetch_seconds=(0.001, 0.019), fetch_cpu_seconds=0.0)
    mean = predict(skewed, num_workers=0, batch_size=64).throughput
    assert mean == pytest.approx(100.0, rel=0.02)


def test_memory_is_the_process_its_workers_and_what_is_in_flight():
    heavy = costs(base_memory=100.0, worker_memory=10.0, sample_bytes=1.0)
    assert predict(heavy, num_workers=0).memory == 100.0 + 4
    assert predict(heavy, num_workers=3).memory == 100.0 + 30 + (3 * 2 + 1) * 4
    assert predict(heavy, num_workers=3, method="thread").memory == 100.0 + (3 * 2 + 1) * 4
    assert predict(heavy, num_workers=3, devices=2, nodes=5).memory == 2 * (130 + 28)


def test_an_epoch_takes_its_samples_and_the_start_of_its_workers():
    known = costs(samples=1000, start_seconds=3.0)
    assert predict(known, num_workers=1).epoch_seconds == pytest.approx(13.0)
    assert predict(known, num_workers=0).epoch_seconds == pytest.approx(10.0)
    assert predict(costs(), num_workers=0).epoch_seconds is None


@given(
    st.floats(0.001, 0.1), st.integers(0, 10), st.integers(0, 6), st.integers(1, 32),
    st.integers(0, 100), st.integers(1, 4),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_no_prediction_breaks_the_bounds_of_the_machine(
    fetch, tenths, workers, size, milliseconds, factor
):
    busy, step = tenths / 10, milliseconds / 1000
    given = costs(fetch_seconds=(fetch,), fetch_cpu_seconds=busy * fetch, step_cores=0.0)
    found = predict(
        given, num_workers=workers, batch_size=size, step_time=step, prefetch_factor=factor,
        batches=24,
    )  # fmt: skip
    assert found.low <= found.throughput <= found.high
    assert 0 <= found.wait_share <= 1 + 1e-9
    bounds = [max(workers, 1) / fetch]
    if step:
        bounds.append(size / step)
    if busy:
        bounds.append(2 / (busy * fetch))
    # A window of 24 batches may begin when the buffer is full.
    assert found.throughput <= 1.35 * min(bounds)


def test_the_same_costs_give_the_same_prediction():
    noisy = costs(fetch_seconds=(0.001, 0.002, 0.030))
    assert predict(noisy, num_workers=3) == predict(noisy, num_workers=3)


def test_what_is_left_out_is_as_it_was_measured():
    measured = costs(num_workers=2, worker_method="thread", prefetch_factor=3, in_order=False)
    found = predict(measured).settings
    assert (found.num_workers, found.method, found.prefetch_factor) == (2, "thread", 3)
    assert (found.batch_size, found.in_order, found.ranks) == (4, False, 1)


def test_a_profile_is_taken_for_its_costs():
    assert predict(SimpleNamespace(costs=costs())) == predict(costs())


def test_a_prediction_reads_as_a_line():
    assert "100 samples/s (" in str(predict(costs(), num_workers=1))


def test_it_says_what_it_cannot_know():
    def told(**changes):
        return " | ".join(predict(costs(**WAITING, crossings={}), **changes).assumptions)

    assert "share 2 cores evenly" in told(num_workers=4)
    assert "handing over a batch from a process" in told(num_workers=1)
    assert "the storage is not the limit" in told(num_workers=1)
    assert "none of the reads is in the page cache" in told(storage_bandwidth=1e9)
    assert "exchanging gradients is in the step" in told(nodes=2)
    assert "8 of 16 ranks were simulated" in told(nodes=16)
    stepping = costs(step_seconds=(0.1,))
    assert "grows with the batch" in " ".join(predict(stepping, batch_size=8).assumptions)
    assert predict(costs(), num_workers=1).assumptions == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_workers": -1}, "num_workers must be an integer of 0 or more, but got -1"),
        ({"num_workers": 1.5}, "num_workers must be an integer of 0 or more, but got 1.5"),
        ({"batch_size": 0}, "batch_size must be a positive integer, but got 0"),
        ({"prefetch_factor": 0}, "prefetch_factor must be a positive integer, but got 0"),
        ({"devices": 0}, "devices must be a positive integer, but got 0"),
        ({"nodes": True}, "nodes must be a positive integer, but got True"),
        ({"batches": 0}, "batches must be a positive integer, but got 0"),
        ({"step_time": -0.1}, "step_time must be 0 or more seconds, but got -0.1"),
        ({"step_time": "1"}, "step_time must be 0 or more seconds, but got '1'"),
        ({"storage_bandwidth": 0}, "storage_bandwidth must be more than 0 bytes/s"),
        ({"storage_bandwidth": [1]}, "storage_bandwidth must be more than 0 bytes/s"),
        ({"in_order": "no"}, "in_order must be True or False, but got 'no'"),
        ({"method": "fork"}, "method must be"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        predict(costs(), **changes)


def test_what_has_no_costs_is_refused():
    with pytest.raises(TypeError, match="costs must be Costs"):
        predict([0.1])


def test_it_is_a_public_name():
    assert dlkit.predict is predict
