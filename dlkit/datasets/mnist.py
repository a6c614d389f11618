"""MNIST, read once into tensors, from wherever it is: a folder, a cache, or the network.

    root -> $DLKIT_DATA -> the user's cache folder -> download -> an error that says what to do

A folder holds the files as torchvision leaves them, in `MNIST/raw/`, or holds them directly; plain
or gzip-compressed, the 60,000 digits or any part of them. A download is verified in a temporary
folder beside the target and then moved into place file by file: what has its final name is whole.
"""

import contextlib
import errno
import gzip
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from dlkit.datasets.digits import as_dtype, check_split_and_dtype
from dlkit.datasets.download import DownloadError, download_verified
from dlkit.datasets.errors import DatasetCorruptError
from dlkit.datasets.idx import read_idx
from dlkit.datasets.tensors import TensorDataset

__all__ = ["DatasetCorruptError", "DatasetUnavailableError", "mnist"]

# Tables, not constants inside a function: a school can name its own mirror.
MIRRORS = [
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
]
CHECKSUMS = {  # md5 of the .gz files, as published
    "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
}
IMAGE_SHAPE = (28, 28)
CLASSES = 10
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


class DatasetUnavailableError(RuntimeError):
    """A dataset is neither on this machine nor to be had; the message says what to do."""


def mnist(
    root: str | os.PathLike[str] | None = None,
    train: bool = True,
    download: bool = True,
    *,
    dtype: torch.dtype = torch.float32,
) -> TensorDataset:
    """Load MNIST (LeCun, Cortes and Burges, 1998) into tensors.

    Args:
        root: the folder to look in first and to download into; without it the folder that the
            environment variable `DLKIT_DATA` names, then the user's cache folder.
        train: True for the training set, False for the test set.
        download: whether to download what is in none of the folders (11.6 MB, verified).
        dtype: `torch.float32` for values in 0..1, `torch.uint8` for 0..255.

    Returns:
        A dataset of `(image [1, 28, 28], label)` with the labels as int64.

    Raises:
        DatasetUnavailableError: if it is in no folder and was not or could not be downloaded.
        DatasetCorruptError: if a file is truncated, damaged, or does not fit its partner.
        TypeError: if an argument has the wrong type.

    Example:
        >>> from dlkit.datasets import digits
        >>> try:
        ...     data = mnist(train=False, download=False)
        ... except DatasetUnavailableError:
        ...     data = digits(train=False)
        >>> data[0][0].shape
        torch.Size([1, 28, 28])
    """
    check_split_and_dtype(train, dtype)
    if not isinstance(download, bool):
        raise TypeError(f"download must be True or False, got {download!r}")
    folders = _folders(root)
    for folder in folders:
        files = _find(folder, train)
        if files is not None:
            return _read(*files, dtype)
    if not download:
        raise _unavailable(folders, train, "downloading was not allowed (download=False)")
    try:
        with _downloaded(folders[0], train) as folder:
            files = _find(folder, train)
            assert files is not None
            return _read(*files, dtype)
    except DownloadError as error:
        raise _unavailable(folders, train, f"downloading failed:\n{error}") from error


def _folders(root: str | os.PathLike[str] | None) -> list[Path]:
    """List the folders to look in, best first."""
    if root is not None and not isinstance(root, (str, os.PathLike)):
        raise TypeError(f"root must be a path or None, got {root!r}")
    named = [root, os.environ.get("DLKIT_DATA")]
    return [Path(folder).expanduser() for folder in named if folder] + [cache_folder()]


def cache_folder() -> Path:
    """Return the folder of this user's cache in which downloads are kept."""
    try:
        from platformdirs import user_cache_path
    except ModuleNotFoundError:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(base).expanduser() / "dlkit"
    return user_cache_path("dlkit", appauthor=False)


def _names(train: bool) -> tuple[str, str]:
    part = "train" if train else "t10k"
    return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"


