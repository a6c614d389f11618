"""A sweep keeps every row, goes on where it was, and ends when it is told to."""

import json
import multiprocessing
import sys
import threading

import pytest
import torch
from torch.utils import data as torch_data

import dlkit
from dlkit.diagnose.sweep import Sweep

DATA = dlkit.TensorDataset(torch.arange(200))
GRID = {"batch_size": [1, 10], "num_workers": [0, 1]}


class Maker:
    """Makes loaders, and notes which."""

    def __init__(self, kind=dlkit.DataLoader):
        self.kind, self.made = kind, []

    def __call__(self, **settings):
        self.made.append(settings)
        return self.kind(DATA, **settings)


def run(grid, maker, **options):
    return dlkit.sweep(grid, maker, **{"seconds": 0.01, "progress": False, **options})


@pytest.fixture(autouse=True)
def no_workers_left():
    yield
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("kind", [dlkit.DataLoader, torch_data.DataLoader])
def test_every_setting_of_the_grid_has_one_row_in_its_order(kind):
    table = run(GRID, Maker(kind))
    expected = [(size, workers) for size in (1, 10) for workers in (0, 1)]
    assert [(row["batch_size"], row["num_workers"]) for row in table.rows] == expected
    assert all(row["throughput"] > 0 and row["error"] is None for row in table.rows)
    assert table.complete
    frame = table.to_pandas()
    assert list(frame.columns[:3]) == ["batch_size", "num_workers", "throughput"]
    assert len(frame) == 4


def test_what_is_in_the_file_is_not_run_again(tmp_path):
    file = tmp_path / "new folder" / "rows.jsonl"
    first = run({"batch_size": [1, 10]}, Maker(), file=file)
    maker = Maker()
    second = run({"batch_size": [1, 10, 20]}, maker, file=file)
    assert maker.made == [{"batch_size": 20}]
    assert second.rows[:2] == first.rows
    assert len(file.read_text().splitlines()) == 3


def test_a_line_that_was_not_finished_is_run_again(tmp_path):
    file = tmp_path / "rows.jsonl"
    run({"batch_size": [1, 10]}, Maker(), file=file)
    file.write_text(file.read_text()[:-20])
    maker = Maker()
    table = run({"batch_size": [1, 10]}, maker, file=file)
    assert maker.made == [{"batch_size": 10}]
    assert len(table.rows) == 2
    assert run({"batch_size": [1, 10]}, Maker(), file=file) == table


def test_the_file_of_another_sweep_is_refused(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"speed": 3}) + "\n")
    with pytest.raises(ValueError, match="holds another sweep: line 1"):
        run({"batch_size": [1]}, Maker(), file=file)


def test_a_setting_that_is_impossible_gets_a_row_that_says_why():
    table = run({"num_workers": [0, 1], "prefetch_factor": [4]}, Maker())
    assert "prefetch_factor needs num_workers > 0" in table.rows[0]["error"]
    assert table.rows[0]["throughput"] is None
    assert table.rows[1]["error"] is None
    assert table.best == {"num_workers": 1, "prefetch_factor": 4}


def test_an_error_while_running_names_the_setting_and_keeps_the_rows_before(tmp_path):
    class Broken(torch_data.Dataset):
        def __len__(self):
            return 100

        def __getitem__(self, index):
            raise OSError("damaged")

    def make_loader(batch_size):
        return dlkit.DataLoader(DATA if batch_size == 1 else Broken(), batch_size, num_workers=1)

    file = tmp_path / "rows.jsonl"
    with pytest.raises(OSError, match="damaged") as caught:
        run({"batch_size": [1, 2, 3]}, make_loader, file=file)
    assert "{'batch_size': 2}" in "".join(caught.value.__notes__)
    assert len(file.read_text().splitlines()) == 1


def test_another_thread_can_stop_it_and_it_goes_on_later(tmp_path):
    stop, running = threading.Event(), threading.Event()
    file = tmp_path / "rows.jsonl"
    batches = []

    def step(batch):
        batches.append(batch)
        if len(batches) > 40:
            running.set()
            assert stop.wait(20)

    tables = []

    def work():
        options = {"step": step, "stop": stop, "file": file, "seconds": 60}
        tables.append(run({"batch_size": [1, 2, 3]}, Maker(), **options))

    thread = threading.Thread(target=work)
    thread.start()
    assert running.wait(20)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert tables[0].complete is False
    assert tables[0].rows == ()
    assert len(run({"batch_size": [1, 2, 3]}, Maker(), file=file).rows) == 3


def test_an_interrupt_ends_it_and_its_workers():
    def step(batch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run({"num_workers": [2]}, Maker(), step=step)


def test_the_bar_counts_settings(capsys):
    run({"batch_size": [1, 2]}, Maker(), progress=True)
    assert "2/2" in capsys.readouterr().err


def test_without_tqdm_there_is_no_bar(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert len(run({"batch_size": [1]}, Maker(), progress=True).rows) == 1


@pytest.mark.parametrize(
    ("grid", "changes", "error", "message"),
    [
        ([1], {}, TypeError, "grid must be a dictionary"),
        ({}, {}, ValueError, "grid must name at least one setting"),
        ({"batch_size": []}, {}, ValueError, "must be a list of values"),
        ({"batch_size": "12"}, {}, ValueError, "must be a list of values"),
        ({"collate_fn": [print]}, {}, TypeError, "must hold values that JSON has"),
        ({"batch_size": [1]}, {"seconds": 0}, ValueError, "seconds must be more than 0"),
        ({"batch_size": [1]}, {"make_loader": 3}, TypeError, "make_loader must be callable"),
        ({"batch_size": [1]}, {"step": 3}, TypeError, "step must be callable or None, but got 3"),
    ],
)
def test_impossible_arguments_are_refused(grid, changes, error, message):
    with pytest.raises(error, match=message):
        run(grid, changes.pop("make_loader", Maker()), **changes)


def test_nothing_measured_has_no_best():
    with pytest.raises(ValueError, match="none is the best"):
        Sweep(("batch_size",), ()).best  # noqa: B018


def test_it_draws_itself():
    assert "best at" in run(GRID, Maker()).plot().caption
