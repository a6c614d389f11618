"""Images made from their index: any number, any size, at a chosen cost, for experiments.

    image i  =  stripes of its class  +  noise of (seed, i)          label i  =  hash of (seed, i)

Nothing is stored and nothing depends on the order of reading, so every process makes the same
sample i. Making one costs a few passes over its bytes; what a real dataset costs beyond that
(decoding, a disk, a network) is added on purpose with `Cost`.
"""

import hashlib
import itertools
import math
import numbers
import operator
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils import data as torch_data

from dlkit.datasets.base import ArrayIndexed, Columns, Indices, as_list

__all__ = ["Cost", "SyntheticImages", "synthetic_images"]

STRIPES = 96  # brightness of the horizontal and of the vertical stripes: 0..95 each
NOISE_SHIFT = 2  # noise is 0..63, so that the sum stays below 256
COPY_BLOCK_BYTES = 1 << 20
COPY_SOURCE_BYTES = 16 << 20  # more than most processor caches hold, so that copies reach memory
HASH_BLOCK = bytes(1 << 15)  # hashlib releases the GIL for blocks this large
MASK = 2**64 - 1

UInt64s = npt.NDArray[np.uint64]
Word = TypeVar("Word", int, UInt64s)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What reading one sample costs, beside making it.

    Args:
        cpu_seconds: processor time to burn, measured with `time.thread_time`: on a machine that
            shares its cores it takes longer than that. Windows counts it in steps of 1/64 s.
        wait_seconds: time to sleep, as if waiting for a disk or a network.
        read_bytes: bytes to copy from memory, as a read of a cached file does.
        gil: whether the processor time is spent holding Python's global lock (like Python code)
            or having released it (like image decoding): this decides what threads can do for you.

    Raises:
        TypeError: if a value has the wrong type.
        ValueError: if a value is negative or not finite.

    Example:
        >>> jpeg_from_disk = Cost(cpu_seconds=0.004, gil=False, read_bytes=100_000)
        >>> before = time.thread_time()
        >>> jpeg_from_disk.pay()
        >>> time.thread_time() - before >= 0.004
        True
    """

    cpu_seconds: float = 0.0
    wait_seconds: float = 0.0
    read_bytes: int = 0
    gil: bool = True

    def __post_init__(self) -> None:
        for name in ("cpu_seconds", "wait_seconds"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{name} must be a number of seconds, got {value!r}")
            if not (0 <= value < math.inf):
                raise ValueError(f"{name} must be at least 0 and finite, got {value!r}")
        _check_count("read_bytes", self.read_bytes, at_least=0)
        if not isinstance(self.gil, bool):
            raise TypeError(f"gil must be True or False, got {self.gil!r}")

    def pay(self) -> None:
        """Spend it, once: copy, then burn, then wait."""
        if self.read_bytes:
            _copy_bytes(self.read_bytes)
        if self.cpu_seconds:
            _burn(self.cpu_seconds, self.gil)
        if self.wait_seconds:
            time.sleep(self.wait_seconds)


def synthetic_images(
    n: int = 1000,
    shape: tuple[int, int, int] = (3, 224, 224),
    *,
    seed: int = 0,
    cost: Cost | Callable[[int], Cost] | None = None,
    num_classes: int = 10,
    dtype: torch.dtype = torch.float32,
) -> "SyntheticImages":
    """Make a dataset of images computed from their index, with a chosen cost for each sample.

    Args:
        n: number of samples.
        shape: channels, height and width of an image.
        seed: another seed gives other patterns, labels and noise.
        cost: what each sample costs, or a function from index to cost (for stragglers; it has to
            be a module's function to reach the processes of plain PyTorch).
        num_classes: number of classes.
        dtype: `torch.float32` for values in 0..1, `torch.uint8` for 0..255.

    Returns:
        A map-style dataset of `(image [C, H, W], label)`, vectorised, with int64 labels.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a number is out of range.

    Example:
        >>> data = synthetic_images(1_000_000, (3, 32, 32), seed=1)
        >>> image, label = data[123_456]
        >>> image.shape, int(label) in range(10)
        (torch.Size([3, 32, 32]), True)
        >>> torch.equal(data.__getitems__([5, 123_456]).columns[0][1], image)
        True
    """
    return SyntheticImages(n, shape, seed=seed, cost=cost, num_classes=num_classes, dtype=dtype)


class SyntheticImages(ArrayIndexed, torch_data.Dataset[tuple[Tensor, Tensor]]):
    """The dataset that `synthetic_images` makes; it takes the same arguments.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a number is out of range.

    Example:
        >>> len(SyntheticImages(7, (1, 8, 8)))
        7
    """

    def __init__(
        self,
        n: int = 1000,
        shape: tuple[int, int, int] = (3, 224, 224),
        *,
        seed: int = 0,
        cost: Cost | Callable[[int], Cost] | None = None,
        num_classes: int = 10,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.n = _check_count("n", n, at_least=0)
        if not isinstance(shape, (tuple, list, torch.Size)) or len(shape) != 3:
            raise TypeError(f"shape must be (channels, height, width), got {shape!r}")
        channels, height, width = (_check_count("shape", size, at_least=1) for size in shape)
        self.shape = (channels, height, width)
        self.seed = _check_count("seed", seed, at_least=0)
        if cost is not None and not isinstance(cost, Cost) and not callable(cost):
            raise TypeError(
                f"cost must be a Cost, a function from index to Cost, or None, got {cost!r}"
            )
        self.cost = cost
        self.num_classes = _check_count("num_classes", num_classes, at_least=1)
        if dtype not in (torch.float32, torch.uint8):
            raise TypeError(
                f"dtype must be torch.float32 (0..1) or torch.uint8 (0..255), got {dtype!r}"
            )
        self.dtype = dtype

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([index]).columns
        return images[0], labels[0]

    def __getitems__(self, indices: Indices) -> Columns:
        tables = _tables(self.seed, self.shape, self.num_classes)
        images = np.empty((len(indices), *self.shape), self._numpy_dtype())
        labels = np.empty(len(indices), np.int64)
        for place, given in enumerate(as_list(indices)):
            index = self._checked(operator.index(given))
            labels[place] = self._make(index, tables, images[place])
            if self.cost is not None:
                (self.cost if isinstance(self.cost, Cost) else self.cost(index)).pay()
        return Columns(torch.from_numpy(images), torch.from_numpy(labels))

    def _make(self, index: int, tables: "_Tables", out: npt.NDArray[np.generic]) -> int:
        """Write image `index` into `out` and return its label."""
        key = _hash(self.seed, index)
        label = (key >> 32) % self.num_classes
        image = np.add(tables.rows[label], tables.columns[label])  # stripes both ways: a plaid
        noise = tables.noise * np.uint64(key | 1)  # an odd factor loses nothing of the table
        noise ^= noise >> 32
        image += noise.view(np.uint8)[: image.size].reshape(self.shape) >> NOISE_SHIFT
        if self.dtype == torch.uint8:
            out[...] = image
        else:
            np.divide(image, np.float32(255), out=out)
        return label

    def _numpy_dtype(self) -> type[np.generic]:
        return np.uint8 if self.dtype == torch.uint8 else np.float32

    def _checked(self, index: int) -> int:
        if not -self.n <= index < self.n:
            raise IndexError(f"index {index} is out of range for {self.n} samples")
        return index + self.n if index < 0 else index


@dataclass(frozen=True)
class _Tables:
    """What all samples of a dataset share: kilobytes for stripes, one image of noise."""

    rows: npt.NDArray[np.uint8]  # [classes, C, H, 1]
    columns: npt.NDArray[np.uint8]  # [classes, C, 1, W]
    noise: UInt64s  # [ceil(C * H * W / 8)]


@lru_cache(maxsize=8)
def _tables(seed: int, shape: tuple[int, int, int], num_classes: int) -> _Tables:
    """Make the tables, once in each process: they are not sent along with the dataset."""
    channels, height, width = shape
    words = _splitmix64(np.arange(num_classes * channels * 4, dtype=np.uint64), _hash(seed, -1))
    draws = (words >> 33).astype(np.int64).reshape(num_classes, channels, 4, 1)
    rows = _stripes(height, draws[:, :, 0], draws[:, :, 1])
    columns = _stripes(width, draws[:, :, 2], draws[:, :, 3])
    noise = _splitmix64(np.arange(-(-math.prod(shape) // 8), dtype=np.uint64), _hash(seed, -2))
    return _Tables(rows[:, :, :, None], columns[:, :, None, :], noise)


def _stripes(
    size: int, period_draw: npt.NDArray[np.int64], phase_draw: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """Make triangle waves over `size` pixels, in integers, so that every machine makes the same."""
    shortest, longest = max(2, size // 8), max(3, size)
    period = shortest + period_draw % (longest - shortest + 1)
    place = (np.arange(size) + phase_draw) % period
    height = np.minimum(place, period - place)
    waves: npt.NDArray[np.int64] = height * 2 * (STRIPES - 1) // period
    return waves.astype(np.uint8)


def _hash(seed: int, index: int) -> int:
    """Mix a seed and an index into 64 bits."""
    return _splitmix64(index & MASK, _splitmix64(seed & MASK, 0))


def _splitmix64(counter: Word, offset: int) -> Word:
    """Hash a 64-bit counter, or an array of them, without a state (Steele, Lea, Flood, 2014)."""
    z: Any = ((counter + 1 & MASK) * 0x9E3779B97F4A7C15 + offset) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    z ^= z >> 31
    return z  # type: ignore[no-any-return]


def _check_count(name: str, value: Any, *, at_least: int) -> int:
    """Refuse what is no integer, or too small; a bool is no count."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer of at least {at_least}, got {value!r}")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {value!r}")
    return int(value)


def _burn(seconds: float, gil: bool) -> None:
    """Use processor time of this thread, by the clock: no calibration that could go stale."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        if gil:
            for _ in range(100):
                pass
        else:
            hashlib.sha256(HASH_BLOCK).digest()


def _copy_bytes(n: int) -> None:
    """Copy n bytes, each call from another part of a source that no cache holds whole."""
    source = _copy_source()
    block = np.empty(min(n, COPY_BLOCK_BYTES), np.uint8)
    start = next(_copies) * n % (len(source) - COPY_BLOCK_BYTES)
    while n > 0:
        size = min(n, COPY_BLOCK_BYTES)
        np.copyto(block[:size], source[start : start + size])
        start = (start + size) % (len(source) - COPY_BLOCK_BYTES)
        n -= size


_copies = itertools.count()


@lru_cache(maxsize=1)
def _copy_source() -> npt.NDArray[np.uint8]:
    # Ones, because the kernel gives untouched zeros one shared page that is always in the cache.
    return np.ones(COPY_SOURCE_BYTES, np.uint8)
