"""Random numbers for one sample in one epoch, whoever draws them and in whatever batch.

    (seed, epoch, index)  --mix-->  64 bits        the same in every worker, rank and run

The mixing is SplitMix64's (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
2014): neighbouring inputs give outputs that have nothing to do with each other, and whole arrays
are mixed at once.
"""

import numpy as np
import numpy.typing as npt

from dlkit.datasets.base import Indices

Seeds = npt.NDArray[np.uint64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def _mix(bits: Seeds) -> Seeds:
    bits = bits + _GOLDEN  # on arrays, overflow wraps around without a warning
    bits = (bits ^ (bits >> np.uint64(30))) * _FIRST
    bits = (bits ^ (bits >> np.uint64(27))) * _SECOND
    return bits ^ (bits >> np.uint64(31))


def sample_seeds(seed: int, epoch: int, indices: Indices) -> Seeds:
    """Return a seed of 64 bits for each sample of an epoch.

    Args:
        seed: of the run; any integer.
        epoch: 0 or more.
        indices: which samples, `[n]`.

    Returns:
        `[n]` unsigned integers.

    Example:
        >>> whole = sample_seeds(0, 3, range(10))
        >>> bool((whole[4:6] == sample_seeds(0, 3, [4, 5])).all())
        True
    """
    start = np.array([seed % (1 << 64)], dtype=np.uint64)
    of_epoch = _mix(_mix(start) ^ np.array([epoch % (1 << 64)], dtype=np.uint64))
    return _mix(of_epoch ^ np.asarray(indices, dtype=np.int64).astype(np.uint64))


def sample_uniforms(seed: int, epoch: int, indices: Indices, count: int) -> npt.NDArray[np.float64]:
    """Return `count` random numbers for each sample of an epoch, even in [0, 1).

    A transform of a whole batch takes its amounts from here, so that what happens to a sample does
    not depend on the batch it is in.

    Args:
        seed: of the run; any integer.
        epoch: 0 or more.
        indices: which samples, `[n]`.
        count: numbers for each.

    Returns:
        `[n, count]` float64.

    Example:
        >>> sample_uniforms(0, 0, [7, 8], 3).shape
        (2, 3)
    """
    draws = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    bits = _mix(sample_seeds(seed, epoch, indices)[:, None] + draws[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
