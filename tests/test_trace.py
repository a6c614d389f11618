"""Traces: complete, bounded, readable by others, and not there where nobody asked for one."""

import errno
import json
import os
import pickle
import signal
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset
from worker_cases import WAYS, nothing_left, runs

import dlkit
from dlkit import DataLoader, Trace, WorkerDiedError
from dlkit.plots import style
from dlkit.trace import LOOP, STAGES, UNTRACED, recorder, samples
from dlkit.trace.rings import LocalRing, SharedRing
from dlkit.trace.spans import clock

every_way = pytest.mark.parametrize("way", WAYS)


class Numbers(Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, index):
        return torch.tensor(index)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(10))


def traced(way, dataset=None, batch_size=4, trace=True, **settings):
    dataset = Numbers() if dataset is None else dataset
    return DataLoader(dataset, batch_size=batch_size, trace=trace, **WAYS[way], **settings)


def test_stages_are_named_as_the_pictures_name_them():
    assert STAGES == style.STAGES


@every_way
def test_every_batch_has_a_span_of_each_stage(way):
    loader = traced(way)
    batches = [batch.tolist() for batch in loader]
    assert batches == [batch.tolist() for batch in DataLoader(Numbers(), batch_size=4)]
    spans = loader.trace.spans()
    for stage in ("sample", "fetch", "collate", "wait", "compute"):
        assert sorted(s.batch for s in spans if s.stage == stage) == list(range(6)), stage
    if way != "inline":
        assert {s.worker for s in spans if s.stage == "fetch"} == {0, 1}
        assert {s.batch % 2 == s.worker for s in spans if s.stage == "fetch"} == {True}
    assert all(0 < s.start <= s.end for s in spans)


@pytest.mark.parametrize("way", ["inline", "thread", "fork"])
def test_a_batch_is_fetched_before_it_is_collated_and_delivered(way):
    loader = traced(way)
    list(loader)
    ends = {(s.stage, s.batch): s.end for s in loader.trace.spans()}
    starts = {(s.stage, s.batch): s.start for s in loader.trace.spans()}
    for batch in range(6):
        assert ends["sample", batch] <= starts["fetch", batch]
        assert ends["fetch", batch] <= starts["collate", batch]
        assert ends["collate", batch] <= ends["wait", batch] == starts["compute", batch]


@pytest.mark.parametrize("way", ["inline", "thread", "fork"])
def test_a_stream_is_traced_too(way):
    loader = traced(way, Stream())
    count = len(list(loader))
    fetched = [s for s in loader.trace.spans() if s.stage == "fetch"]
    assert len(fetched) == count
    assert not [s for s in loader.trace.spans() if s.stage == "sample"]


@pytest.mark.parametrize("way", ["inline", "thread", "fork"])
@pytest.mark.parametrize("persistent", [False, True])
def test_each_pass_is_an_epoch_of_its_own(way, persistent):
    settings = {"persistent_workers": True} if persistent and way != "inline" else {}
    loader = traced(way, **settings)
    for _ in range(3):
        list(loader)
    for stage in ("fetch", "wait"):
        found = [(s.epoch, s.batch) for s in loader.trace.spans() if s.stage == stage]
        assert sorted(found) == [(epoch, batch) for epoch in range(3) for batch in range(6)]


def test_without_a_trace_the_functions_that_run_are_the_users_own():
    def function(argument):
        return argument

    tasks = iter([])
    assert UNTRACED.timed("fetch", function) is function
    assert UNTRACED.draws(tasks) is tasks
    assert UNTRACED.dataset(function) is function
    loader = DataLoader(Numbers())
    assert loader.trace is None
    assert type(iter(loader)).__name__ == "EpochIterator"


@pytest.mark.parametrize("way", ["inline", "thread", "fork"])
def test_memory_is_bounded_and_what_was_dropped_is_counted(way):
    trace = Trace(capacity=3)
    list(traced(way, batch_size=1, trace=trace))
    per_row = {}
    for span in trace.spans():
        per_row[span.worker] = per_row.get(span.worker, 0) + 1
    assert all(count <= 3 * 4 for count in per_row.values())
    assert trace.dropped > 0
    assert "dropped" in repr(trace)
    assert max(s.batch for s in trace.spans() if s.stage == "fetch") == 23  # the newest are kept


