"""`DiskCache`: the samples of a dataset in a file, for the next epoch and the next run.

Why not joblib, which caches functions well? It keeps a folder with two files for each call, so a
dataset of 60,000 images becomes 180,000 entries of the file system, each opened by name; it has no
checksums; and it knows a function's own code, not that of what the function calls. Here one file
holds all samples, one entry of 24 bytes finds each, and a checksum proves it.
"""

import os
import pickle
import re
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlkit.cache import counts
from dlkit.cache.base import Cache, CacheInfo
from dlkit.cache.record_file import NotOursError, RecordFile
from dlkit.cache.records import pickled
from dlkit.checks import check_positive_int
from dlkit.datasets.base import Indices
from dlkit.region import Region


class DiskCache(Cache):
    """Keeps samples in a folder, at most `max_bytes` of them.

    Each state of the dataset and its transforms, as the fingerprint tells it, has a subfolder. When
    there is no room, those that were opened longest ago are removed, and then no more samples are
    stored. If the disk is full or cannot be written, the cache says so once and reads from the
    dataset what it does not hold.

    Any number of processes may use one folder. Two that fill it may both read a sample, once.

    Args:
        dataset: map-style, with a length. Sample `i` must be the same whenever it is read.
        folder: where the samples are kept; made if it is not there. Samples are kept as pickles,
            so it must be a folder that only you can write to.
        max_bytes: of everything in the folder; None is no limit. Two processes that store at the
            same moment may exceed it by a sample each.
        key: names what the samples are, in place of the fingerprint of the dataset.
        check_random: whether to warn of random transforms.

    Raises:
        TypeError: if the dataset is not map-style or has no length, or `folder` is no path.
        ValueError: if `max_bytes` is no positive integer.
        FingerprintError: if the dataset has no fingerprint and there is no key.
        PermissionError: if others could have written what is in the folder.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> first = DiskCache([i * i for i in range(10)], folder.name)
        >>> again = DiskCache([i * i for i in range(10)], folder.name)  # in the next run, say
        >>> first[3], again[3], again.info().hits
        (9, 9, 1)
        >>> folder.cleanup()
    """

    def __init__(
        self,
        dataset: Any,
        folder: str | os.PathLike[str],
        max_bytes: int | None = None,
        *,
        key: str | None = None,
        check_random: bool = True,
    ) -> None:
        if max_bytes is not None:
            check_positive_int("max_bytes", max_bytes)
        if not isinstance(folder, str | os.PathLike):
            raise TypeError(f"folder must be a path, but got {folder!r}")
        super().__init__(dataset, key, check_random)
        self.folder = Path(folder).absolute()
        self.max_bytes = max_bytes
        self._shared = Region(counts.NBYTES + 8)
        self._open_counts()
        self._files: tuple[int, RecordFile] | None = None  # the process that opened them, and they
        self._problem: str | None = None  # why nothing is stored any more
        self._records()

    def _open_counts(self) -> None:
        memory = self._shared.memory
        given_out = memoryview(memory.data)[counts.NBYTES :].cast("q")
        self._counts = counts.Counts(self._shared, memory[: counts.NBYTES], given_out)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_files": None, "_counts": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._open_counts()

    def __getitems__(self, indices: Indices) -> Sequence[Any]:
        wanted = self._indices(indices).tolist()
        if self._is_changed():
            self._files = None
        records = self._records()
        samples: dict[int, Any] = {}
        damaged = 0
        for index in dict.fromkeys(wanted) if records is not None else ():
            try:
                data = records.read(index)  # type: ignore[union-attr]
                if data is not None:
                    samples[index] = pickle.loads(data)
            except Exception as error:  # whatever a damaged file leads to, the dataset has it whole
                damaged += 1
                _warn(f"{error or type(error).__name__}; reading it from the dataset again")
        missing = [index for index in dict.fromkeys(wanted) if index not in samples]
        hits = sum(index in samples for index in wanted)
        self._counts.add(hits, len(wanted) - hits, damaged=damaged)
        for index, sample in zip(missing, self._read(missing) if missing else (), strict=True):
            samples[index] = sample
            self._store(records, index, sample)
        return [samples[index] for index in wanted]

    def info(self) -> CacheInfo:
        """Return what the folder holds, and what this cache was asked for by all processes."""
        records = self._records()
        hits, misses, refused, damaged = self._counts.total()
        held, nbytes = (records.present(), records.nbytes) if records is not None else (0, 0)
        return CacheInfo(hits, misses, held, nbytes, self.max_bytes, 0, refused, damaged)

    def clear(self) -> None:
        """Remove the samples of this dataset from the folder."""
        self._files, self._problem = None, None
        shutil.rmtree(self.folder / self.key, ignore_errors=True)

    # ---- the files ------------------------------------------------------------------------------

    def _records(self) -> RecordFile | None:
        """Return the files, opened by this very process; None if they cannot be."""
        if self._files is not None and self._files[0] == os.getpid():
            return self._files[1]
        self._files = None
        if self._problem is not None and self._problem.startswith("cannot open"):
            return None
        try:
            records = RecordFile(self.folder / self.key, self._length)
        except NotOursError:
            raise
        except OSError as error:
            self._give_up(f"cannot open {self.folder / self.key}: {error}")
            return None
        if records.replaced:
            _warn(f"the index in {records.folder} was damaged; the cache starts over")
        self._files = os.getpid(), records
        return records

    def _store(self, records: RecordFile | None, index: int, sample: Any) -> None:
        if records is None or self._problem is not None:
            return
        try:
            data = pickled(sample)
        except Exception as error:
            self._give_up(f"cannot pickle sample {index}, a {type(sample).__name__}: {error}")
            return
        if self.max_bytes is not None and not self._has_room(records, len(data), self.max_bytes):
            self._counts.add(refused=1)
            return
        try:
            records.append(index, data)
        except OSError as error:
            self._give_up(f"cannot write to {records.folder}: {error}")

    def _give_up(self, problem: str) -> None:
        self._problem = problem
        _warn(f"{problem}; samples that are not in the cache come from the dataset, uncached")

    def _has_room(self, records: RecordFile, nbytes: int, limit: int) -> bool:
        """Whether a sample fits, after removing what belongs to earlier datasets if need be."""
        if records.nbytes + nbytes > limit:
            return False
        others = sorted(_caches_in(self.folder, but=self.key), key=_last_opened)
        total = records.nbytes + nbytes + sum(map(_size, others))
        for other in others:
            if total <= limit:
                break
            total -= _size(other)
            # Who has it open goes on with the files, which are gone when they are closed.
            shutil.rmtree(other, ignore_errors=True)
        return total <= limit


def _warn(text: str) -> None:
    warnings.warn(f"DiskCache: {text}", stacklevel=3)


def _caches_in(folder: Path, but: str) -> list[Path]:
    named = [path for path in folder.iterdir() if re.fullmatch(r"[0-9a-f]{32}", path.name)]
    return [path for path in named if path.name != but and (path / "index").is_file()]


def _size(folder: Path) -> int:
    try:
        return (folder / "records").stat().st_size
    except OSError:
        return 0


def _last_opened(folder: Path) -> float:
    try:
        return (folder / "index").stat().st_mtime
    except OSError:
        return 0.0
