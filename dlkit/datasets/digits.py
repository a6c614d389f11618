"""Real handwritten digits that need no network: the dataset every notebook can fall back on.

scikit-learn ships 1,797 digits of 8x8 pixels, written by 13 people (the test part of Alpaydin and
Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998). Here they get the shape of MNIST,
so that the same model takes either:

    8x8, values 0..16  --bilinear-->  24x24  --margin of 2-->  28x28, values 0..255

All of it is integer arithmetic: every machine and every version of NumPy makes the same pictures.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dlkit.datasets.tensors import TensorDataset

IMAGE_SIZE = 28
MARGIN = 2  # the digits fill their 8x8 box; without a margin the strokes would touch the edge
SOURCE_SIZE = 8
SOURCE_MAX = 16
FILE = ("datasets", "data", "digits.csv.gz")  # in scikit-learn's package
HOLD_OUT_EVERY = 5  # of each class, in scikit-learn's order, samples 4, 9, 14, ... are the test set


def digits(train: bool = True, *, dtype: torch.dtype = torch.float32) -> TensorDataset:
    """Load scikit-learn's handwritten digits, scaled to the shape of MNIST; works offline.

    Of each class every fifth sample is held out: 1,442 digits to train with and 355 to test with,
    the same ones for ever.

    Args:
        train: True for the 1,442 training digits, False for the 355 test digits.
        dtype: `torch.float32` for values in 0..1, `torch.uint8` for 0..255.

    Returns:
        A dataset of `(image [1, 28, 28], label)` with the labels as int64.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
        TypeError: `train` is not a bool, or `dtype` is neither float32 nor uint8.

    Example:
        >>> from dlkit.datasets import digits
        >>> images, labels = digits(train=False).tensors
        >>> images.shape, labels[:5].tolist()
        (torch.Size([355, 1, 28, 28]), [5, 0, 9, 8, 7])
    """
    check_split_and_dtype(train, dtype)
    pixels, targets = _load_scikit_learn()
    rows = np.flatnonzero(~held_out(targets) if train else held_out(targets))
    images = torch.from_numpy(enlarge(pixels[rows])).unsqueeze(1)
    return TensorDataset(as_dtype(images, dtype), torch.from_numpy(targets[rows]))


def check_split_and_dtype(train: bool, dtype: torch.dtype) -> None:
    """Refuse a `train` that is not a bool and a `dtype` that images do not come in.

    Args:
        train: the split asked for; `digits("test")` would otherwise mean the training set.
        dtype: the type asked for.

    Raises:
        TypeError: naming the argument, its value and what is accepted.

    Example:
        >>> check_split_and_dtype(True, torch.uint8)
    """
    if not isinstance(train, bool):
        raise TypeError(f"train must be True (training set) or False (test set), got {train!r}")
    if dtype not in (torch.float32, torch.uint8):
        raise TypeError(
            f"dtype must be torch.float32 (0..1) or torch.uint8 (0..255), got {dtype!r}"
        )


def as_dtype(images: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Give uint8 images the dtype asked for, the way torchvision's `ToTensor` scales them.

    Args:
        images: uint8, any shape, 0..255.
        dtype: `torch.uint8` or `torch.float32`.

    Returns:
        `images` themselves, or float32 in 0..1.

    Example:
        >>> as_dtype(torch.tensor([0, 51, 255], dtype=torch.uint8), torch.float32)
        tensor([0.0000, 0.2000, 1.0000])
    """
    return images if dtype == torch.uint8 else images.to(torch.float32).div_(255)


def held_out(targets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Mark the test samples: of each class, in the order given, every fifth.

    A rule instead of a random draw: nothing to seed, nothing that another library could change.

    Args:
        targets: labels [N].

    Returns:
        A mask [N], True for the test set.

    Example:
        >>> held_out(np.array([7, 7, 7, 7, 7, 1])).tolist()
        [False, False, False, False, True, False]
    """
    mask = np.zeros(len(targets), dtype=bool)
    for label in np.unique(targets):
        of_this_class = np.flatnonzero(targets == label)
        mask[of_this_class[HOLD_OUT_EVERY - 1 :: HOLD_OUT_EVERY]] = True
    return mask


def enlarge(pixels: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Scale 8x8 digits to 28x28 by bilinear interpolation, in exact integer arithmetic.

    Args:
        pixels: [N, 8, 8] with values 0..16.

    Returns:
        [N, 28, 28] with values 0..255 and a black margin of two pixels.

    Example:
        >>> enlarge(np.full((1, 8, 8), 16))[0, 0:28:9, 14].tolist()
        [0, 255, 255, 0]
    """
    inner = IMAGE_SIZE - 2 * MARGIN
    weights = _bilinear_weights(SOURCE_SIZE, inner)
    whole = SOURCE_MAX * int(weights[0].sum()) ** 2  # what a white pixel adds up to
    sums = weights @ pixels @ weights.T
    rounded = (sums * 510 + whole) // (2 * whole)  # floor(255 * sums / whole + 1/2) without a float
    return np.pad(rounded.astype(np.uint8), ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))


def _bilinear_weights(source: int, target: int) -> npt.NDArray[np.int64]:
    """Make the [target, source] interpolation matrix, as numerators over `2 * target`.

    Pixel centres are aligned as in `torch.nn.functional.interpolate(align_corners=False)`:
    target pixel i lies at `(i + 1/2) * source / target - 1/2`, kept inside the picture.
    """
    unit = 2 * target
    weights = np.zeros((target, source), dtype=np.int64)
    for i in range(target):
        position = min(max((2 * i + 1) * source - target, 0), (source - 1) * unit)
        left, beyond = divmod(position, unit)
        weights[i, left] = unit - beyond
        if beyond:
            weights[i, left + 1] = beyond
    return weights


def _load_scikit_learn() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Read scikit-learn's copy: pixels [1797, 8, 8] in 0..16 and labels [1797].

    Its file is read as it lies there: importing scikit-learn takes about as long as all the rest
    that a learner's first cell imports.
    """
    package = find_spec("sklearn")
    if package is None:
        raise ModuleNotFoundError(
            "digits() reads the copy that scikit-learn ships: pip install scikit-learn",
            name="sklearn",
        )
    (folder,) = package.submodule_search_locations or ("",)
    path = Path(folder, *FILE)
    if not path.is_file():  # a version that keeps it elsewhere knows where
        from sklearn.datasets import load_digits

        bunch = load_digits()
        return bunch.images.astype(np.int64), bunch.target.astype(np.int64)
    table = np.loadtxt(path, delimiter=",").astype(np.int64)
    return table[:, :-1].reshape(-1, SOURCE_SIZE, SOURCE_SIZE), table[:, -1]
