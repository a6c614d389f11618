"""What all tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's folder."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """A folder with real MNIST files, which are too large to come with the project."""
    root = os.environ.get("DLKIT_DATA")
    if not root or not Path(root, "MNIST", "raw").is_dir():
        pytest.skip("needs DLKIT_DATA to name a folder with MNIST/raw in it")
    return Path(root)