def _find(folder: Path, train: bool) -> tuple[Path, Path] | None:
    """Return the files of images and of labels that lie side by side in `folder`."""
    for place in (folder / "MNIST" / "raw", folder):
        images, labels = (_existing(place, name) for name in _names(train))
        if images is not None and labels is not None:
            return images, labels
    return None


def _existing(place: Path, name: str) -> Path | None:
    # os.path.isfile, because Path.is_file raises where a folder may not be entered (Python < 3.14).
    return next((p for p in (place / name, place / f"{name}.gz") if os.path.isfile(p)), None)


def _read(images_file: Path, labels_file: Path, dtype: torch.dtype) -> TensorDataset:
    """Read and check both files: whatever is wrong is found here, not in the middle of training."""
    images = read_idx(images_file, dimensions=3)
    labels = read_idx(labels_file, dimensions=1)
    if images.shape[1:] != IMAGE_SHAPE:
        raise DatasetCorruptError(
            f"{images_file} should hold images of 28x28, but they are "
            f"{images.shape[1]}x{images.shape[2]}"
        )
    if len(images) != len(labels):
        raise DatasetCorruptError(
            f"{images_file} holds {len(images)} images, but {labels_file} holds {len(labels)} "
            "labels: the files belong to different sets; replace both"
        )
    if labels.size and labels.max() >= CLASSES:
        raise DatasetCorruptError(
            f"{labels_file} should hold labels 0..9, but sample {int(labels.argmax())} "
            f"has {labels.max()}"
        )
    return TensorDataset(
        as_dtype(torch.from_numpy(images).unsqueeze(1), dtype),
        torch.from_numpy(labels.astype(np.int64)),
    )


@contextlib.contextmanager
def _downloaded(folder: Path, train: bool) -> Iterator[Path]:
    """Download into `folder` and yield where the files are; where nothing can be kept, warn."""
    raw = folder / "MNIST" / "raw"
    try:
        raw.mkdir(parents=True, exist_ok=True)
        unfinished = tempfile.mkdtemp(prefix=".download-", dir=raw)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        with tempfile.TemporaryDirectory(prefix="dlkit-mnist-") as scratch:
            _fetch(Path(scratch), list(_names(train)))
            warnings.warn(
                f"MNIST was downloaded but not kept, because {raw} cannot be written "
                f"({error.strerror}); name another folder with root= or DLKIT_DATA",
                stacklevel=4,
            )
            yield Path(scratch)
        return
    try:
        missing = [name for name in CHECKSUMS if _existing(raw, name) is None]
        _fetch(Path(unfinished), missing)
        for name in missing:
            _put(Path(unfinished, name), raw / name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    yield folder


def _fetch(folder: Path, names: list[str]) -> None:
    """Download, verify and unpack files into `folder`."""
    for name in names:
        packed = folder / f"{name}.gz"
        download_verified([f"{m}{name}.gz" for m in MIRRORS], packed, md5=CHECKSUMS[name])
        with gzip.open(packed) as source, (folder / name).open("wb") as target:
            shutil.copyfileobj(source, target)
        packed.unlink()


def _put(source: Path, target: Path) -> None:
    """Move a finished file to its final name, at once; another process may be doing the same."""
    try:
        source.replace(target)
    except PermissionError:
        # Windows refuses while the other process reads its copy, which was verified like this one.
        if not target.is_file():
            raise


def _unavailable(folders: list[Path], train: bool, reason: str) -> DatasetUnavailableError:
    images, labels = _names(train)
    looked = "\n".join(f"  {folder / 'MNIST' / 'raw'}" for folder in folders)
    return DatasetUnavailableError(
        f"MNIST is not on this machine, and {reason}\n"
        f"Looked for {images} and {labels} (plain or .gz) in\n{looked}\n"
        "What to do: copy these files into one of the folders, or set the environment variable "
        "DLKIT_DATA to a folder that has them in MNIST/raw, or call mnist(download=True) with a "
        "network. Without one, dlkit.datasets.digits() gives 1,797 real digits of the same shape."
    )
