"""`make env` trusts nothing half-finished, and asks uv for nothing when nothing changed.

A stand-in for uv makes and fills environments of two small packages, so that each fault of a real
installation can be made at will: it may die half-way, leave packages out, or take its time.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from dlkit.cli import environment

pytestmark = pytest.mark.skipif(
    shutil.which("make") is None or os.name != "posix", reason="needs make and a POSIX shell"
)

UV = r"""#!PYTHON -IS
import json, os, shutil, sys, sysconfig
from pathlib import Path
arguments = sys.argv[1:]
if arguments == ["--version"]:
    sys.exit(0)
with open("uv-calls.jsonl", "a") as calls:
    calls.write(json.dumps(arguments) + "\n")
venv = Path(".venv")
base = {"base": str(venv), "platbase": str(venv)}
site_packages = Path(sysconfig.get_path("purelib", "venv", vars=base))
if arguments[0] == "venv":
    shutil.rmtree(venv, ignore_errors=True)
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to(os.path.realpath(sys.executable))
    site_packages.mkdir(parents=True)
elif arguments[:2] == ["pip", "install"]:
    for name in ("alpha", "types_beta"):
        dist_info = site_packages / f"{name}-1.0.dist-info"
        if dist_info.exists() and f"--reinstall-package={name.replace('_', '-')}" not in arguments:
            continue
        dist_info.mkdir(exist_ok=True)
        (dist_info / "METADATA").write_text("x" * 10)
        record = [f"{name}/__init__.py,,5", f"{dist_info.name}/METADATA,,10",
                  f"{name}/__pycache__/__init__.pyc,,", "../../../etc/settings.json,,3"]
        (dist_info / "RECORD").write_text("\n".join(record))
        if os.environ.get("UV_DIES_AT") == name:
            os.kill(os.getppid(), 9)
            sys.exit(9)
        (site_packages / name).mkdir(exist_ok=True)
        (site_packages / name / "__init__.py").write_text("1 + 1")
    (venv / "etc").mkdir(exist_ok=True)
    (venv / "etc/settings.json").write_text("{ }")
