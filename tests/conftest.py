"""What all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# By hand each run tries new cases; a build that fails must fail again when it is run again.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's folder."""
    return Path(__file__).resolve().parents[1]
