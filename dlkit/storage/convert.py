"""`convert`: any dataset into a file of any format, whole or not at all.

    dataset --read once--> spool --write--> .name.converting/written --rename--> path

Whoever reads `path` meanwhile sees the old file until the new one is whole. A conversion that was
stopped, by Ctrl-C, a full disk or a killed process, goes on from its last whole block of samples.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dlkit.checks import check_bool
from dlkit.datasets.base import read_samples
from dlkit.datasets.combine import vectorised
from dlkit.progress import progress_bar
from dlkit.storage.columns import Table
from dlkit.storage.dataset import StoredDataset
from dlkit.storage.files import Header, sync_folder
from dlkit.storage.formats import (
    FORMATS,
    checked_path,
    format_module,
    format_of_suffix,
    open_dataset,
)
from dlkit.storage.memmap import is_memmap
from dlkit.storage.spool import Spool
from dlkit.storage.tabulate import fitted, tabulate

BLOCK_BYTES, BLOCK_SAMPLES = 8 << 20, 1024  # read at once, at most


def convert(
    dataset: Any,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    overwrite: bool = False,
    progress: bool = True,
) -> StoredDataset:
    """Write all samples of a dataset to a file, and open it.

    The samples are read once, in order, in this process. While it runs, a folder beside `path`
    holds them a second time, so twice the room is needed.

    Args:
        dataset: map-style, with a length; its samples are tensors, arrays, numbers, strings or
            bytes, or tuples or dictionaries of these.
        path: what to write: a file, or for memmap a folder.
        format: one of `FORMATS`; by default what the suffix of `path` stands for.
        overwrite: whether to replace what is there, once the new file is whole.
        progress: whether to draw a progress bar, in a notebook or a terminal.

    Returns:
        The dataset over what was written.

    Raises:
        FileExistsError: if there is something at `path` and `overwrite` is False.
        BlockingIOError: if another process is converting to `path` now.
        TypeError, ValueError: if a sample cannot be stored, naming the sample and the field.
        OSError: if there is no room, or no permission; what was at `path` is as it was.

    Example:
        >>> import tempfile, torch
        >>> from dlkit.datasets import TensorDataset
        >>> folder = tempfile.TemporaryDirectory()
        >>> data = TensorDataset(torch.arange(12).view(6, 2), torch.arange(6))
        >>> convert(data, f"{folder.name}/pairs.memmap", progress=False)
        <memmap dataset of 6 samples (0: int64 [2], 1: int64 []) in pairs.memmap>
    """
    target = checked_path(path)
    check_bool("overwrite", overwrite)
    check_bool("progress", progress)
    name = format_of_suffix(target) if format is None else format
    if name is None:
        raise ValueError(
            f"the suffix of {target.name!r} stands for no format; format= must be one of "
            f"{', '.join(FORMATS)}"
        )
    module = format_module(name)
    total = _length(dataset)
    _check_target(target, name, overwrite)
    target = Path(os.path.abspath(target))
    spool = Spool(target, {"dataset": _kind(dataset), "length": total})
    try:
        _fill(spool, vectorised(dataset), total, progress)
        header = Header(spool.schema, total)
        module.write(spool.written, header, _Fitted(spool))
        _install(module, spool.written, target)
    except BaseException as error:
        spool.close()
        if spool.done:
            error.add_note(
                f"{spool.done:,} of {total:,} samples are kept in {spool.folder}: convert to the "
                "same path again to go on from there, or delete the folder"
            )
        raise
    spool.remove()
    return open_dataset(target, name, trusted=True)


def _length(dataset: Any) -> int:
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise TypeError(
            "dataset must be map-style, with a length and an item for each index, but got a "
            f"{type(dataset).__name__}; list(stream) makes one of a stream that fits into memory"
        )
    return len(dataset)


def _kind(dataset: Any) -> str:
    return f"{type(dataset).__module__}.{type(dataset).__qualname__}"


def _check_target(target: Path, name: str, overwrite: bool) -> None:
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder of {target} does not exist")
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise FileExistsError(f"{target} exists; overwrite=True replaces it when all is written")
    if target.is_dir() != (name == "memmap") or (name == "memmap" and not is_memmap(target)):
        kind = "a folder" if target.is_dir() else "a file"
        raise FileExistsError(f"{target} is {kind}, which the format {name} cannot replace")


def _fill(spool: Spool, dataset: Any, total: int, progress: bool) -> None:
    """Read what the spool has not got yet."""
    if spool.done and not _same_beginning(spool, dataset):
        spool.restart()
    with _bar(total, spool.done, progress) as bar:
        size = 1  # of the first block; its bytes tell how many samples make a good one
        while spool.done < total:
            indices = list(range(spool.done, min(spool.done + size, total)))
            table = tabulate(read_samples(dataset, indices), spool.done)
            if len(table) != len(indices):
                raise ValueError(
                    f"the dataset gave {len(table)} samples for the {len(indices)} indices from "
                    f"{indices[0]} to {indices[-1]}"
                )
            spool.append(table)
            bar.update(len(table))
            size = max(1, min(BLOCK_SAMPLES, BLOCK_BYTES * len(table) // max(1, table.nbytes)))


def _same_beginning(spool: Spool, dataset: Any) -> bool:
    """Whether the first sample is still the one that was kept.

    One of another dataset of the same type and length, or of a random transform, is not.
    """
    kept = next(spool.tables())
    now = tabulate([dataset[0]])
    if len(kept) != 1 or kept.schema != now.schema:
        return False
    pairs = zip(kept.columns, now.columns, strict=True)
    return all(a.values.tobytes() == b.values.tobytes() for a, b in pairs)


class _Fitted:
    """The samples of a spool under its final schema; can be gone through more than once."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool

    def __iter__(self) -> Iterator[Table]:
        for table in self.spool.tables():
            yield fitted(table, self.spool.schema)


def _install(module: Any, written: Path, target: Path) -> None:
    """Give what was written its name, at once."""
    if hasattr(module, "install"):
        module.install(written, target)
    else:
        os.replace(written, target)
    sync_folder(target.parent)


def _bar(total: int, done: int, progress: bool) -> Any:
    # None draws on a terminal only; a notebook's bar is a widget and does not ask for one.
    disable = False if "ipykernel" in sys.modules else None
    return progress_bar(
        progress, total=total, initial=done, unit="sample", desc="reading", disable=disable
    )
