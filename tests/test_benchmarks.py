"""The measuring itself: ratios round by round, what processes hold, and benchmarks that run."""

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection

import pytest
import torch

import dlkit
from benchmarks import (
    measure,
    mixed,
    prediction,
    processes,
    samples,
    soak,
    storage,
    tuning,
    workers,
)

needs_proc = pytest.mark.skipif(
    not processes.can_measure_memory(), reason="needs Linux's /proc/self/smaps_rollup"
)


def test_a_ratio_is_the_median_over_rounds_each_against_its_own_baseline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now)
    machine_speed = iter([1, 1] + [1, 1] + [1, 1] * 1 + [1, 1, 4, 4, 2, 2, 1, 1, 3, 3])

    def work(seconds: float) -> int:
        nonlocal now
        now += seconds * next(machine_speed, 1)
        return 100

    rows = measure.compare(
        "w",
        {"slow": lambda: work(2.0), "fast": lambda: work(0.5)},
        rounds=5,
        bars={"fast": 3.0},
        seconds=0.1,
    )
    assert [row.candidate for row in rows] == ["slow", "fast"]
    assert rows[0].ratio == rows[0].lowest == rows[0].highest == 1.0
    assert rows[1].ratio == pytest.approx(4.0)
    assert rows[1].reached is True
    assert rows[0].reached is None


def test_candidates_take_turns() -> None:
    order: list[str] = []
    figures = measure.take_turns(
        {name: lambda name=name: order.append(name) or len(order) for name in "ab"}, rounds=3
    )
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert figures == {"a": [1, 3, 5], "b": [2, 4, 6]}


def test_a_bar_that_is_missed_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [measure.Row("w", "ours", 10.0, 0.9, 0.8, 1.1, bar=1.0)]
    measure.report(rows, measure.machine(), None)
    assert "MISSED" in capsys.readouterr().out


def test_where_less_is_better_the_bar_is_an_upper_one(capsys: pytest.CaptureFixture[str]) -> None:
    rows = measure.ratios(
        "start",
        {"theirs": [10.0, 20.0, 40.0], "ours": [5.0, 16.0, 32.0], "other": [9.0, 18.0, 36.0]},
        bars={"ours": 0.8, "other": 0.8},
        unit="ms",
        at_most=True,
        notes={"theirs": "as installed"},
    )
    assert [row.reached for row in rows] == [None, True, False]
    assert [row.median for row in rows] == [20.0, 16.0, 18.0]
    assert (rows[1].lowest, rows[1].ratio, rows[1].highest) == (0.5, 0.8, 0.8)
    measure.report(rows, {}, None)
    _, theirs, ours, other = capsys.readouterr().out.strip().splitlines()[-4:]
    assert theirs.endswith("as installed")
    assert ours.endswith("at most 0.8")
    assert other.endswith("at most 0.8  MISSED")


def test_the_loader_benchmark_runs_and_writes_its_figures(tmp_path, project) -> None:
    target = tmp_path / "figures.json"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.loader", "--only", "stream", "--rounds", "1",
         "--json", str(target)],
        cwd=project,
        check=True,
        capture_output=True,
    )  # fmt: skip
    figures = json.loads(target.read_text())
    assert {row["candidate"] for row in figures["rows"]} == {
        "torch.utils.data.DataLoader",
        "dlkit.DataLoader",
    }
    assert all(row["median"] > 0 and row["unit"] == "samples/s" for row in figures["rows"])
    assert figures["machine"]["cores"] >= 1


def test_a_fresh_process_returns_the_result_and_raises_the_error() -> None:
    assert processes.in_fresh_process("os", "getpid") != os.getpid()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        processes.in_fresh_process("os", "stat", path="/nowhere/at/all")


def test_a_fresh_process_starts_others_by_the_method_that_python_takes_by_default() -> None:
    default = subprocess.run(
        [sys.executable, "-c", "import multiprocessing as m; print(m.get_start_method())"],
        check=True,
        capture_output=True,
        text=True,
    )
    method = processes.in_fresh_process("multiprocessing", "get_start_method")
    assert method == default.stdout.strip()