@pytest.mark.parametrize("ring", [LocalRing(4, 0), SharedRing(4, 0)])
def test_a_ring_keeps_the_newest(ring):
    for number in range(10):
        ring.write(number, number + 1, number, 1)
    records, dropped = ring.read()
    assert records["start"].tolist() == [6, 7, 8, 9]
    assert dropped == 6
    ring.clear()
    assert len(ring.read()[0]) == 0
    ring.write(99, 100, 99, 1)
    records, dropped = ring.read()
    assert records["start"].tolist() == [99]
    assert dropped == 0


def test_single_samples_are_recorded_on_request():
    trace = Trace(samples=True)
    list(traced("fork", trace=trace))
    assert sorted(s.index for s in trace.spans() if s.index >= 0) == list(range(24))


MS = 1_000_000


def test_what_is_queued_between_long_samples_is_not_theirs(monkeypatch):
    counted = iter([0, 0, 1 * MS, 6 * MS, 6 * MS])  # 5 ms of queueing between the two samples
    monkeypatch.setattr(samples, "queued_by_now", lambda: next(counted))
    queueing = samples.Queueing()
    queueing.before()  # the first sample of a thread is not known to be long
    assert queueing.within(0, 4 * MS) == 0
    queueing.before()
    assert queueing.within(10 * MS, 14 * MS) == 1 * MS
    queueing.before()
    assert queueing.within(20 * MS, 24 * MS) == 0


def test_a_sample_that_became_long_by_queueing_is_short_without(monkeypatch):
    counted = iter([0, 8 * MS])
    monkeypatch.setattr(samples, "queued_by_now", lambda: next(counted))
    queueing = samples.Queueing()
    assert queueing.within(0, 4 * MS) == 0  # the first look
    assert queueing.within(4 * MS, 4 * MS + 100) == 0  # short: nobody looks
    queueing.before()
    assert queueing.within(5 * MS, 13 * MS + 100) == 8 * MS


def test_the_spans_of_a_worker_that_was_killed_are_there():
    class Deadly(Numbers):
        def __getitem__(self, index):
            if index == 20:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(index)

    with nothing_left():
        loader = traced("fork", Deadly())
        with pytest.raises(WorkerDiedError):
            list(loader)
        fetched = {s.batch for s in loader.trace.spans() if s.stage == "fetch"}
        assert {0, 1, 2, 3} <= fetched
        assert 5 not in fetched
        del loader


def test_a_worker_that_was_replaced_continues_its_ring():
    died = torch.zeros(1).share_memory_()

    class DiesOnce(Numbers):
        def __getitem__(self, index):
            if index == 12 and not died:
                died.fill_(1)
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(index)

    loader = traced("fork", DiesOnce(), restart_workers=1)
    list(loader)
    fetched = sorted(s.batch for s in loader.trace.spans() if s.stage == "fetch")
    assert fetched == list(range(6))


def test_nothing_is_left_after_a_traced_pass_was_left_early():
    with nothing_left():
        loader = traced("fork")
        batches = iter(loader)
        next(batches)
        pids = batches.pool.pids
        del batches
        assert not any(map(runs, pids))
        ended = [(s.stage, s.batch) for s in loader.trace.spans() if s.worker == LOOP]
        assert ("wait", 0) in ended
        assert ("compute", 0) not in ended  # its end was never seen
        del loader


def test_a_trace_comes_back_from_json_files_and_pickles(tmp_path):
    loader = traced("fork", trace=Trace(samples=True))
    list(loader)
    trace = loader.trace
    trace.save(tmp_path / "trace.json")
    for other in (
        Trace.from_json(trace.to_json()),
        Trace.load(tmp_path / "trace.json"),
        pickle.loads(pickle.dumps(trace)),
    ):
        assert other.spans() == trace.spans()
        assert other.summary() == trace.summary()


EMPTY = Trace().to_json()


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"format": "dlkit trace 1"}', "\x00"),
        EMPTY.replace('"capacity": 16384', '"capacity": "many"'),
        EMPTY.replace('"capacity": 16384', '"capacity": 0'),
        EMPTY.replace('"parts": []', '"parts": null'),
        EMPTY.replace('"rank": 0', '"rank": []'),
    ],
)
def test_what_is_no_trace_is_refused(text, tmp_path):
    (tmp_path / "file").write_text(text)
    with pytest.raises(ValueError, match="holds no trace"):
        Trace.load(tmp_path / "file")