"""


class Checkout:
    """A copy of what `make env` needs, in which uv is the stand-in."""

    def __init__(self, folder: Path, project: Path):
        self.folder = folder / "checkout"
        shutil.copytree(project / "dlkit" / "cli", self.folder / "dlkit" / "cli")
        for name in ("Makefile", *environment.SOURCES):
            shutil.copy(project / name, self.folder)
        self.tools = folder / "tools"
        self.tools.mkdir()
        self.uv = self.tools / "uv"
        self.uv.write_text(UV.replace("PYTHON", os.path.realpath(sys.executable)))
        self.uv.chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "HOME": str(folder),
        }
        for name in ("TORCH", "PY", "PORT"):
            self.environment.pop(name, None)

    def use_only(self, *tools: str) -> None:
        """Let these be the only programs on the path, beside those of the test."""
        for tool in tools:
            (self.tools / tool).symlink_to(shutil.which(tool))
        self.environment["PATH"] = str(self.tools)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            ["make", "env", *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        running = self.start(*arguments, **environment)
        output, _ = running.communicate()
        return subprocess.CompletedProcess(running.args, running.returncode, output)

    def calls(self) -> list[list[str]]:
        """What uv was asked since the last time, without its `--version`."""
        log = self.folder / "uv-calls.jsonl"
        if not log.exists():
            return []
        calls = [json.loads(line) for line in log.read_text().splitlines()]
        log.unlink()
        return calls

    @property
    def venv(self) -> Path:
        return self.folder / ".venv"

    @property
    def packages(self) -> Path:
        base = {"base": str(self.venv), "platbase": str(self.venv)}
        return Path(sysconfig.get_path("purelib", "venv", vars=base))


@pytest.fixture
def checkout(tmp_path: Path, project: Path) -> Checkout:
    return Checkout(tmp_path, project)


@pytest.fixture
def made(checkout: Checkout) -> Checkout:
    assert checkout.make().returncode == 0
    checkout.calls()
    return checkout


def test_the_first_run_makes_an_environment_and_installs_all_extras_byte_compiled(checkout):
    assert checkout.make().returncode == 0
    (made, installed) = checkout.calls()
    assert made[0] == "venv"
    assert installed[-2:] == ["-e", ".[lab,storage,test,bench,site]"]
    assert "--compile-bytecode" in installed
    assert installed[installed.index("-c") + 1] == "requirements.txt"


def test_the_second_run_asks_uv_for_nothing(made):
    done = made.make()
    assert (done.returncode, done.stdout, made.calls()) == (0, "", [])


def test_it_needs_no_uv_when_the_environment_is_whole(made):
    made.uv.write_text("#!/bin/sh\nexit 1\n")
    assert made.make().returncode == 0


@pytest.mark.parametrize("package", ["alpha", "types_beta"])
def test_an_installation_that_was_killed_is_repaired_at_the_next_run(checkout, package):
    assert checkout.make(UV_DIES_AT=package).returncode != 0
    assert not (checkout.packages / package / "__init__.py").exists()
    checkout.calls()
    done = checkout.make()
    assert done.returncode == 0, done.stdout
    assert "did not reach the end" in done.stdout
    assert [call[0] for call in checkout.calls()] == ["pip"]
    assert environment.damaged(checkout.venv) == []
    assert checkout.make().stdout == ""


def test_every_module_is_compiled_also_after_an_interruption(checkout):
    """The stand-in for uv compiles nothing, as if it had been interrupted before it could."""
    checkout.make()
    assert len(list(checkout.packages.rglob("*.pyc"))) == 2
    assert environment.uncompiled(checkout.packages) == []


def test_many_modules_are_compiled_by_processes_and_a_broken_one_stops_nothing(tmp_path):
    for number in range(150):
        (tmp_path / f"module_{number}.py").write_text("1 +" if number == 7 else "1 + 1")
    environment.compile_rest(tmp_path)
    assert [path.name for path in environment.uncompiled(tmp_path)] == ["module_7.py"]


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    ("damage", "reinstalled"),
    [
        (lambda packages: shutil.rmtree(packages / "alpha"), "alpha"),
        (lambda packages: (packages / "alpha/__init__.py").unlink(), "alpha"),
        (lambda packages: (packages / "types_beta/__init__.py").write_text("1 +"), "types-beta"),
        (lambda packages: (packages / "alpha-1.0.dist-info/RECORD").unlink(), "alpha"),
        (lambda packages: (packages / "alpha-1.0.dist-info/RECORD").write_text(""), "alpha"),
        (lambda packages: cut(packages / "alpha-1.0.dist-info/RECORD", 30), "alpha"),
        (lambda packages: (packages / "alpha-1.0.dist-info/RECORD").write_bytes(b"\xff"), "alpha"),
        (lambda packages: (packages / "alpha-1.0.dist-info/METADATA").unlink(), "alpha"),
    ],
    ids=[
        *("folder gone", "file gone", "file truncated", "list gone", "list empty", "list cut"),
        *("list overwritten", "metadata gone"),
    ],
)
def test_a_damaged_package_is_installed_again(made, damage, reinstalled):
    damage(made.packages)
    done = made.make()
    assert done.returncode == 0, done.stdout
    assert f"packages are missing or damaged: {reinstalled}" in done.stdout
    (call,) = made.calls()
    assert f"--reinstall-package={reinstalled}" in call
    assert environment.damaged(made.venv) == []
    assert made.make().stdout == ""


def test_a_package_that_is_gone_altogether_is_installed_again(made):
    for path in made.packages.glob("alpha*"):
        shutil.rmtree(path)
    assert "missing or damaged: alpha" in made.make().stdout
    assert (made.packages / "alpha/__init__.py").exists()


def test_settings_outside_site_packages_are_the_users_to_change(made):
    (made.venv / "etc/settings.json").write_text('{"theme": "dark"}')
    made.make()
    assert made.calls() == []


def test_an_environment_whose_python_does_not_run_is_made_anew(made):
    (made.venv / "bin/python").unlink()
    (made.venv / "bin/python").symlink_to("/nowhere/python3")
    assert made.make().returncode == 0
    assert [call[0] for call in made.calls()] == ["venv", "pip"]


def test_an_environment_that_was_moved_is_made_anew_because_its_scripts_name_its_old_place(made):
    made.folder = made.folder.rename(made.folder.with_name("moved"))
    assert "its path changes" in made.make().stdout
    assert [call[0] for call in made.calls()] == ["venv", "pip"]


@pytest.mark.parametrize("name", environment.SOURCES)
def test_a_change_of_what_is_wanted_is_installed_into_the_same_environment(made, name):
    with open(made.folder / name, "a") as file:
        file.write("# one more\n")
    assert f"{' or '.join(environment.SOURCES)} changed" in made.make().stdout
    assert [call[0] for call in made.calls()] == ["pip"]
    assert made.make().stdout == ""


def test_torch_cpu_is_passed_to_uv_and_remembered(made):
    assert "build of torch changes from pypi to cpu" in made.make("TORCH=cpu").stdout
    (remade, installed) = made.calls()
    assert remade[0] == "venv"
    assert "--torch-backend=cpu" in installed
    assert made.make().stdout == ""  # `make test` afterwards must not fetch the large build
    made.make("TORCH=pypi")
    (remade, installed) = made.calls()
    assert not any(argument.startswith("--torch-backend") for argument in installed)


def test_the_build_of_torch_outlives_a_move_and_an_interruption(checkout):
    checkout.make("TORCH=cpu", UV_DIES_AT="alpha")
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved"))
    checkout.calls()
    checkout.make()
    assert "--torch-backend=cpu" in checkout.calls()[-1]


def test_another_python_makes_the_environment_anew(made):
    running = "{}.{}".format(*sys.version_info)
    assert made.make(f"PY={running}").stdout == ""
    done = made.make("PY=3.99")
    assert f"it has Python {running}" in done.stdout
    assert made.calls()[0][-3:] == ["--python", "3.99", ".venv"]


@pytest.mark.parametrize("tools", ["flock", "no flock"])
def test_runs_at_the_same_time_make_one_environment(checkout, tools):
    if tools == "no flock":  # as on macOS
        checkout.use_only("mkdir", "sh", "make")
        (checkout.tools / "python3").symlink_to(os.path.realpath(sys.executable))
    running = [checkout.start() for _ in range(3)]
    outputs = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], outputs
    assert [call[0] for call in checkout.calls()] == ["venv", "pip"]


def test_a_failure_of_uv_fails_make_and_leaves_no_trust(checkout):
    checkout.uv.write_text(
        checkout.uv.read_text().replace("for name in", "sys.exit(2)\n    for name in")
    )
    done = checkout.make()
    assert done.returncode != 0
    assert "is ready" not in done.stdout
    assert environment.read_stamp(checkout.venv).packages == ()


def test_packages_that_stay_damaged_fail_make_and_say_what_to_try(checkout):
    checkout.uv.write_text(
        checkout.uv.read_text().replace('.write_text("1 + 1")', '.write_text("1")')
    )
    done = checkout.make()
    assert done.returncode != 0
    assert "still damaged: alpha, types-beta; try: uv cache clean alpha types-beta" in done.stdout


def test_uv_is_fetched_into_a_folder_of_its_own_when_there_is_none(checkout):
    """Python here is one that can neither make an environment nor install into the system."""
    stored = checkout.uv.rename(checkout.folder.parent / "stored-uv")
    (checkout.tools / "python3").write_text(
        f"""#!/bin/sh