def test_the_command_whose_children_are_measured_imports_no_torch(project) -> None:
    program = "import sys, benchmarks.workers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=project).returncode == 0


def _hold(size: int, pipe: Connection) -> None:
    held = bytearray(os.urandom(1024)) * (size // 1024)
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(50)]
    pipe.send((len(held), len(opened)))
    pipe.recv()


@needs_proc
def test_what_a_child_holds_is_counted_while_it_lives() -> None:
    size = 64_000_000
    before, memory_before = processes.holdings(), processes.proportional_memory()
    ours, theirs = get_context("spawn").Pipe()
    child = get_context("spawn").Process(target=_hold, args=(size, theirs))
    child.start()
    ours.recv()
    during, memory_during = processes.holdings(), processes.proportional_memory()
    ours.send("end")
    child.join()
    after = processes.holdings()
    assert memory_during - memory_before > 0.9 * size
    assert during.worker_memory - before.worker_memory > 0.9 * size
    assert during.worker_descriptors - before.worker_descriptors >= 50
    assert during.worker_mappings > before.worker_mappings
    assert after.worker_descriptors < during.worker_descriptors
    assert during.children > after.children


@needs_proc
def test_cpu_seconds_of_a_child_count_while_it_lives() -> None:
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe()
    child = spawn.Process(target=_spin, args=(0.3, theirs))
    before = processes.cpu_seconds()
    child.start()
    ours.recv()
    during = processes.cpu_seconds()
    ours.send("end")
    child.join()
    assert during - before >= 0.25


def _spin(seconds: float, pipe: Connection) -> None:
    while sum(os.times()[:2]) < seconds:
        pass
    pipe.send("done")
    pipe.recv()


@pytest.mark.parametrize("kind", [samples.Texts, samples.Speech])
def test_padding_by_hand_gives_the_batches_of_pad_collate(kind) -> None:
    dataset = kind(8)
    batch = [dataset[index] for index in range(8)]
    theirs, ours = samples.pad_by_hand(batch), dlkit.pad_collate(batch)
    assert list(theirs) == list(ours)
    for key, value in theirs.items():
        pairs = zip(value, ours[key], strict=True) if isinstance(value, tuple) else [
            (value, ours[key])
        ]  # fmt: skip
        for left, right in pairs:
            torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_jpegs_are_the_same_in_each_run_and_look_like_photographs_to_a_codec(tmp_path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        samples.write_jpegs(str(folder), 2)
    first, second = ([path.read_bytes() for path in sorted(f.iterdir())] for f in folders)
    assert first == second
    assert first[0] != first[1]
    assert all(10_000 < len(content) < 60_000 for content in first)
    dataset = samples.JpegFiles(str(folders[0]))
    image, label = dataset[1]
    assert (len(dataset), label, image.shape, image.dtype) == (2, 1, (3, 224, 224), torch.float32)
    assert 0 <= float(image.min()) < 0.3 < 0.7 < float(image.max()) <= 1


@pytest.mark.parametrize(
    ("module", "function", "arguments", "bars"),
    [
        (workers.WORKLOADS, "cheap_samples", {"batch_size": 32}, [4, 0.6]),
        (workers.WORKLOADS, "in_memory", {}, [3]),
        (workers.WORKLOADS, "busy_samples", {}, [1.0]),
        (workers.WORKLOADS, "variable_lengths", {"kind": "Texts"}, [1.5]),
        (workers.WORKLOADS, "variable_lengths", {"kind": "Speech"}, [1.5]),
        (workers.STARTING, "first_batch", {"method": "fork"}, [0.8]),
        (workers.STARTING, "turn_over", {}, [0.5]),
    ],
)
def test_a_workload_compares_with_pytorch_and_has_a_bar(module, function, arguments, bars) -> None:
    rows = processes.in_fresh_process(module, function, rounds=1, quick=True, **arguments)
    assert [row.bar for row in rows if row.candidate == measure.PROCESSES] == bars
    assert rows[0].candidate == measure.TORCH
    assert all(row.median > 0 and row.ratio > 0 for row in rows)
    assert {row.at_most for row in rows} == {module == workers.STARTING}


@needs_proc
def test_memory_of_workers_is_compared_in_fresh_processes(tmp_path) -> None:
    samples.write_jpegs(str(tmp_path), 64)
    rows = workers.jpeg_memory(rounds=1, method="fork", folder=str(tmp_path))
    assert [(row.candidate, row.bar) for row in rows] == [
        (measure.TORCH, None),
        (measure.PROCESSES, None),
        (measure.THREADS, 0.6),
        ("the process before its loader is made", None),
    ]
    assert all(row.median > 50 and row.unit == "MB" and row.at_most for row in rows)
    assert rows[-1].ratio < 1


def test_the_workers_benchmark_runs_and_writes_its_figures(tmp_path, project) -> None:
    target = tmp_path / "workers.json"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.workers", "--quick", "--only", "in-memory",
         "--json", str(target)],
        cwd=project,
        check=True,
        capture_output=True,
    )  # fmt: skip
    figures = json.loads(target.read_text())
    assert [row["candidate"] for row in figures["rows"]] == [measure.TORCH, measure.PROCESSES]
    assert figures["machine"]["cores"] >= 1