def test_a_full_disk_is_an_error_and_leaves_no_part_of_a_file(tmp_path, monkeypatch):
    trace = traced("inline").trace
    with pytest.raises(OSError, match=r"cannot write [\d,]+ bytes: No space left") as caught:
        trace.save("/dev/full")
    assert caught.value.errno == errno.ENOSPC
    (tmp_path / "old.json").write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        trace.to_chrome(tmp_path / "old.json")
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
    assert (tmp_path / "old.json").read_text() == "old"


def test_the_table_has_a_row_for_each_span_with_and_without_pandas(monkeypatch):
    loader = traced("inline")
    list(loader)
    table = loader.trace.table()
    assert list(table.columns[:6]) == ["stage", "worker", "batch", "rank", "start", "end"]
    assert len(table) == len(loader.trace)
    monkeypatch.setitem(sys.modules, "pandas", None)
    rows = loader.trace.table()
    assert rows == table.to_dict("records")


def test_the_summary_adds_up_what_the_spans_say():
    loader = traced("inline")
    list(loader)
    spans = loader.trace.spans()
    summary = loader.trace.summary()
    for total in summary.stages:
        mine = [s.nanoseconds / 1e9 for s in spans if s.stage == total.stage]
        assert total.spans == len(mine)
        assert total.seconds == pytest.approx(sum(mine))
        assert total.median == pytest.approx(np.median(mine))
    waited, computed = summary["wait"].seconds, summary["compute"].seconds
    assert summary.wait_share == pytest.approx(waited / (waited + computed))
    assert summary.batches == 6
    with pytest.raises(KeyError, match="transfer"):
        summary["transfer"]


def test_chrome_events_are_what_the_format_says(tmp_path):
    """Fields as in "Trace Event Format": complete events and metadata, times in microseconds."""
    loader = traced("fork")
    list(loader)
    loader.trace.to_chrome(tmp_path / "trace.json")
    content = json.loads((tmp_path / "trace.json").read_text())
    events = content["traceEvents"]
    complete = [event for event in events if event["ph"] == "X"]
    assert len(complete) == len(loader.trace)
    for event in complete:
        assert set(event) == {"ph", "name", "cat", "ts", "dur", "pid", "tid", "args"}
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert event["ts"] >= 0
        assert event["dur"] >= 0
    named = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert named == {1: "training", 3: "worker 0", 4: "worker 1"}
    assert {event["tid"] for event in complete} == set(named)
    lasted = sum(event["dur"] for event in complete) * 1e3
    assert lasted == pytest.approx(sum(s.nanoseconds for s in loader.trace.spans()))


