"""What ranks exchange, as spans of a trace: where they lie, and what they add up to."""

import json
from collections import Counter
from itertools import pairwise

import ddp_cases as cases
import pytest
import torch

from dlkit import ddp
from dlkit.plots.ranks import rank_timeline
from dlkit.trace import EXCHANGE, LOOP, Trace
from dlkit.trace.spans import AGREEMENT, CODES, EPOCH, GRADIENTS
from dlkit.trainer import Trainer

WAIT, COMPUTE = CODES["wait"], CODES["compute"]
RANKS, SAMPLES, BATCH, EPOCHS = 3, 31, 4, 2
STEPS = 3  # of 12 samples, the last one of 7: on rank 2 it has 2


def trained(*traces, accumulate=1):
    """Train as often as there are traces; return the weights that come of it."""
    trainer = Trainer(
        cases.network(), device="cpu", progress=False, seed=0, accumulate=accumulate,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    )  # fmt: skip
    for number, trace in enumerate(traces, 1):
        loader = cases.sharded(cases.blobs(SAMPLES), BATCH)
        loader.trace = trace
        trainer.fit(loader, number * EPOCHS)
    return [p.detach().clone() for p in trainer.model.parameters()]


def in_ranks():
    traced, late, accumulated = Trace(), Trace(), Trace()
    return {
        "untraced weights": trained(None, None),
        "traced weights": trained(traced, None),
        "late weights": trained(None, late),
        "accumulated weights": trained(accumulated, accumulate=2),
        "traced": traced,
        "late": late,
        "accumulated": accumulated,
    }


@pytest.fixture(scope="module")
def ranks():
    return ddp.launch(in_ranks, world_size=RANKS, timeout=300, device="cpu")


def exchanges(trace, part):
    records = trace.records()
    return records[(records["worker"] == EXCHANGE) & (records["index"] == part)]


def steps_of(spans):
    return Counter(zip(spans["epoch"].tolist(), spans["batch"].tolist(), strict=True))


def test_tracing_changes_no_bit_of_the_weights(ranks):
    for rank in ranks:
        for kind in ("traced weights", "late weights"):
            assert all(map(torch.equal, rank[kind], rank["untraced weights"]))


@pytest.mark.parametrize("kind", ["traced", "late"])
def test_each_step_has_an_agreement_and_an_exchange_of_gradients(kind, ranks):
    steps = {(epoch, step): 1 for epoch in range(EPOCHS) for step in range(STEPS)}
    end = {(epoch, STEPS): 1 for epoch in range(EPOCHS)}  # then all agree that nobody has a batch
    for rank in ranks:
        assert steps_of(exchanges(rank[kind], GRADIENTS)) == steps
        assert steps_of(exchanges(rank[kind], AGREEMENT)) == steps | end


def test_accumulated_batches_are_exchanged_once(ranks):
    for rank in ranks:
        found = steps_of(exchanges(rank["accumulated"], GRADIENTS))
        assert found == {(epoch, step): 1 for epoch in range(EPOCHS) for step in range(2)}


def test_exchanges_lie_inside_of_computing_and_belong_to_it(ranks):
    for rank in ranks:
        records = rank["traced"].records()
        loop = records[(records["worker"] == LOOP) & (records["stage"] == COMPUTE)]
        computed = {(s["epoch"], s["batch"]): (s["start"], s["end"]) for s in loop}
        for part in (AGREEMENT, GRADIENTS):
            for span in exchanges(rank["traced"], part):
                if (key := (span["epoch"], span["batch"])) in computed:  # not the end of the data
                    assert computed[key][0] <= span["start"] < span["end"] <= computed[key][1]


def test_no_rank_has_its_gradients_before_the_last_one_has_sent_its_own(ranks):
    spans = [exchanges(rank["traced"], GRADIENTS) for rank in ranks]
    assert max(s["start"].tolist() for s in spans) <= min(s["end"].tolist() for s in spans)
    for step in range(EPOCHS * STEPS):
        last = max(int(s["start"][step]) for s in spans)
        assert all(int(s["end"][step]) >= last for s in spans)


