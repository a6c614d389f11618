"""Random numbers that differ between ranks where they must, and agree where they must.

The same on all ranks: the order of the data, which is dealt out, and the first weights. Different:
dropout and augmentation, or every rank would silence the same units and turn its images alike.
"""

import random

import numpy as np
import torch

from dlkit.ddp.context import current


def seed_of_rank(seed: int, rank: int) -> int:
    """Return a seed for a rank; rank 0 has `seed` itself, as a run without ranks has.

    `seed + rank` would give rank 1 of one run the numbers of rank 0 of the next.

    Args:
        seed: of the run, from 0.
        rank: from 0.

    Raises:
        ValueError: if either is negative.

    Example:
        >>> seed_of_rank(7, 0), seed_of_rank(7, 1) == seed_of_rank(8, 0)
        (7, False)
    """
    if seed < 0 or rank < 0:
        raise ValueError(f"seed and rank must be 0 or more, but got {seed!r} and {rank!r}")
    if rank == 0:
        return seed
    return int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])


def seed_ranks(seed: int) -> int:
    """Seed Python's, NumPy's and torch's global generators, differently on each rank.

    Returns:
        The seed of this rank.

    Example:
        >>> seed_ranks(3)
        3
    """
    own = seed_of_rank(seed, current().rank)
    random.seed(own)
    np.random.seed(own)  # noqa: NPY002  # datasets draw from the global one
    torch.manual_seed(own)
    return own