case "$*" in
*--target*) mkdir -p .uv/bin && cp {stored} .uv/bin/uv ;;
*fcntl*) exec {os.path.realpath(sys.executable)} "$@" ;;
*) exit 1 ;;
esac
"""
    )
    (checkout.tools / "python3").chmod(0o755)
    checkout.use_only("mkdir", "cp", "sh", "make")
    done = checkout.make()
    assert done.returncode == 0, done.stdout
    assert "Fetching uv" in done.stdout
    assert [call[0] for call in checkout.calls()] == ["venv", "pip"]


def test_without_uv_and_any_way_to_fetch_it_make_says_what_is_missing(checkout):
    checkout.uv.unlink()
    checkout.use_only("mkdir", "sh", "env", "make")
    done = checkout.make()
    assert done.returncode != 0
    assert "make env needs uv and could not fetch it" in done.stdout


def test_help_lists_every_public_target(project):
    done = subprocess.run(["make", "help"], cwd=project, capture_output=True, text=True, check=True)
    makefile = (project / "Makefile").read_text(encoding="utf-8")
    (phony,) = (line for line in makefile.splitlines() if line.startswith(".PHONY:"))
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert sorted(listed) == sorted(phony.removeprefix(".PHONY:").split())
    default = subprocess.run(["make"], cwd=project, capture_output=True, text=True, check=True)
    assert default.stdout == done.stdout


def test_the_script_for_ci_is_executable_and_bash_accepts_it(project):
    assert os.access(project / ".ci" / "run", os.X_OK)
    if bash := shutil.which("bash"):
        subprocess.run([bash, "-n", project / ".ci" / "run"], check=True)
