"""Learners' copies of the notebooks: brought, kept, brought up to date, given back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlkit.cli import copies, lab, lab_check, main
from dlkit.cli.copies import MEMORY, bring_copies, find_notebooks, reset_copy


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "images").mkdir(parents=True)
    (folder / "text").mkdir()
    for name in ("00_start_here", "01_batching", "02_shuffling"):
        write(folder / f"{name}.ipynb", f"{name}, first version")
        (folder / "text" / f"{name}.py").write_text("# not for learners")
    (folder / "images" / "pipeline.png").write_bytes(b"a picture")
    return folder


@pytest.fixture
def folder(tmp_path, source):
    folder = tmp_path / "mine"
    bring_copies(folder, source)
    return folder


def write(path, text):
    cell = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": text}
    content = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(content))


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MEMORY
    }


def test_notebooks_and_pictures_are_copied_and_their_text_is_not(source, folder):
    assert contents(folder) == {
        name: content for name, content in contents(source).items() if not name.startswith("text/")
    }
    assert str(bring_copies(folder, source)) == "", "the second time there is nothing to do"


def test_what_a_learner_changed_is_never_overwritten_and_a_new_version_lies_beside_it(
    source, folder
):
    write(folder / "01_batching.ipynb", "my answer")
    mine = (folder / "01_batching.ipynb").read_bytes()
    assert not bring_copies(folder, source).beside, "there is no new version yet"
    write(source / "01_batching.ipynb", "second version")
    write(source / "02_shuffling.ipynb", "second version")
    report = bring_copies(folder, source)
    assert (report.updated, report.beside) == (["02_shuffling.ipynb"], ["01_batching.new.ipynb"])
    assert "01_batching.new.ipynb" in str(report)
    assert (folder / "01_batching.ipynb").read_bytes() == mine
    second = (source / "01_batching.ipynb").read_bytes()
    assert (folder / "01_batching.new.ipynb").read_bytes() == second
    assert (folder / "02_shuffling.ipynb").read_bytes() == second
    (folder / "01_batching.new.ipynb").unlink()
    assert not bring_copies(folder, source).beside, "it is offered once"


@pytest.mark.parametrize("damage", ["[]", "{", '{"01_batching.ipynb": 3}', None])
def test_without_a_memory_everything_that_differs_counts_as_changed(source, folder, damage):
    memory = folder / MEMORY
    memory.unlink()
    if damage is not None:
        memory.write_text(damage)
    write(source / "01_batching.ipynb", "second version")
    first = (folder / "01_batching.ipynb").read_bytes()
    assert bring_copies(folder, source).beside == ["01_batching.new.ipynb"]
    assert (folder / "01_batching.ipynb").read_bytes() == first


@pytest.mark.parametrize("name", ["01", "01_batching", "01_batching.ipynb"])
def test_a_reset_gives_a_notebook_back_and_keeps_every_version_of_the_learner(source, folder, name):
    for number, kept in enumerate(["01_batching.mine.ipynb", "01_batching.mine-2.ipynb"]):
        write(folder / "01_batching.ipynb", f"my answer {number}")
        mine = (folder / "01_batching.ipynb").read_bytes()
        report = reset_copy(folder, name, source)
        assert report.kept == [kept]
        assert (folder / kept).read_bytes() == mine
        original = (source / "01_batching.ipynb").read_bytes()
        assert (folder / "01_batching.ipynb").read_bytes() == original
    assert reset_copy(folder, name, source).kept == [], "what is as it came needs no keeping"


@pytest.mark.parametrize(("name", "count"), [("99", "no"), ("", "no"), ("0", "3"), ("../x", "no")])
def test_a_reset_of_no_notebook_or_of_several_names_those_that_there_are(
    source, folder, name, count
):
    before = contents(folder)
    with pytest.raises(ValueError, match=f"names {count} notebooks; there are: 00_start_here, "):
        reset_copy(folder, name, source)
    assert contents(folder) == before


def test_a_copy_that_fails_leaves_the_old_file_whole(source, folder, monkeypatch):
    write(source / "01_batching.ipynb", "second version")
    before = contents(folder)
    monkeypatch.setattr(copies.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        bring_copies(folder, source)
    assert contents(folder) == before


def test_without_notebooks_it_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="Install it again, or run `make lab`"):
        find_notebooks(tmp_path)


def test_the_folder_is_the_working_folder_if_that_has_copies(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lab.choose_folder(None) == tmp_path / lab.FOLDER
    bring_copies(tmp_path / lab.FOLDER, source)
    monkeypatch.chdir(tmp_path / lab.FOLDER)
    assert lab.choose_folder(None) == tmp_path / lab.FOLDER
    assert lab.choose_folder(Path("other")) == tmp_path / lab.FOLDER / "other"


def test_the_command_resets_a_notebook_and_complains_of_others(tmp_path, capsys):
    folder = str(tmp_path / "mine")
    assert main(["lab", "--folder", folder, "--reset", "01"]) == 0
    assert "files were copied" in capsys.readouterr().out
    assert (tmp_path / "mine" / "01_batching.ipynb").is_file()
    assert main(["lab", "--folder", folder, "--reset", "01"]) == 0
    assert capsys.readouterr().out == "1 file was copied.\n"
    assert main(["lab", "--folder", folder, "--reset", "77"]) == 1
    assert "'77' names no notebooks" in capsys.readouterr().err


def test_two_labs_that_start_at_once_choose_different_ports(tmp_path):
    code = (
        "import sys; from dlkit.cli.lab import choose_port; "
        "print(choose_port(None), flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(2)
    ]
    ports = [process.stdout.readline() for process in both]  # neither listens yet
    for process in both:
        process.communicate()
    assert len(set(ports)) == 2
    assert all(port.strip().isdigit() for port in ports)


def test_the_check_runs_every_notebook_and_says_which_fail_and_why(source, tmp_path, capsys):
    for name, code in (("00_start_here", "1 + 1"), ("02_shuffling", "1 / 0")):
        cell = {
            "cell_type": "code",
            "id": "a",
            "metadata": {},
            "source": code,
            "outputs": [],
            "execution_count": None,
        }
        content = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (source / f"{name}.ipynb").write_text(json.dumps(content))
    before = contents(source)
    assert lab_check.check_notebooks(source) == 1
    printed = capsys.readouterr().out
    assert [line.split()[::2] for line in printed.splitlines()[1:4]] == [
        ["00_start_here", "runs"],
        ["01_batching", "runs"],
        ["02_shuffling", "FAILED"],
    ]
    assert "ZeroDivisionError" in printed
    assert "2 of 3 notebooks run on this machine." in printed
    assert contents(source) == before