@pytest.mark.parametrize(
    ("function", "bars"), [("jpegs", [None, 1.1, 1.35]), ("jpeg_cpu", [None, None, None])]
)
def test_workers_that_decode_files_are_compared_in_speed_and_cost(tmp_path, function, bars) -> None:
    samples.write_jpegs(str(tmp_path), 64)
    rows = processes.in_fresh_process(
        "benchmarks.workloads", function, folder=str(tmp_path), rounds=1, quick=True
    )
    assert [row.candidate for row in rows] == [measure.TORCH, measure.PROCESSES, measure.THREADS]
    assert [row.bar for row in rows] == bars
    assert all(row.median > 0 for row in rows)


@needs_proc
@pytest.mark.parametrize("candidate", [measure.TORCH, measure.PROCESSES, measure.THREADS])
def test_a_long_run_records_cpu_time_memory_and_descriptors(candidate) -> None:
    run = processes.in_fresh_process(
        "benchmarks.workloads", "endurance", candidate=candidate, num_workers=2, batches=300
    )
    assert run["cpu"] > 0
    assert run["memory"] > 50
    assert 3 <= run["fewest"] <= run["most"]


def test_a_word_that_no_workload_has_is_refused_with_their_names(project) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.workers", "--only", "nothing-like-this"],
        cwd=project,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "cheap-32" in done.stderr


HELD = processes.Holdings(
    main_memory=300_000_000,
    worker_memory=200_000_000,
    main_descriptors=20,
    worker_descriptors=30,
    main_mappings=600,
    worker_mappings=1200,
    shared_memory_files=0,
    threads=3,
    children=2,
)


@pytest.mark.parametrize(
    ("figure", "growth"),
    [("main_memory", 1_000_000), ("worker_descriptors", 1), ("main_mappings", 3), ("children", 1)],
)
def test_what_grows_epoch_by_epoch_is_not_flat(figure, growth) -> None:
    moments = [
        soak.Moment(kind, epoch, replace(HELD, **{figure: getattr(HELD, figure) + epoch * growth}))
        for epoch in range(40)
        for kind in ("kept", "new")
    ]
    growing = [trend for trend in soak.trends(moments) if not trend.flat]
    assert [(trend.kind, trend.figure) for trend in growing] == [("kept", figure), ("new", figure)]


def test_warming_up_and_small_swings_are_flat() -> None:
    warming = [replace(HELD, main_memory=100_000_000 * epoch) for epoch in range(3)]
    swinging = [replace(HELD, main_descriptors=20 + epoch % 2) for epoch in range(37)]
    held = [*warming, *swinging]
    assert all(trend.flat for trend in soak.trends([soak.Moment("kept", 0, one) for one in held]))


def test_workers_that_linger_until_they_are_collected_are_not_flat() -> None:
    moments = [soak.Moment("new", 0, replace(HELD, children=2 + 2 * (n % 4))) for n in range(40)]
    assert [trend.figure for trend in soak.trends(moments) if not trend.flat] == ["children"]


