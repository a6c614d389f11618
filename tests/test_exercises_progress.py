"""Progress is kept through crashes, two kernels at once, and files that cannot be read."""

import json
import subprocess
import sys
import tempfile

import platformdirs
import pytest

from dlkit.lab.exercises import Progress, names
from dlkit.lab.exercises.progress import data_folder
from dlkit.plots.exercises import index_strips, mastery_bars, target_and_yours
from dlkit.plots.style import png


def test_events_come_back_in_order(tmp_path):
    progress = Progress(tmp_path)
    assert progress.events() == []
    progress.record("index_batches", "failed", detail="ignores_drop_last")
    progress.record("index_batches", "solved")
    progress.record("lru_put", "solved", kind="parsons")
    assert [(e.name, e.event) for e in progress.events()] == [
        ("index_batches", "failed"),
        ("index_batches", "solved"),
        ("lru_put", "solved"),
    ]
    assert progress.solved() == {"index_batches"}
    assert progress.solved("parsons") == {"lru_put"}
    assert progress.mastery()["batching"] == (1, len(names("batching")))


def test_what_is_no_event_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"kind must be one of .*, but got 'cards'"):
        Progress(tmp_path).record("x", "solved", kind="cards")
    with pytest.raises(ValueError, match=r"event must be one of .*, but got 'won'"):
        Progress(tmp_path).record("x", "won")


def test_a_corrupt_file_is_kept_aside_and_the_rest_goes_on(tmp_path):
    progress = Progress(tmp_path)
    progress.record("index_batches", "solved")
    with open(progress.path, "ab") as file:
        file.write(b'{"when": 1, "kind": "coding", "na\xff\n[1, 2]\n{"when": 3}\n')
    before = progress.path.read_bytes()
    assert progress.solved() == {"index_batches"}
    assert (tmp_path / "progress.jsonl.corrupt-1").read_bytes() == before
    progress.record("collate", "solved")
    assert progress.solved() == {"index_batches", "collate"}
    assert not (tmp_path / "progress.jsonl.corrupt-2").exists()


def test_a_line_that_a_crash_cut_off_costs_itself_alone(tmp_path):
    progress = Progress(tmp_path)
    progress.record("index_batches", "solved")
    with open(progress.path, "ab") as file:
        file.write(b'{"when": 17')
    progress.record("collate", "solved")
    assert progress.solved() == {"index_batches", "collate"}


def test_two_kernels_at_once_lose_nothing(tmp_path):
    code = (
        "import sys\n"
        "from dlkit.lab.exercises.progress import Progress\n"
        "for i in range(200):\n"
        "    Progress(sys.argv[1]).record(f'{sys.argv[2]}-{i}', 'solved')\n"
        "    Progress(sys.argv[1]).events() if i % 50 == 0 else None\n"
    )
    kernels = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "ab"]
    assert [kernel.wait() for kernel in kernels] == [0, 0]
    wanted = {f"{name}-{i}" for name in "ab" for i in range(200)}
    assert Progress(tmp_path).solved() == wanted
    assert len(Progress(tmp_path).events()) == 400


def test_it_can_be_exported_and_deleted(tmp_path):
    progress = Progress(tmp_path / "data")
    progress.record("index_batches", "solved")
    written = json.loads(progress.export(tmp_path / "out" / "mine.json").read_text())
    assert [entry["name"] for entry in written] == ["index_batches"]
    (tmp_path / "data" / "progress.jsonl.corrupt-1").write_bytes(b"x")
    progress.delete()
    assert progress.events() == []
    assert not list((tmp_path / "data").glob("progress.jsonl*"))


def test_a_variable_says_where_it_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("DLKIT_PROGRESS", str(tmp_path))
    assert data_folder() == tmp_path
    assert Progress().path == tmp_path / "progress.jsonl"
    monkeypatch.delenv("DLKIT_PROGRESS")
    assert data_folder().name == "dlkit"


@pytest.mark.parametrize("run", [1, 2])
def test_no_test_meets_the_users_own_progress_or_that_of_another_test(run):
    user = platformdirs.user_data_path("dlkit", appauthor=False)
    assert data_folder() != user
    assert data_folder().is_relative_to(tempfile.gettempdir())
    assert Progress().events() == []
    Progress().record("index_batches", "solved")


@pytest.mark.filterwarnings("error")
def test_an_answer_that_is_no_number_is_drawn_and_told():
    nan, inf = float("nan"), float("inf")
    picture = target_and_yours([1.0, 2.0, inf], [nan, 4.0, inf])
    assert picture.caption.endswith("largest difference 2, and 2 of 3 not finite")
    assert len(png(picture)) > 1000
    assert target_and_yours(1.0, nan).caption.endswith(
        "largest difference 0, and 1 of 1 not finite"
    )


def test_pictures_say_what_they_show():
    assert "no array" in target_and_yours([1.0], "nothing").caption
    assert "largest difference 2" in target_and_yours([[1.0, 2.0]], [[1.0, 4.0]]).caption
    assert index_strips([[0]], None).caption == (
        "expected 1 batch with 1 index; yours 0 batches with 0 indices"
    )
    assert mastery_bars({"batching": (2, 2)}).caption == "2 of 2 exercises solved"