def test_slices_of_one_thread_nest_or_follow_each_other(tmp_path):
    """Else a viewer of the format would draw them wrongly, or drop them."""
    loader = traced("inline", trace=Trace(samples=True))
    list(loader)
    loader.trace.to_chrome(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    for tid in {e["tid"] for e in events if e["ph"] == "X"}:
        mine = [e for e in events if e["ph"] == "X" and e["tid"] == tid]
        open_until = []
        for event in sorted(mine, key=lambda e: (e["ts"], -e["dur"])):
            start, end = event["ts"], event["ts"] + event["dur"]
            while open_until and open_until[-1] <= start + 1e-6:
                open_until.pop()
            assert not open_until or end <= open_until[-1] + 1e-3
            open_until.append(end)


def test_perfetto_reads_the_file(tmp_path):
    """Perfetto's own reader is the oracle, where its program, a download, is there."""
    perfetto = pytest.importorskip("perfetto.trace_processor")
    shell = os.environ.get("TRACE_PROCESSOR_SHELL")
    if not shell:
        pytest.skip("TRACE_PROCESSOR_SHELL does not name perfetto's trace_processor_shell")
    loader = traced("fork")
    list(loader)
    loader.trace.to_chrome(tmp_path / "trace.json")
    config = perfetto.TraceProcessorConfig(bin_path=shell)
    with perfetto.TraceProcessor(trace=str(tmp_path / "trace.json"), config=config) as processor:
        rows = list(processor.query("select name, dur from slice"))
    assert len(rows) == len(loader.trace)


def test_the_notebook_form_is_escaped_and_has_a_picture():
    loader = traced("inline")
    list(loader)
    shown = loader.trace._repr_html_()
    assert "data:image/png;base64," in shown
    assert "<table>" in shown
    assert "<p>0 batches" in Trace()._repr_html_()


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_capacity_below_one_is_refused(capacity):
    with pytest.raises(
        ValueError, match=f"capacity must be a positive integer, but got {capacity}"
    ):
        Trace(capacity)


@pytest.mark.parametrize("capacity", ["a", 1.5, True, None])
def test_a_capacity_that_is_no_integer_is_refused(capacity):
    with pytest.raises(TypeError, match="capacity must be a positive integer"):
        Trace(capacity)


@pytest.mark.parametrize("trace", ["yes", 1, object()])
def test_trace_must_be_one(trace):
    with pytest.raises(TypeError, match=r"trace must be True, False, None or a dlkit.Trace"):
        DataLoader(Numbers(), trace=trace)


def test_the_rank_is_that_of_the_process(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    loader = traced("inline")
    list(loader)
    assert {span.rank for span in loader.trace.spans()} == {3}


def test_one_trace_may_belong_to_two_loaders():
    trace = Trace()
    first, second = (DataLoader(Numbers(), batch_size=8, trace=trace) for _ in range(2))
    list(first)
    list(second)
    assert trace.summary().epochs == 2
    assert {span.worker for span in trace.spans()} == {LOOP}


def test_a_failed_batch_leaves_no_span_and_the_next_ones_follow():
    class Broken(Numbers):
        def __getitem__(self, index):
            if index == 5:
                raise ValueError("broken")
            return super().__getitem__(index)

    loader = traced("inline", Broken())
    batches = iter(loader)
    seen = []
    while True:
        try:
            seen.append(next(batches))
        except ValueError:
            continue
        except StopIteration:
            break
    assert len(seen) == 5
    assert [s.batch for s in loader.trace.spans() if s.stage == "fetch"] == [0, 2, 3, 4, 5]


@pytest.mark.parametrize(("way", "most"), [("inline", 7), ("thread", 14)])
def test_a_batch_is_noted_by_a_handful_of_calls(way, most):
    """Counted, because a clock would not tell 2 % of a busy machine from its noise."""

    def calls(trace):
        rows = torch.arange(400)
        loader = traced(way, dlkit.TensorDataset(rows), trace=trace)
        batches, counted = iter(loader), 0

        def count(frame, event, argument):
            nonlocal counted
            counted += event in ("call", "c_call")

        next(batches)
        sys.setprofile(count)
        try:
            for _ in range(50):
                next(batches)
        finally:
            sys.setprofile(None)
        return counted / 50

    assert calls(True) - calls(None) <= most


class Rows(Dataset):
    """Ten rows, of which one cannot be read."""

    def __init__(self, error=None):
        self.error = error

    def __len__(self):
        return 10

    def __getitem__(self, index):
        if index == 5 and self.error is not None:
            raise self.error("row 5")
        return torch.tensor(index)


def delivered(loader):
    """What a loop gets that goes on after errors."""
    got, batches = [], iter(loader)
    while len(got) < 20:
        try:
            got.append(next(batches).tolist())
        except StopIteration:
            return got
        except KeyError as error:
            got.append(str(error))
    raise AssertionError("the pass has no end")


@pytest.mark.parametrize("error", [None, KeyError])
@pytest.mark.parametrize(("noting", "most"), [(10**12, 1), (10**12, 2), (0, 1)])
def test_batches_that_come_too_fast_are_noted_in_groups(error, noting, most, monkeypatch):
    monkeypatch.setattr(recorder, "GROUP", 3)
    monkeypatch.setattr(recorder, "NOTING", noting)
    monkeypatch.setattr(recorder, "MOST_BETWEEN", most)
    loader = traced("inline", Rows(error), batch_size=1)
    expected = delivered(traced("inline", Rows(error), batch_size=1, trace=None))
    assert delivered(loader) == expected
    read = [number for number, batch in enumerate(expected) if isinstance(batch, list)]
    spans = loader.trace.spans()
    between = [] if noting == 0 else [n for n in read if n // 3 % (most + 1)]
    assert [s.batch for s in spans if s.stage == "fetch"] == [n for n in read if n not in between]
    assert loader.trace.dropped >= 4 * len(between)
    assert bool(loader.trace.dropped) == bool(between)
    loader.trace.clear()
    assert loader.trace.dropped == 0


@pytest.mark.parametrize("length", range(14))
def test_every_batch_is_noted_or_counted(length, monkeypatch):
    monkeypatch.setattr(recorder, "GROUP", 3)
    monkeypatch.setattr(recorder, "NOTING", 10**12)
    monkeypatch.setattr(recorder, "MOST_BETWEEN", 1)
    # Its rows are gathered, so that no stage but the training loop's asks which batch it is.
    loader = traced("inline", dlkit.TensorDataset(torch.arange(length)), batch_size=1)
    for epoch in (1, 2):
        assert [batch[0].item() for batch in loader] == list(range(length))
        noted = [n for n in range(length) if n // 3 % 2 == 0]
        fetched = [s.batch for s in loader.trace.spans() if s.stage == "fetch"]
        assert fetched == noted * epoch
        stages = len({s.stage for s in loader.trace.spans() if s.stage != "compute"}) + 1
        assert loader.trace.dropped == epoch * stages * (length - len(noted))


def test_a_group_of_batches_is_not_followed_by_those_that_were_left_out(monkeypatch):
    monkeypatch.setattr(recorder, "GROUP", 3)
    monkeypatch.setattr(recorder, "NOTING", 10**12)
    monkeypatch.setattr(recorder, "MOST_BETWEEN", 1)
    loader = traced("inline", Rows(), batch_size=1)
    list(loader)
    computed = [s.batch for s in loader.trace.spans() if s.stage == "compute"]
    assert computed == [0, 1, 6, 7]  # 2 and 8 were followed by batches that nobody noted


def test_batches_that_overtake_others_are_noted_under_their_own_numbers():
    class Slow(Numbers):
        def __getitem__(self, index):
            if index == 0:
                for _ in range(200):
                    torch.zeros(100_000).sum()
            return super().__getitem__(index)

    loader = traced("fork", Slow(), batch_size=2, in_order=False)
    given = [batch[0].item() // 2 for batch in loader]
    waits = [s.batch for s in loader.trace.spans() if s.stage == "wait"]
    computes = [s.batch for s in loader.trace.spans() if s.stage == "compute"]
    assert waits == computes == given


def test_a_batch_that_failed_is_no_time_of_the_step_before():
    class Broken(Numbers):
        def __getitem__(self, index):
            if index == 5:
                raise ValueError("broken")
            return super().__getitem__(index)

    loader = traced("thread", Broken())
    batches = iter(loader)
    next(batches)
    before = clock()
    with pytest.raises(ValueError, match="broken"):
        next(batches)
    computed = [s for s in loader.trace.spans() if s.stage == "compute"]
    assert [s.batch for s in computed] == [0]
    assert before <= computed[0].end
    next(batches)
    spans = [s for s in loader.trace.spans() if s.stage == "compute"]
    assert spans == computed  # what came after the failure changes nothing of it


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("resumed", [0, 2])
def test_a_batch_that_follows_a_failed_one_has_its_own_number(on_error, resumed):
    trace = Trace(samples=True)
    loader = traced("inline", Rows(KeyError), batch_size=1, trace=trace, on_error=on_error)
    if resumed:
        batches = iter(loader)
        for _ in range(resumed):
            next(batches)
        loader.load_state_dict(loader.state_dict())
    delivered(loader)
    spans = [s for s in trace.spans() if s.epoch == trace.epochs - 1]
    expected = [n for n in range(10 - resumed) if n != 5 - resumed]
    assert [s.batch for s in spans if s.stage == "wait"] == expected
    read = [s for s in spans if s.stage == "fetch" and s.index >= 0]
    assert [s.batch for s in read if s.index != 5] == expected


def test_dlkit_names_what_this_is_about():
    assert dlkit.Trace is Trace
