"""For every run of the tests, doctests and notebooks included: nobody's progress is touched.

Exercises, cards and interviews record what a learner does. Here they record it in a temporary
folder, one for each process, and in one of its own for each test.
"""

import itertools
import os
import tempfile

import pytest

# Nothing here holds examples: modules that use other projects' loaders, which need not be here, and
# two modules of one name.
collect_ignore_glob = ["dlkit/bench/peers/*", "tests/conftest.py", "tests/browser/conftest.py"]
_FOLDER = tempfile.TemporaryDirectory(prefix="dlkit-progress-", ignore_cleanup_errors=True)
_NUMBERS = itertools.count(1)


def pytest_configure() -> None:
    """Point the process, and all that it starts, at the temporary folder."""
    os.environ["DLKIT_PROGRESS"] = _FOLDER.name


def pytest_unconfigure() -> None:
    """Remove the folder; workers of pytest-xdist leave without calling finalizers."""
    _FOLDER.cleanup()


@pytest.fixture(autouse=True)
def progress_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test find what another has solved; the folder is made when something is recorded."""
    monkeypatch.setenv("DLKIT_PROGRESS", os.path.join(_FOLDER.name, str(next(_NUMBERS))))
