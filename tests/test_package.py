"""The sdist and the wheel: what is in them, and that they work where there is nothing else.

Both are built once, the wheel from the sdist, as an installer without a wheel would. The wheel is
installed alone into a folder, and what it needs is taken from this environment: to fetch PyTorch
anew would take minutes and prove nothing about us.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import dlkit
from dlkit.cli import copies


@pytest.fixture(scope="module")
def uv(project):
    found = shutil.which("uv", path=f"{os.environ['PATH']}:{project / '.uv' / 'bin'}")
    if found is None:
        pytest.skip("building a package needs uv")
    return found


@pytest.fixture(scope="module")
def built(uv, project, tmp_path_factory):
    """The folder with the sdist and with the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [uv, "build", "--quiet", "--out-dir", folder, project], capture_output=True, text=True
    )
    if "Failed to fetch" in done.stderr or "dns error" in done.stderr:
        pytest.skip("building a package needs hatchling, which could not be fetched")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(uv, wheel, tmp_path_factory):
    """A folder with the installed wheel and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [
            *(uv, "pip", "install", "--quiet", "--offline", "--no-deps"),
            *("--python", sys.executable, "--target", folder, wheel),
        ],
        check=True,
    )
    return folder


def run_dlkit(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run the installed command; `-P` keeps this checkout from being found first."""
    return subprocess.run(
        [sys.executable, "-P", installed / "bin" / "dlkit", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )


def test_the_wheel_holds_the_package_the_notebooks_and_nothing_else(project, wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    ours = {path.as_posix() for path in copies.notebook_files(project / "notebooks")}
    assert {f"dlkit/notebooks/{name}" for name in ours} <= names
    tops = {"dlkit", f"dlkit-{dlkit.__version__}.dist-info"}
    assert {name.split("/")[0] for name in names} == tops
    assert not any(name.startswith("dlkit/notebooks/text") for name in names)
    sources = {path.relative_to(project).as_posix() for path in (project / "dlkit").rglob("*.py")}
    assert sources <= names
    data = {
        path.relative_to(project).as_posix()
        for path in (project / "dlkit").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert data <= names, "texts of exercises and cards, and the marker of types"
    assert "dlkit/py.typed" in data
    assert f"dlkit-{dlkit.__version__}.dist-info/licenses/LICENSE" in names


def test_the_sdist_holds_what_the_wheel_is_made_of_and_no_build_output(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "dlkit/loader.py"} <= names
    assert {"notebooks/01_batching.ipynb", "notebooks/text/01_batching.py"} <= names
    assert not any(name.startswith(("build/", ".venv/", ".uv/", "dist/")) for name in names)
    assert not any("__pycache__" in name for name in names)


def test_the_installed_command_says_its_version(installed, tmp_path):
    done = run_dlkit(installed, tmp_path, "--version")
    assert (done.returncode, done.stdout) == (0, f"dlkit {dlkit.__version__}\n"), done.stderr


def test_the_installed_lab_gives_a_learner_copies_in_an_empty_folder(installed, tmp_path, project):
    done = run_dlkit(installed, tmp_path, "lab", "--reset", "01")
    assert done.returncode == 0, done.stdout + done.stderr
    ours = copies.notebook_files(project / "notebooks")
    copied = {path for path in ours if (tmp_path / "dlkit-notebooks" / path).is_file()}
    assert copied == set(ours)
    where = "import dlkit, pathlib; print(pathlib.Path(dlkit.__file__).parent.parent)"
    found = subprocess.run(
        [sys.executable, "-P", "-c", where],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == str(installed), "that was the wheel, not this checkout"
