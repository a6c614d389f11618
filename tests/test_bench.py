"""The comparison of loaders: the works, the peers that are here, the turns, the table."""

import json
import re
import sys
from types import SimpleNamespace

import psutil
import pytest
import torch
from worker_cases import children, eventually

from dlkit.bench import PEERS, WORKS, contest
from dlkit.bench.contest import Result, Turn
from dlkit.bench.peers import NotMadeForIt, Peer
from dlkit.bench.table import plot
from dlkit.bench.works import check, make_work
from dlkit.cli import main
from dlkit.plots.style import png

HERE = [name for name, peer in PEERS.items() if peer.installed]


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    folder = tmp_path_factory.mktemp("works")
    made = {name: make_work(name, folder, quick=True) for name in WORKS}
    for work in made.values():
        work.prepare()
    return made


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("name", HERE)
def test_every_loader_has_every_sample_once_in_each_of_two_passes(works, work, name):
    try:
        loader = PEERS[name].make(works[work])
    except NotMadeForIt as reason:
        pytest.skip(f"{name}: {reason}")
    orders = []
    for _ in range(2):
        batches = list(loader)
        check(works[work], batches)
        first = batches[0]
        orders.append(first["label"] if isinstance(first, dict) else first[1])
    same = torch.equal(*map(torch.as_tensor, orders))
    assert same is not works[work].shuffle


@pytest.mark.parametrize("work", WORKS)
def test_loaders_deliver_the_same_samples(works, work):
    def samples(name):
        found = {}
        for batch in PEERS[name].make(works[work]):
            values, labels = (batch["tokens"], batch["label"]) if isinstance(batch, dict) else batch
            for value, label in zip(values, torch.as_tensor(labels).tolist(), strict=True):
                value = torch.as_tensor(value)
                found[label] = value[value.nonzero().flatten()] if work == "text" else value
        return [found[label] for label in sorted(found)]

    expected = samples("torch DataLoader")
    for name in HERE:
        try:
            got = samples(name)
        except NotMadeForIt:
            continue
        assert all(map(torch.equal, expected, got)), name


@pytest.mark.parametrize("labels", [[0, 1, 1], [0, 1], [0, 1, 2, 3]])
def test_a_pass_that_loses_or_repeats_a_sample_is_noticed(works, labels):
    work = make_work("items", works["items"].folder.parent, quick=True)
    object.__setattr__(work, "count", 3)
    with pytest.raises(ValueError, match=r"a pass had \d of 3 samples"):
        check(work, [(None, torch.tensor(labels))])


def test_a_loader_that_fails_or_is_not_there_says_so_and_the_others_go_on(works, monkeypatch):
    monkeypatch.setitem(PEERS, "nowhere", Peer("nowhere", "a_package_that_is_nowhere", "nowhere"))
    results = contest(works["items"], ["torch DataLoader", "nowhere", "dlkit threads"], rounds=2)
    baseline, nowhere, threads = results
    assert (baseline.why_not, len(baseline.turns), baseline.ratio) == ("", 2, 1.0)
    assert baseline.first_batch > 0
    assert baseline.memory > 1e6
    assert (nowhere.why_not, nowhere.failed) == ("not installed", False)
    assert (threads.why_not, threads.failed) == (
        "without workers it is the same as with processes", False
    )  # fmt: skip


def test_a_loader_that_hangs_is_ended_with_all_its_processes(works):
    before = children()
    results = contest(works["items"], ["torch DataLoader", "dlkit processes"], 1, patience=0.01)
    assert [result.why_not for result in results] == ["gave no answer within 0.01 s"] * 2
    assert all(result.failed for result in results)
    eventually(lambda: not set(children()) - set(before))


