"""What all tests share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's folder."""
    return Path(__file__).resolve().parents[1]
