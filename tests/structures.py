"""Comparing nested batches: equal structure, types, and values bit by bit."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch


def assert_same(ours: Any, theirs: Any, path: str = "batch") -> None:
    """Assert that two batches cannot be told apart."""
    assert type(ours) is type(theirs), f"{path}: {type(ours)} is not {type(theirs)}"
    if isinstance(theirs, torch.Tensor):
        assert ours.dtype == theirs.dtype, f"{path}: {ours.dtype} is not {theirs.dtype}"
        assert ours.shape == theirs.shape, f"{path}: {ours.shape} is not {theirs.shape}"
        assert torch.equal(_bits(ours), _bits(theirs)), f"{path}: {ours} is not {theirs}"
    elif isinstance(theirs, np.ndarray):
        np.testing.assert_array_equal(ours, theirs, err_msg=path)
    elif isinstance(theirs, Mapping):
        assert list(ours) == list(theirs), f"{path}: keys {list(ours)} are not {list(theirs)}"
        for key in theirs:
            assert_same(ours[key], theirs[key], f"{path}[{key!r}]")
    elif isinstance(theirs, Sequence) and not isinstance(theirs, str | bytes):
        assert len(ours) == len(theirs), f"{path}: length {len(ours)} is not {len(theirs)}"
        for position, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(a, b, f"{path}[{position}]")
    else:
        assert ours == theirs, f"{path}: {ours!r} is not {theirs!r}"


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's bytes, so that NaN equals itself and 0.0 differs from -0.0."""
    return tensor.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
