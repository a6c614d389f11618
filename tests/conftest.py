"""What all tests share."""

import gc
import os
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path

import pytest
from hypothesis import settings

# By hand each run tries new cases; a build that fails must fail again when it is run again.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# One fork server serves all loaders of a process, PyTorch's too. Whichever starts it, workers are
# not to import PyTorch anew.
if "forkserver" in get_all_start_methods():
    get_context("forkserver").set_forkserver_preload(["dlkit.workers.child"])

# A file is run by one process of pytest-xdist. Those that take a minute or more come first, so that
# none of them is begun when there is nothing else left for the other processes; then notebooks.
LONGEST = (
    "browser/test_notebooks_in_jupyterlab.py",
    "test_workers_faults.py",
    "test_benchmarks.py",
    "test_workers_contract.py",
    "test_ddp.py",
    "test_ddp_torchrun.py",
    "notebooks/test_solved_edition.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    places = {here / name: place for place, name in enumerate(LONGEST)}
    items.sort(
        key=lambda item: places.get(item.path, len(LONGEST) + (item.path.suffix != ".ipynb"))
    )


def pytest_collection_finish() -> None:
    """Have the garbage collector leave alone what stays to the end.

    Modules and thousands of tests: with them, each of the many collections that tests ask for takes
    several times as long, and makes a forked worker copy the pages that it looks at.
    """
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Give it back, else libraries count what is frozen as leaked when the process ends."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's folder."""
    return Path(__file__).resolve().parents[1]
