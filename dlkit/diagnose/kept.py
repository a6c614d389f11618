"""Leave random generators as they were: what has been drawn meanwhile is put back."""

import contextlib
import copy
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from dlkit.loader_state import generators_of


@contextlib.contextmanager
def generators_kept(loader: Any) -> Iterator[None]:
    """Put all random generators back as they were: global ones, the loader's, the dataset's."""
    own = [(g, g.get_state()) for g in generators_of(loader)]
    held = list(_numpy_generators(loader.dataset))
    kept = [(g, copy.deepcopy(g.bit_generator.state)) for g in held]
    legacy = np.random.get_state()  # noqa: NPY002
    before = random.getstate(), legacy, torch.get_rng_state()
    cuda: Any = torch.cuda
    accelerators = cuda.get_rng_state_all() if cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])
        if accelerators is not None:
            cuda.set_rng_state_all(accelerators)
        for generator, torch_state in own:
            generator.set_state(torch_state)
        for numpy_generator, state in kept:
            numpy_generator.bit_generator.state = state


def _numpy_generators(dataset: Any) -> Iterator[np.random.Generator]:
    for value in vars(dataset).values() if hasattr(dataset, "__dict__") else ():
        if isinstance(value, np.random.Generator):
            yield value
