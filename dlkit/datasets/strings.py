"""A million strings in two arrays, which workers read without copying a page.

    ["ab", "", "c"]   ->   bytes  a b c      ends  2 2 3

Python counts references inside each object. A forked worker that only reads a list of strings
changes the count in every string, and with it every page of memory that the list's strings lie on;
the system then has to copy these pages for each worker (copy on write). Arrays have one count for
all of their content.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.context import get_spawning_popen
from typing import Any, SupportsIndex, overload

import numpy as np
import numpy.typing as npt

from dlkit.datasets.base import ArrayIndexed, Indices, as_index_array

_ENCODING = "utf-8", "surrogatepass"  # file names may hold what is no Unicode


class PackedStrings(ArrayIndexed, Sequence[str]):
    """An unchangeable sequence of strings in two arrays: their bytes, and where each one ends.

    It is a sequence like a list, and a map-style dataset that reads many strings in one call. All
    workers share one copy, whatever the start method.

    Args:
        strings: any iterable of strings.

    Raises:
        TypeError: if an element is no string.

    Example:
        >>> names = PackedStrings(["cat.jpg", "", "dog.jpg"])
        >>> names[0], names[-1], list(names[1:]), names.__getitems__([2, 0])
        ('cat.jpg', 'dog.jpg', ['', 'dog.jpg'], ['dog.jpg', 'cat.jpg'])
        >>> names.nbytes
        38
    """

    def __init__(self, strings: Iterable[str]) -> None:
        data, ends = bytearray(), array("q")
        for text in strings:
            if not isinstance(text, str):
                raise TypeError(
                    f"strings must hold strings, but element {len(ends)} is a "
                    f"{type(text).__name__}: {text!r:.80}"
                )
            data += text.encode(*_ENCODING)
            ends.append(len(data))
        self._region: Any = None  # shared memory, once workers have been started with it
        self._open(np.frombuffer(data, dtype=np.uint8), np.frombuffer(ends, dtype=np.int64))

    def _open(self, data: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> None:
        self._arrays = data, ends
        # Memoryviews give a number or a slice in a third of the time.
        self._views = memoryview(data.data), memoryview(ends.data)

    def _open_shared(self, count: int, nbytes: int) -> None:
        memory = self._region.memory
        self._open(memory[8 * count : nbytes], memory[: 8 * count].view(np.int64))

    def __getstate__(self) -> dict[str, Any]:
        if get_spawning_popen() is None:
            return {"arrays": self._arrays}
        # A process is being started: it gets the memory itself, and this one moves there too, so
        # that there is one copy.
        if self._region is None:
            from dlkit.region import Region  # which imports the loader, which imports datasets

            data, ends = self._arrays
            self._region = Region(max(1, self.nbytes))
            self._region.memory[: ends.nbytes] = ends.view(np.uint8)
            self._region.memory[ends.nbytes : ends.nbytes + len(data)] = data
            self._open_shared(len(ends), self.nbytes)
        return {"region": self._region, "size": (len(self), self.nbytes)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._region = state.get("region")
        if self._region is not None:
            self._open_shared(*state["size"])
        else:
            self._open(*state["arrays"])

    def __len__(self) -> int:
        return len(self._arrays[1])

    @property
    def nbytes(self) -> int:
        """Bytes of both arrays."""
        return sum(one.nbytes for one in self._arrays)

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> str: ...

    @overload
    def __getitem__(self, index: slice, /) -> "PackedStrings": ...

    def __getitem__(self, index: Any, /) -> "str | PackedStrings":
        if isinstance(index, slice):
            return PackedStrings(self.__getitems__(range(*index.indices(len(self)))))
        position = range(len(self))[index]  # the errors of a list, and its negative indices
        return self._text(position)

    def __getitems__(self, indices: Indices) -> list[str]:
        """Return the strings at many indices."""
        length = len(self)
        wanted = as_index_array(indices)
        if len(wanted) and not (-length <= wanted.min() and wanted.max() < length):
            wrong = next(i for i in wanted.tolist() if not -length <= i < length)
            raise IndexError(f"index {wrong} is out of range for {length} strings")
        return [self._text(position) for position in (wanted % max(1, length)).tolist()]

    def _text(self, position: int) -> str:
        data, ends = self._views
        start = ends[position - 1] if position else 0
        return str(data[start : ends[position]], *_ENCODING)

    def __iter__(self) -> Iterator[str]:
        return map(self._text, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PackedStrings):
            return NotImplemented
        (data, ends), (other_data, other_ends) = self._arrays, other._arrays
        return np.array_equal(ends, other_ends) and np.array_equal(data, other_data)

    __hash__ = None  # type: ignore[assignment]  # compares by content, like a list

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.__getitems__(range(min(3, len(self))))))
        more = ", ..." if len(self) > 3 else ""
        return f"PackedStrings([{shown}{more}]) of {len(self):,} strings, {self.nbytes:,} bytes"