def test_the_soak_notices_a_batch_that_was_overwritten() -> None:
    dataset = soak.Small(64)
    first, second = list(dlkit.DataLoader(dataset, soak.BATCH_SIZE))[:2]
    soak._check(0, first)
    first["label"].copy_(second["label"])
    with pytest.raises(RuntimeError, match="batch 0 should hold the samples from 0 to 15"):
        soak._check(0, first)


@needs_proc
@pytest.mark.parametrize("method", ["process", "thread"])
def test_the_soak_runs_and_ends_with_a_verdict(method, tmp_path, project) -> None:
    target = tmp_path / "soak.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "--batches", "176", "--method", method,
         "--json", str(target)],
        cwd=project,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert target.exists(), done.stderr[-3_000:]
    figures = json.loads(target.read_text())
    assert done.returncode == (0 if all(trend["flat"] for trend in figures["trends"]) else 1)
    assert {moment["kind"] for moment in figures["moments"]} == {"kept", "new"}
    assert figures["moments"][-1]["batches"] > 140
    children = [moment["held"]["children"] for moment in figures["moments"]]
    assert (min(children) >= 2) if method == "process" else (max(children) == 0)


@needs_proc
@pytest.mark.parametrize("act", mixed.ACTS)
def test_each_act_of_the_mixed_run_ends_as_it_began(act) -> None:
    resource_tracker.ensure_running()
    before = mixed.descendants()
    mixed.ACTS[act]()
    mixed.settle(before)


@needs_proc
def test_the_mixed_run_notices_a_process_that_is_left(monkeypatch) -> None:
    monkeypatch.setattr(mixed, "PATIENCE", 0.1)
    before = mixed.descendants()
    left = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with left, pytest.raises(RuntimeError, match=rf"no process left behind.*pid={left.pid}"):
        mixed.settle(before)


@needs_proc
def test_the_mixed_run_ends_with_a_verdict_on_each_act(monkeypatch, tmp_path, capsys) -> None:
    held: list[bytes] = []
    acts = {"clean": lambda: None, "leaking": lambda: held.append(b"x" * 8_000_000)}
    monkeypatch.setattr(mixed, "ACTS", acts)
    target = tmp_path / "mixed.json"
    monkeypatch.setattr(sys, "argv", ["mixed", "--minutes", "0", "--json", str(target)])
    with pytest.raises(SystemExit) as ended:
        mixed.main()
    assert ended.value.code == 1
    assert re.search(r"leaking main memory, MB .* NOT FLAT\n", capsys.readouterr().out)
    figures = json.loads(target.read_text())
    assert [moment["kind"] for moment in figures["moments"]] == ["clean", "leaking"] * mixed.LEAST


def test_the_storage_benchmark_compares_every_format_and_holds_two_against_a_bar(tmp_path) -> None:
    files = storage.Files(tmp_path, quick=True)
    rows = []
    for format in storage.FORMATS:
        rows += storage.throughput(files, format, "small", "shuffled", rounds=1)
    rows += storage.throughput(files, "arrow", "jpeg", "in order", rounds=1)
    assert {row.workload.split(",")[0] for row in rows if row.bar == 5.0} == {"memmap", "arrow"}
    assert all(row.median > 0 for row in rows)


def test_the_storage_benchmark_runs_against_the_peers_that_are_installed(tmp_path, project) -> None:
    target = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.storage", "--quick", "--only", "peers-small", "--json",
         str(target)],
        cwd=project,
        check=True,
        capture_output=True,
        text=True,
    )  # fmt: skip
    candidates = {row["candidate"] for row in json.loads(target.read_text())["rows"]}
    assert "webdataset" in candidates
    assert "litdata is not installed" in done.stdout or "litdata" in candidates


def test_plain_readers_and_ours_read_the_same_samples(tmp_path) -> None:
    files = storage.Files(tmp_path, quick=True)
    for kind in ("small", "jpeg"):
        for format, plain in storage.READERS.items():
            path = files.path(format, kind)
            theirs = plain(path, files.count(kind), storage.KINDS[kind][0])
            ours = storage.open_dataset(path, trusted=True)
            for index in (63, 0):
                (image, label), (other, number) = theirs[index], ours[index]
                assert label == int(number)
                assert image == other if kind == "jpeg" else torch.equal(image, other)


