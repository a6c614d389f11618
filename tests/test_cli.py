"""The command line: its commands, their help, and JupyterLab started for real."""

import argparse
import contextlib
import importlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import psutil
import pytest

import dlkit
from dlkit.cli import COMMANDS, build_parser, lab, main


def help_of(arguments, capsys) -> str:
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 0
    return capsys.readouterr().out


def test_version_is_that_of_the_package(capsys):
    assert help_of(["--version"], capsys) == f"dlkit {dlkit.__version__}\n"


def test_help_lists_the_commands_without_importing_them(capsys):
    before = set(sys.modules)
    text = help_of(["--help"], capsys)
    for name, summary in COMMANDS.items():
        assert re.search(rf"^ +{name}\s+{summary}", text, re.MULTILINE)
    assert not {f"dlkit.cli.{name}" for name in COMMANDS} & (set(sys.modules) - before)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_the_summary_that_the_list_gives_it(command):
    module = importlib.import_module(f"dlkit.cli.{command}")
    subparsers = argparse.ArgumentParser().add_subparsers()
    module.add_parser(subparsers)
    (listed,) = subparsers._choices_actions
    assert (listed.dest, listed.help) == (command, COMMANDS[command])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples_that_parse(command, capsys):
    text = help_of([command, "--help"], capsys)
    examples = re.findall(rf"^ +dlkit ({command}.*)$", text, re.MULTILINE)
    assert examples
    for example in examples:
        parsed = build_parser(command).parse_args(shlex.split(example))
        assert callable(parsed.run)


@pytest.mark.parametrize("arguments", [[], ["fly"], ["lab", "--port", "0"], ["doctor", "--fly"]])
def test_what_cannot_be_understood_ends_with_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_python_m_dlkit_is_the_same_program():
    command = [sys.executable, "-m", "dlkit", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"dlkit {dlkit.__version__}\n"


def test_an_interrupt_ends_with_the_status_that_shells_know(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("dlkit.cli.doctor.examine", interrupted)
    assert main(["doctor"]) == 130


def test_a_reader_that_has_seen_enough_is_no_error():
    code = "from dlkit.cli import main; raise SystemExit(main(['doctor']))"
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as closed_pipe:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, stdout=closed_pipe, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# ---- lab -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["0", "65536", "-1", "8888.0", "eight", "", "²"])
def test_a_port_is_a_number_from_1_to_65535(text):
    with pytest.raises(argparse.ArgumentTypeError, match="a port is a number from 1 to 65535"):
        lab.port_number(text)


@pytest.fixture
def taken_port():
    with socket.socket() as server:
        server.bind((lab.HOST, 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(taken_port):
    with pytest.raises(OSError, match=f"port {taken_port} is taken"):
        lab.choose_port(taken_port)


def test_lab_on_a_taken_port_says_so_and_fails(taken_port, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["lab", "--port", str(taken_port), "--no-browser"]) == 1
    assert "Name another one" in capsys.readouterr().err


def test_the_usual_port_gives_way_to_a_free_one_when_it_is_taken(taken_port, monkeypatch):
    monkeypatch.setattr(lab, "USUAL_PORT", taken_port)
    chosen = lab.choose_port(None)
    assert chosen != taken_port
    assert lab.is_free(chosen)


def test_the_extension_for_screen_readers_is_there_and_of_this_version(tmp_path):
    assert lab.EXTENSION in lab.server_command(tmp_path, 8888, open_browser=False)
    folder = lab.JUPYTERLAB / "labextensions" / "dlkit"
    about = json.loads((folder / "package.json").read_text())
    assert about["version"] == dlkit.__version__
    assert (folder / about["jupyterlab"]["_build"]["load"]).is_file()


def test_the_token_is_not_on_the_command_line(monkeypatch, tmp_path):
    monkeypatch.setenv("JUPYTER_TOKEN", "secret")
    assert "secret" not in " ".join(lab.server_command(tmp_path, 8888, open_browser=False))


def test_a_token_of_the_users_own_is_quoted_in_the_address(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("JUPYTER_TOKEN", "a b&c#d")
    monkeypatch.setattr(lab, "choose_port", lambda _: 8899)
    monkeypatch.setattr(os, "execve", lambda *_: None)
    monkeypatch.setattr(subprocess, "call", lambda *_, **__: 0)
    assert main(["lab", "--folder", str(tmp_path)]) == 0
    assert "?token=a%20b%26c%23d\n" in capsys.readouterr().out


def status(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def wait_until_it_answers(server: subprocess.Popen, port: int) -> None:
    """Return once the server listens; Jupyter prints its address a moment before."""
    while True:
        with socket.socket() as probe:
            if probe.connect_ex((lab.HOST, port)) == 0:
                return
        with contextlib.suppress(subprocess.TimeoutExpired):
            pytest.fail(f"it ended with status {server.wait(timeout=0.05)}")


@pytest.fixture
def careless_settings(tmp_path):
    """Jupyter settings of a user who turned tokens off and opened the server to the network."""
    settings = {"ServerApp": {"ip": "0.0.0.0"}, "IdentityProvider": {"token": ""}}
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "jupyter_server_config.json").write_text(json.dumps(settings))
    folders = {f"JUPYTER_{name}_DIR": str(tmp_path / name.lower()) for name in ("DATA", "RUNTIME")}
    return {**os.environ, **folders, "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}


def test_lab_asks_for_its_token_and_listens_on_loopback_alone_whatever_the_settings(
    careless_settings, tmp_path
):
    careless_settings.pop("JUPYTER_TOKEN", None)
    with socket.socket() as probe:
        probe.bind((lab.HOST, 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "dlkit", "lab", "--no-browser", "--port", str(port)],
        env=careless_settings,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        lines = []
        for line in server.stdout:
            lines.append(line)
            if "is running at" in line:
                break
        printed = re.search(r"http://127\.0\.0\.1:(\d+)/(\S+)\?(token=\w+)", "".join(lines))
        assert printed, "".join(lines)
        assert int(printed[1]) == port
        assert printed[2] == "lab/tree/00_start_here.ipynb"
        wait_until_it_answers(server, port)
        home = f"http://127.0.0.1:{port}"
        assert status(f"{home}/api/status?{printed[3]}") == 200
        assert status(f"{home}/api/status") == 403
        assert status(f"{home}/api/status?token=wrong") == 403
        assert status(f"{home}/api/contents/00_start_here.ipynb?{printed[3]}") == 200
        process = psutil.Process(server.pid)
        assert not any(printed[3].removeprefix("token=") in word for word in process.cmdline())
        family = [process, *process.children(recursive=True)]
        open_sockets = [one for member in family for one in member.net_connections("inet")]
        listening = {one.laddr.ip for one in open_sockets if one.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}
    finally:
        server.terminate()
        server.communicate(timeout=60)
    assert lab.is_free(port)


def test_a_package_that_a_command_needs_and_that_is_missing_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert main(["bench", "items", "--quick"]) == 1
    said = capsys.readouterr().err
    assert "dlkit bench cannot start: ModuleNotFoundError: " in said
    assert "rich.console" in said
    assert "dlkit[lab]" in said


def test_a_torch_that_does_not_import_is_reported_with_what_to_do(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('libbroken.so: no such file')\n")
    result = subprocess.run(
        [sys.executable, "-m", "dlkit", "doctor"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "dlkit doctor cannot start: ImportError: libbroken.so" in result.stderr
    assert "make env" in result.stderr
    assert "Traceback" not in result.stderr
