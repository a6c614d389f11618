"""`MemoryCache`: the samples of a dataset in memory, once for all workers.

The second epoch reads nothing from disk and decodes nothing. The memory is shared, so four workers
hold one copy, and what one of them has read the others find.
"""

import pickle
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dlkit.cache.base import Cache, CacheInfo
from dlkit.cache.fingerprint import FingerprintError, fingerprint
from dlkit.cache.records import Layout, Rows, as_samples, new_column, pickled, take_apart
from dlkit.cache.slots import EMPTY, EVICTED, MODE, REFUSED, ROWS, SAMPLES, USED_BYTES, Index
from dlkit.cache.table import Table
from dlkit.checks import check_positive_int
from dlkit.datasets.base import Columns, Indices, as_index_array


class MemoryCache(Cache):
    """Keeps samples in shared memory, at most `max_bytes`, for this process and its workers.

    Samples of one layout (tensors, arrays and numbers of the same shapes) are kept as rows and
    read with one gather for a batch; other samples are kept as pickles. Each process of a loader,
    started by fork, forkserver or spawn, sees the same memory. A copy that is pickled for anything
    else, a file for instance, arrives empty.

    Args:
        dataset: map-style, with a length. Sample `i` must be the same whenever it is read: put
            random transforms behind the cache, with `then`.
        max_bytes: of the samples. Memory is taken as samples arrive.
        policy: what happens when that is full. `"first-come"` keeps what is there; `"lru"` evicts
            what was used least recently. An epoch reads every sample once: then first-come hits in
            the share that fits, and LRU evicts samples that are still to come (in a fixed order it
            never hits). LRU is for samplers that prefer some samples.
        key: names what the samples are. By default it is a fingerprint of the dataset, its
            transforms included; when that changes, the cache starts over.
        check_random: whether to warn of random transforms.

    Raises:
        TypeError: if the dataset is not map-style or has no length.
        ValueError: if `max_bytes` is no positive integer or there is no such policy.
        MemoryError: if the system cannot reserve that much address space.

    Example:
        >>> from dlkit.datasets import digits
        >>> cache = MemoryCache(digits(), max_bytes=100_000_000)
        >>> for epoch in range(2):
        ...     batch = cache.__getitems__(range(100))
        >>> cache.info().hits, cache.info().misses, cache.info().samples
        (100, 100, 100)
    """

    def __init__(
        self,
        dataset: Any,
        max_bytes: int,
        *,
        policy: str = "first-come",
        key: str | None = None,
        check_random: bool = True,
    ) -> None:
        check_positive_int("max_bytes", max_bytes)
        if max_bytes > sys.maxsize:
            raise ValueError(f"max_bytes must be at most {sys.maxsize}, but got {max_bytes}")
        if policy not in ("first-come", "lru"):
            raise ValueError(f'policy must be "first-come" or "lru", but got {policy!r}')
        self.policy = policy
        self.max_bytes = max_bytes
        super().__init__(dataset, key, check_random)
        self._table = Table(self._length, max_bytes, evicts=policy == "lru")
        # A generation of the table, and the very key that its samples were seen to have.
        self._verified = -1, ""

    def __getitems__(self, indices: Indices) -> Sequence[Any]:
        generation, key = self._verified
        if not self._is_changed() and key is self.key:
            samples = self._table.fetch_complete(as_index_array(indices), generation)
            if samples is not None:
                return samples
        return self._fetch(self._indices(indices))

    def info(self) -> CacheInfo:
        """Return what the cache holds and what it was asked for, in all processes together."""
        header = self._table.header
        hits, misses, *_ = self._table.counts.total()
        return CacheInfo(
            hits,
            misses,
            header[SAMPLES],
            header[USED_BYTES],
            self.max_bytes,
            header[EVICTED],
            header[REFUSED],
        )

    def clear(self) -> None:
        """Forget all samples, in all processes."""
        with self._table.locked():
            self._table.clear(self.key)

    def _find_key(self) -> str:
        try:
            return super()._find_key()
        except FingerprintError:
            # Nothing outlives the dataset here, so its address and a change of it are enough.
            return fingerprint([(id(of), [*map(id, values)]) for of, values in self._watched])

    # ---- the longer way -------------------------------------------------------------------------

    def _fetch(self, indices: Index) -> Sequence[Any]:
        """Read what is there, the rest from the dataset, and keep it."""
        with self._table.locked():
            self._verify()
            there = self._table.present(indices)
            layout, found = self._found(indices[there])
        self._table.counts.add(int(there.sum()), int(len(there) - there.sum()))
        if there.all() and len(there):
            return found
        wanted = list(dict.fromkeys(indices[~there].tolist()))
        samples = self._read(wanted)
        fetched = dict(zip(wanted, _apart(samples), strict=True))
        with self._table.locked():
            self._verify()
            for index, (sample, apart) in fetched.items():
                self._put(index, sample, apart)
        parts = [fetched[index] for index in indices[~there].tolist()]
        if not there.any() and isinstance(samples, Columns) and len(parts) == len(samples):
            return samples
        return _together(there, layout, found, parts)

    def _verify(self) -> None:
        """Start over if what the table holds are the samples of another dataset or transform."""
        key = self.key
        if self._table.key != key:
            self._table.clear(key)
        self._verified = self._table.generation, key

    def _found(self, indices: Index) -> tuple[Layout | None, Sequence[Any]]:
        """Return samples that are there, with their layout if they are rows."""
        table = self._table
        if not len(indices):
            return None, []
        if table.layout is not None:
            return table.layout, as_samples(table.layout, table.rows(indices))
        return None, [pickle.loads(data) for data in table.pickles(indices.tolist())]

    def _put(self, index: int, sample: Any, apart: tuple[Layout, list[Any]] | None) -> None:
        table = self._table
        if table.header[MODE] == EMPTY and not (apart and table.store_rows_of(apart[0])):
            table.store_pickles(len(pickled(sample)))
        if table.header[MODE] == ROWS:
            if apart is not None and apart[0] == table.layout:
                table.put_row(index, apart[1])
                return
            # The first sample promised one layout for all, and this is another: start over.
            _, key = self._verified
            table.clear(key)
            self._verified = table.generation, key
            table.store_pickles(len(pickled(sample)))
        table.put_pickle(index, pickled(sample))


def _apart(samples: Sequence[Any]) -> list[tuple[Any, tuple[Layout, list[Any]] | None]]:
    return [(sample, take_apart(sample)) for sample in samples]


def _together(
    there: npt.NDArray[np.bool_],
    layout: Layout | None,
    found: Sequence[Any],
    parts: list[tuple[Any, tuple[Layout, list[Any]] | None]],
) -> Sequence[Any]:
    """Put samples that were found and samples that were read into the order of the batch."""
    layouts: list[Layout | None] = [layout] if layout is not None else []
    layouts += [apart[0] if apart else None for _, apart in parts]
    held = found.columns if isinstance(found, Columns | Rows) else ()
    common = layouts[0] if layouts else None
    alike = all(other == common for other in layouts[1:]) and (held or not found)
    if alike and common is not None:
        columns = []
        for number, leaf in enumerate(common.leaves):
            column = new_column(leaf, len(there))
            if held:
                column[torch.from_numpy(there)] = held[number]
            for row, (_, apart) in zip(np.flatnonzero(~there), parts, strict=True):
                column[row] = torch.as_tensor(apart[1][number])  # type: ignore[index]
            columns.append(column)
        return as_samples(common, columns)
    given, read = iter(found), iter(parts)
    return [next(given) if hit else next(read)[0] for hit in there.tolist()]