def test_a_process_that_ends_while_it_is_looked_at_counts_nothing(monkeypatch):
    class Process:
        def __init__(self, *children):
            self.gone, self.processes = not children, children

        def children(self, recursive):
            return self.processes

        def cpu_times(self):
            if self.gone:
                raise psutil.NoSuchProcess(1)
            return SimpleNamespace(user=1.0, system=2.0, children_user=3.0, children_system=4.0)

    module = sys.modules["dlkit.bench.contest"]  # which the function of its name hides
    monkeypatch.setitem(module._here, "process", Process(Process()))
    assert module._cpu_seconds() == 10.0


def test_ratios_are_those_of_the_same_round():
    baseline = Result("w", "a", 100, turns=[Turn(1.0, 1.0), Turn(4.0, 4.0), Turn(2.0, 1.0)])
    faster = Result("w", "b", 100, turns=[Turn(0.5, 2.0), Turn(1.0, 2.0), Turn(2.0, 3.0)])
    faster.compare(baseline)
    assert (faster.lowest, faster.ratio, faster.highest) == (1.0, 2.0, 4.0)
    assert (faster.rate, faster.cpu) == (100.0, 20.0)


def test_the_picture_shows_every_ratio_and_its_spread():
    results = [
        Result("w", "a", 1, turns=[Turn(1, 1)], ratio=1.0, lowest=1.0, highest=1.0),
        Result("w", "dlkit b", 1, turns=[Turn(1, 1)], ratio=3.0, lowest=2.0, highest=5.0),
        Result("w", "c", 1, why_not="not installed"),
    ]
    figure = plot(results)
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [1.0, 3.0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "dlkit b"]
    assert list(axes.lines[1].get_xdata()) == [2.0, 5.0]
    assert len(png(figure)) > 3_000


def test_works_without_a_ratio_are_not_drawn_and_none_at_all_is_an_error():
    one = Result("w", "a", 1, turns=[Turn(1, 1)], ratio=1.0, lowest=1.0, highest=1.0)
    failed = Result("v", "a", 1, why_not="its process died", failed=True)
    assert [axes.get_title() for axes in plot([failed, one]).axes] == ["w"]
    with pytest.raises(ValueError, match="results must hold at least one ratio"):
        plot([failed])


def test_a_figure_that_cannot_be_written_is_named_after_the_tables(tmp_path, monkeypatch, capsys):
    module = sys.modules["dlkit.bench.contest"]  # which the function of its name hides
    monkeypatch.setattr(module, "contest", lambda *_, **__: [])
    monkeypatch.setattr("dlkit.bench.table.table", lambda *_: "the table")
    assert main(["bench", "items", "--quick", "--plot", str(tmp_path / "picture.png")]) == 1
    said = capsys.readouterr()
    assert "the table" in said.out
    assert said.err.startswith("dlkit bench: results must hold at least one ratio")
    assert main(["bench", "items", "--quick", "--json", str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err


def test_the_command_prints_tables_and_writes_all_figures(tmp_path, capsys):
    figures, picture = tmp_path / "figures.json", tmp_path / "picture.png"
    arguments = ["items", "--quick", "--peers", "webdataset"]
    assert main(["bench", *arguments, "--json", str(figures), "--plot", str(picture)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"torch DataLoader .* 1\.00 ", said)
    assert "it reads shards of files one after another" in " ".join(said.split())
    content = json.loads(figures.read_text())
    assert {"torch", "dlkit"} <= set(content["machine"]["packages"])
    rows = {row["loader"]: row for row in content["results"]}
    assert set(rows) == {"torch DataLoader", "dlkit processes", "dlkit threads", "webdataset"}
    assert rows["dlkit processes"]["samples_per_second"] > 0
    assert picture.read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["swimming"], "no such work: swimming; there are items, jpeg"),
        (["--peers", "carrier pigeon"], "no such loader: carrier pigeon; there are torch"),
        (["--rounds", "0"], "--rounds must be 1 or more"),
    ],
)
def test_what_is_not_there_is_refused(arguments, said, capsys):
    with pytest.raises(SystemExit):
        main(["bench", *arguments])
    assert said in capsys.readouterr().err
