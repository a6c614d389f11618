"""See what a transform does before a model has to."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from dlkit.checks import check_positive_int

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

    The random generators are where they were afterwards.

    Args:
        dataset: samples are images `[C, H, W]`, alone or in front of a tuple.
        transform: called with an image.
        images: how many samples, from the front.
        versions: how often each is transformed.
        seed: of the random numbers.

    Returns:
        A picture with a row for each sample: itself, then its versions.

    Raises:
        ValueError: if a number is not positive, or the dataset is empty.
    """
    from dlkit.plots.augmentation import version_grid

    check_positive_int("images", images)
    check_positive_int("versions", versions)
    if not len(dataset):
        raise ValueError("dataset must hold at least one sample, got none")
    rows = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for index in range(min(images, len(dataset))):
            sample = dataset[index]
            image = sample[0] if isinstance(sample, tuple | list) else sample
            rows.append([image, *(transform(image) for _ in range(versions))])
    return version_grid(rows)
