"""The formats by name, and which one a file has.

Each is a module with the same three functions: `write(target, header, tables)` writes all samples
to a path that nobody reads yet, and may go through the tables twice; `open_reader(path)` opens such
a file, and `recognises(head)` says whether the first bytes of a file are its own. A format that is
more than one file adds `install(written, path)`, which puts what was written in the place of what
was there.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from dlkit.storage.dataset import StoredDataset
from dlkit.storage.files import corrupt

HEAD = 512  # bytes by which a file is recognised

# name: module, suffixes
FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {
    "memmap": ("dlkit.storage.memmap", (".memmap",)),
    "arrow": ("dlkit.storage.arrow", (".arrow", ".feather")),
    "parquet": ("dlkit.storage.parquet", (".parquet", ".pq")),
    "hdf5": ("dlkit.storage.hdf5", (".h5", ".hdf5", ".hdf")),
    "tfrecord": ("dlkit.storage.tfrecord", (".tfrecord", ".tfrecords")),
    "tar": ("dlkit.storage.tar", (".tar",)),
    "pickle": ("dlkit.storage.pickled", (".pickle", ".pkl")),
}


def format_module(name: str) -> Any:
    """Return the module of a format.

    Raises:
        ValueError: if there is no such format.
    """
    if not isinstance(name, str) or name not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, but got {name!r}")
    return import_module(FORMATS[name][0])


def format_of_suffix(path: Path) -> str | None:
    """Return the format that a path's suffix stands for.

    Example:
        >>> format_of_suffix(Path("train.h5"))
        'hdf5'
    """
    suffix = path.suffix.lower()
    return next((name for name, (_, known) in FORMATS.items() if suffix in known), None)


def format_of(path: Path) -> str:
    """Return the format of a file or folder by its content; its suffix decides only if that fails.

    Raises:
        FileNotFoundError: if there is nothing.
        DatasetCorruptError: if neither content nor suffix tells.
    """
    if path.is_dir():
        if (path / "index.json").is_file():
            return "memmap"
        raise corrupt(path, "the folder holds no dataset: it has no index.json")
    with path.open("rb") as file:
        head = file.read(HEAD)
    for name in FORMATS:
        if format_module(name).recognises(head):
            return name
    by_suffix = format_of_suffix(path)
    if by_suffix is None:
        raise corrupt(
            path,
            f"it begins with {head[:8].hex(' ') or 'nothing'}, which none of the formats "
            f"{', '.join(FORMATS)} does",
        )
    return by_suffix


def open_dataset(
    path: str | os.PathLike[str], format: str | None = None, *, trusted: bool = False
) -> StoredDataset:
    """Open the samples in a file as a dataset; the format is recognised by the content.

    Opening compares the sizes in the file with its length, and reads no sample. Files of other
    programs open too, if their records can be seen as samples (see the modules of the formats).

    Args:
        path: a file, or the folder of a memmap.
        format: one of `FORMATS`; by default it is recognised.
        trusted: must be True for a pickle file, because reading one runs whatever code it holds.

    Returns:
        A map-style dataset, vectorised, that workers of any kind can read.

    Raises:
        FileNotFoundError, PermissionError: if the path cannot be read.
        DatasetCorruptError: if the file is truncated, damaged, or of no known format.
        PermissionError: if it is a pickle file, and `trusted` is not True.
        ModuleNotFoundError: if the library of its format is not installed.

    Example:
        >>> import tempfile, torch
        >>> from dlkit.storage import convert
        >>> folder = tempfile.TemporaryDirectory()
        >>> stored = convert(range(5), f"{folder.name}/numbers.memmap", progress=False)
        >>> open_dataset(stored.path)[3]
        tensor(3)
    """
    path = checked_path(path)
    if not isinstance(trusted, bool):
        raise TypeError(f"trusted must be True or False, but got {trusted!r}")
    name = format_of(path) if format is None else format
    module = format_module(name)
    if name == "pickle" and not trusted:
        raise PermissionError(
            f"{path} is a pickle file, and reading one runs whatever code its author put into it; "
            "open_dataset(path, trusted=True) reads it, if you or somebody you trust wrote it. The "
            "other formats hold data only: convert it to one of them once"
        )
    return StoredDataset(path, name, module.open_reader)


def checked_path(path: Any) -> Path:
    """Return `path` as a Path.

    Raises:
        TypeError: if it is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a str or a path, but got {path!r}")
    return Path(path).expanduser()