def test_the_prediction_benchmark_runs_and_writes_its_figures_and_its_picture(tmp_path, project):
    target, picture = tmp_path / "prediction.json", tmp_path / "prediction.png"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.prediction", "--quick", "--json", str(target),
         "--plot", str(picture)],
        cwd=project, check=True, capture_output=True, text=True,
    )  # fmt: skip
    points = json.loads(target.read_text())["points"]
    assert {(p["num_workers"], p["method"]) for p in points} == {(0, "process"), (2, "process")}
    assert all(p["error"] == abs(p["predicted"] / p["measured"] - 1) for p in points)
    assert "median error" in done.stdout
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_the_grid_of_the_prediction_benchmark_is_as_large_as_it_must_be():
    grid = list(prediction.settings(quick=False))
    assert len(set(grid)) == len(grid) >= 40
    kinds, sizes, workers, _ = (set(values) for values in zip(*grid, strict=True))
    assert workers == {0, 1, 2, 3, 4}
    assert len(kinds) >= 3
    assert len(sizes) == 3


def test_the_tuning_benchmark_compares_with_a_whole_grid(tmp_path, project):
    target = tmp_path / "tuning.json"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.tuning", "--quick", "--only", "slow disk",
         "--json", str(target)],
        cwd=project, check=True, capture_output=True,
    )  # fmt: skip
    (row,) = json.loads(target.read_text())["rows"]
    assert row["settings_in_grid"] == 3
    assert row["ratio"] > 0
    assert row["share"] == row["tune_seconds"] / row["grid_seconds"]


def test_tuning_is_measured_on_ten_different_workloads(tmp_path):
    samples.write_jpegs(str(tmp_path), 1)
    assert len(tuning.workloads(str(tmp_path))) == 10
    assert len(list(tuning.grid(quick=False))) == 17


@needs_proc
def test_the_sharding_benchmark_runs_and_writes_its_figures(tmp_path, project) -> None:
    target = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sharding", "--quick", "--json", str(target)],
        cwd=project,
        capture_output=True,
        text=True,
    )
    assert target.exists(), done.stderr[-3_000:]
    rows = json.loads(target.read_text())["rows"]
    assert len(rows) == 3 * 3
    peaks = [r for r in rows if "peak" in r["workload"]]
    by_name = {row["candidate"]: row["median"] for row in peaks}
    # Not a matter of speed: 40 bytes for each of a million samples and a tensor, against 4.
    assert by_name["list of all indices"] > 40
    assert by_name["dlkit's"] < by_name["PyTorch's DistributedSampler"] / 5


@pytest.mark.parametrize("part", ["rate", "cost", "align"])
def test_the_streaming_benchmark_runs_and_each_part_has_a_bar(part, tmp_path, project) -> None:
    target = tmp_path / "streaming.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.streaming", "--quick", "--rounds", "1", "--only", part,
         "--json", str(target)],
        cwd=project,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0
    rows = json.loads(target.read_text())["rows"]
    assert {row["bar"] for row in rows} - {None}
    assert all(math.isfinite(row["median"]) for row in rows)


def test_a_doubling_load_and_a_mixed_one_are_run_in_real_time(monkeypatch, tmp_path) -> None:
    from benchmarks import streaming_load

    points = streaming_load._ramp({"max_batch": 8, "max_delay": 0.01}, first=100, steps=2, step=0.4)
    assert [load for load, _ in points] == [100, 200]
    assert all(seconds > 0 for _, seconds in points)
    monkeypatch.setattr(streaming_load, "under_load", lambda quick: {"adaptive": points})
    rows = streaming_load.load(1, quick=True, plot=tmp_path / "load.png")
    assert [row.bar for row in rows] == [1.0]
    assert (tmp_path / "load.png").stat().st_size > 3000


def test_the_latency_of_a_watched_stream_is_compared_with_that_of_one_alone() -> None:
    from benchmarks import live

    rows = live.latency(lambda images: torch.zeros(len(images), 10), (100,), seconds=1, settling=0)
    assert [row.candidate for row in rows] == ["alone", "watched"]
    assert rows[0].bar is None
    assert all(math.isfinite(row.median) and "seconds held" in row.note for row in rows)