def test_the_time_of_each_rank_is_accounted_for_and_drawn(ranks):
    traces = [rank["traced"] for rank in ranks]
    for time in ddp.time_of_ranks(traces):
        assert min(time.compute, time.load, time.exchange, time.hidden + 1e-12) > 0
        assert time.ranks >= 0
        assert time.compute + time.load + time.ranks + time.exchange == pytest.approx(time.seconds)
    rows = ddp.spans_of_ranks(traces, steps=STEPS)
    for row in rows:
        assert {what for what, _, _ in row} == {"compute", "wait", "exchange"}
        ends = [end for _, _, end in row]
        assert all(b >= a for (_, _, a), (_, b, _) in pairwise(row)), row
        assert ends == sorted(ends)
    assert rank_timeline(rows).caption.startswith("3 ranks over ")


def test_whoever_reads_a_trace_finds_the_exchange_in_a_row_of_its_own(ranks, tmp_path):
    trace = ranks[1]["traced"]
    assert {s.stage for s in trace.spans() if s.worker == EXCHANGE} == {"compute"}
    assert trace.summary().batches == EPOCHS * STEPS
    assert trace.summary()["compute"].spans == EPOCHS * STEPS  # exchanges lie inside of these
    trace.to_chrome(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    (row,) = (e["tid"] for e in events if e["name"] == "thread_name" and "exch" in str(e["args"]))
    names = Counter(e["name"] for e in events if e["ph"] == "X" and e["tid"] == row)
    assert names == {"gradients": EPOCHS * STEPS, "agreement": EPOCHS * (STEPS + 1)}
    again = Trace.from_json(trace.to_json())
    assert (again.records() == trace.records()).all()


# ---- by hand ------------------------------------------------------------------------------------


def trace_of(*spans):
    """A trace of one step: stage or part, start and end in seconds."""
    trace = Trace()
    trace.begin()
    loop, exchange = trace.recorder().ring, trace.recorder(EXCHANGE).ring
    for what, start, end in spans:
        nanoseconds = int(start * 1e9), int(end * 1e9), 0 * EPOCH
        if what in (AGREEMENT, GRADIENTS):
            exchange.write(*nanoseconds, COMPUTE, what)
        else:
            loop.write(*nanoseconds, what)
    return trace


def test_waiting_for_ranks_is_told_from_exchanging_and_what_is_hidden_costs_nothing():
    # Rank 1 begins a second late; buckets leave at 3 and 4 on rank 0, at 5 and 6 on rank 1.
    first = trace_of(
        (WAIT, 0, 1), (COMPUTE, 1, 10), (AGREEMENT, 1, 2.5), (GRADIENTS, 3, 6), (GRADIENTS, 4, 9)
    )
    second = trace_of(
        (WAIT, 0, 2), (COMPUTE, 2, 10), (AGREEMENT, 2, 2.5), (GRADIENTS, 5, 5.5), (GRADIENTS, 6, 9)
    )
    a, b = ddp.time_of_ranks([first, second])
    assert (a.seconds, a.load, a.ranks, a.exchange) == (10, 1, 1 + 2, 0.5 + 3)
    assert (b.seconds, b.load, b.ranks, b.exchange) == (10, 2, 0, 0.5 + 3)
    assert (a.hidden, b.hidden) == (1, 0.5)
    assert (a.compute, b.compute) == (2.5, 4.5)
    assert str(a) == "10 s: compute 25%, load 10%, ranks 30%, exchange 35%"
    one, other = ddp.spans_of_ranks([first, second])
    assert one == [
        ("wait", 0, 1), ("wait", 1, 2), ("exchange", 2, 2.5), ("compute", 2.5, 4),
        ("wait", 4, 6), ("exchange", 6, 9), ("compute", 9, 10),
    ]  # fmt: skip
    assert ("exchange", 6, 9) in other
    assert ("wait", 4, 6) not in other


def test_traces_of_nothing_are_refused():
    for look in (ddp.time_of_ranks, ddp.spans_of_ranks):
        with pytest.raises(ValueError, match="at least one rank"):
            look([])
    with pytest.raises(ValueError, match="rank 0 has no step from epoch 1 on"):
        ddp.time_of_ranks([trace_of((WAIT, 0, 1))], first_epoch=1)
