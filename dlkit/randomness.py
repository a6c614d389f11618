"""The global random number generators of a process: PyTorch's, Python's and NumPy's."""

import random
from typing import Any

import numpy as np
import torch


def get_rng_state() -> dict[str, Any]:
    """Return the states of the three global generators on the host.

    They are plain numbers and tensors, so `torch.load(..., weights_only=True)` reads them.

    Example:
        >>> state = get_rng_state()
        >>> first = torch.rand(1), random.random(), np.random.rand()
        >>> set_rng_state(state)
        >>> first == (torch.rand(1), random.random(), np.random.rand())
        True
    """
    legacy = np.random.get_state(legacy=False)  # noqa: NPY002  (the global generator is meant)
    assert isinstance(legacy, dict)
    return {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": {
            "key": torch.from_numpy(legacy["state"]["key"].astype(np.int64)),
            "pos": int(legacy["state"]["pos"]),
            "has_gauss": int(legacy["has_gauss"]),
            "gauss": float(legacy["gauss"]),
        },
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Put the three global generators back to where `get_rng_state` saw them."""
    torch.set_rng_state(state["torch"])
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    numpy_state = state["numpy"]
    np.random.set_state(  # noqa: NPY002
        {
            "bit_generator": "MT19937",
            "state": {
                "key": numpy_state["key"].numpy().astype(np.uint32),
                "pos": numpy_state["pos"],
            },
            "has_gauss": numpy_state["has_gauss"],
            "gauss": numpy_state["gauss"],
        }
    )
