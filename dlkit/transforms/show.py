"""See what a transform does before a model has to."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dlkit.checks import check_positive_int
from dlkit.randomness import get_rng_state, set_rng_state

if TYPE_CHECKING:
    from dlkit.plots.style import Picture


def show(
    dataset: Any,
    transform: Callable[[Any], Any],
    *,
    images: int = 4,
    versions: int = 6,
    seed: int = 0,
) -> "Picture":
    """Draw samples as they are, and what a transform makes of each several times.

    torch's, Python's and NumPy's generators are seeded, and afterwards are where they were.

    Args:
        dataset: samples are images `[C, H, W]`, alone or in front of a tuple.
        transform: called with an image.
        images: how many samples, from the front.
        versions: how often each is transformed.
        seed: of the random numbers, 0 or more.

    Returns:
        A picture with a row for each sample: itself, then its versions.

    Raises:
        ValueError: if a number is not positive, the seed is negative, or the dataset is empty.

    Example:
        >>> from dlkit.datasets import digits
        >>> show(digits(), lambda image: image.flip(-1), images=2, versions=1).caption
        '2 samples, 1 version of each; 0 of 2 versions equal their original'
    """
    from dlkit.plots.augmentation import version_grid

    check_positive_int("images", images)
    check_positive_int("versions", versions)
    if not len(dataset):
        raise ValueError("dataset must hold at least one sample, got none")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed must be an integer of 0 or more, but got {seed!r}")
    rows = []
    state = get_rng_state()
    try:
        torch.default_generator.manual_seed(seed % (1 << 64))
        random.seed(seed)
        np.random.seed(seed % (1 << 32))  # noqa: NPY002  # the global one is meant
        for index in range(min(images, len(dataset))):
            sample = dataset[index]
            image = sample[0] if isinstance(sample, tuple | list) else sample
            rows.append([image, *(transform(image) for _ in range(versions))])
    finally:
        set_rng_state(state)
    return version_grid(rows)
