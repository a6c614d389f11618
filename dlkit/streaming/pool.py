"""Arrays that are made once and lent again and again.

    pool of 4 --lend--> array, written, read --give back--> pool

A stream that makes an array for each batch asks the system for memory a thousand times a second,
and gives it back as often. A pool asks once, so how much a stream takes is known before it begins;
and an array that nobody gave back is noticed, with the place that took it.
"""

import threading
import traceback
import warnings
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from dlkit.checks import check_positive_int
from dlkit.streaming.checks import StreamError, StreamTimeoutError


class Lease:
    """An array of the pool, until it is given back.

    Attributes:
        array: the memory; it belongs to somebody else after `release`.
    """

    __slots__ = ("__weakref__", "_given_back", "_pool", "_slot", "array")

    def __init__(self, pool: "BufferPool", slot: int, array: npt.NDArray[Any]) -> None:
        self._pool, self._slot, self.array = pool, slot, array
        self._given_back = False

    def release(self) -> None:
        """Give the array back.

        Raises:
            StreamError: if that was done before; the array may be somebody else's now.
        """
        if self._given_back:
            raise StreamError(f"array {self._slot} of the pool was given back twice")
        self._given_back = True
        self._pool._take_back(self._slot)

    def __enter__(self) -> npt.NDArray[Any]:
        return self.array

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if not self._given_back:
            self.release()

    def __del__(self) -> None:
        # Lost without being given back: the pool goes on, and the leak is counted.
        if not self._given_back:
            self._given_back = True
            self._pool._found(self._slot)


class BufferPool:
    """A fixed number of arrays of one shape.

    Args:
        count: arrays.
        shape: of each one.
        dtype: of each one.
        trace: whether to note where each array was taken, which costs some 20 microseconds.

    Attributes:
        leaked: how many arrays were lost without being given back.

    Raises:
        ValueError: if `count` is no positive integer, or there is no such shape.

    Example:
        >>> pool = BufferPool(2, shape=(4, 3))
        >>> with pool.lend() as array:
        ...     array[:] = 1.0
        ...     pool.free
        1
        >>> pool.free, pool.nbytes
        (2, 96)
        >>> pool.close()
    """

    def __init__(
        self,
        count: int,
        shape: Sequence[int],
        dtype: npt.DTypeLike = np.float32,
        trace: bool = False,
    ) -> None:
        check_positive_int("count", count)
        for length in shape:
            check_positive_int("shape", length)
        # One block: its pages are touched once, here, and not in the middle of the stream.
        self._block = np.zeros((count, *shape), dtype=dtype)
        self._free = list(range(count))
        self._changed = threading.Condition()
        self._trace = trace
        self._places: dict[int, str] = {}
        self.count = count
        self.shape = tuple(shape)
        self.dtype = self._block.dtype
        self.leaked = 0
        self.closed = False

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays together."""
        return self._block.nbytes

    @property
    def free(self) -> int:
        """How many arrays may be taken now."""
        return len(self._free)

    def lend(self, timeout: float | None = None) -> Lease:
        """Return an array of the pool, whose content is what the last user has left in it.

        Args:
            timeout: seconds to wait until one is given back; None waits for as long as it takes.

        Raises:
            StreamTimeoutError: if none was given back in time.
            StreamError: if the pool is closed.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._free or self.closed, timeout):
                raise StreamTimeoutError(
                    f"all {self.count} arrays of the pool are lent, and none was given back in "
                    f"{timeout} s; release them, or make the pool larger{self._taken()}"
                )
            if self.closed:
                raise StreamError("the pool is closed")
            slot = self._free.pop()
            if self._trace:
                self._places[slot] = "".join(traceback.format_stack(limit=3)[:-1])
        return Lease(self, slot, self._block[slot])

    def _take_back(self, slot: int) -> None:
        with self._changed:
            self._places.pop(slot, None)
            self._free.append(slot)
            self._changed.notify()

    def _found(self, slot: int) -> None:
        self.leaked += 1
        self._take_back(slot)

    def _taken(self) -> str:
        places = "".join(f"\ntaken at\n{place}" for place in self._places.values())
        return places if self._trace else "; BufferPool(trace=True) tells where they were taken"

    def close(self) -> None:
        """Lend no more, and warn of arrays that were not given back."""
        with self._changed:
            if self.closed:
                return
            self.closed = True
            self._changed.notify_all()
            missing = self.count - len(self._free)
        if missing or self.leaked:
            warnings.warn(
                f"{missing} of {self.count} arrays of the pool are still lent, and {self.leaked} "
                f"were lost without being given back{self._taken()}",
                ResourceWarning,
                stacklevel=2,
            )


def stack_into(array: npt.NDArray[Any], items: Sequence[Any]) -> npt.NDArray[Any]:
    """Stack items into the front of an array, and return that part of it.

    Raises:
        ValueError: if an item has another shape than the array has rows, or there are too many.

    Example:
        >>> stack_into(np.zeros((4, 2)), [[1, 2], [3, 4]]).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    if len(items) > len(array):
        raise ValueError(f"the pool's arrays hold {len(array)} items, but the batch {len(items)}")
    rows = array[: len(items)]
    for place, item in enumerate(items):
        row = np.asarray(item)
        if row.shape != array.shape[1:]:
            raise ValueError(
                f"all items must have the shape {array.shape[1:]} of the pool's rows, but item "
                f"{place} of the batch has {row.shape}"
            )
        rows[place] = row
    return rows
