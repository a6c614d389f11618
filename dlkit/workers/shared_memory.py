"""Slots: shared memory that batches travel in, made once and used again and again.

A worker writes a batch into a slot; the tensors that the user gets lie over the same memory. When
the last of them is freed, the slot goes back to the worker and takes another batch:

    worker   Ring.begin --> collate into the slot --> Ring.lend --+       +--> begins with it again
                                                                  v       |
    loader                  SlotViews.open --> tensors over it --> last one freed

Nobody else can see a slot: on POSIX systems it is a file without a name, whose descriptor is sent
through the socket and then closed, so the memory is gone when the last process that maps it is
gone, however that ends. On Linux its size is not limited by /dev/shm either.
"""

import contextlib
import mmap
import os
import secrets
import sys
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dlkit.memory import LARGE, Bytes

_ALIGNMENT = 64  # bytes; a cache line, and enough for every vector instruction
Handle = int | str  # a file descriptor, or on Windows the name of a mapping


def create(nbytes: int, purpose: str = "a batch") -> tuple[Bytes, Handle]:
    """Make shared memory, and return it with what another process needs to map it too.

    Raises:
        MemoryError: if there is not so much; it says how much was needed, and for what.
    """
    try:
        if sys.platform == "win32":
            name = f"dlkit-{os.getpid()}-{secrets.token_hex(8)}"
            return _array(mmap.mmap(-1, nbytes, tagname=name)), name
        descriptor = _nameless_file()
        try:
            os.ftruncate(descriptor, nbytes)
            return attach(descriptor, nbytes), descriptor
        except BaseException:
            os.close(descriptor)
            raise
    except (OSError, RuntimeError) as error:
        raise MemoryError(f"no shared memory for {purpose} of {nbytes:,} bytes: {error}") from error


def attach(handle: Handle, nbytes: int) -> Bytes:
    """Map shared memory that another process has made."""
    if sys.platform == "win32":
        return _array(mmap.mmap(-1, nbytes, tagname=str(handle)))
    # Python's mmap keeps a descriptor open for each mapping; PyTorch's does not.
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    try:
        tensor = torch.from_file(f"{folder}/{handle}", shared=True, size=nbytes, dtype=torch.uint8)
    except RuntimeError as error:  # which hides the number of what the system has said
        raise OSError(str(error).splitlines()[0]) from None
    array: Bytes = tensor.numpy()
    return array


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("dlkit-slot")
    import _posixshmem  # type: ignore[import-not-found, unused-ignore]  # what multiprocessing.shared_memory stands on

    name = f"/dlkit-{secrets.token_hex(8)}"
    descriptor: int = _posixshmem.shm_open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    _posixshmem.shm_unlink(name)
    return descriptor


def _array(mapping: mmap.mmap) -> Bytes:
    return np.frombuffer(mapping, dtype=np.uint8)


# ---- in the worker ------------------------------------------------------------------------------


@dataclass(eq=False)
class Slot:
    """One piece of shared memory, as its worker sees it."""

    number: int
    memory: Bytes
    handle: Handle | None  # until the loader has it


class Arena:
    """A slot while a batch is being made in it: hands out its memory piece by piece.

    Args:
        memory: the slot's; an empty one only counts what would have been needed.

    Example:
        >>> arena = Arena(np.zeros(256, dtype=np.uint8))
        >>> len(arena.take(100)), arena.take(200), arena.needed
        (100, None, 328)
    """

    def __init__(self, memory: Bytes) -> None:
        # Tensors in the slot refer to this array, and it to the memory through a memoryview, at
        # which NumPy stops looking for the owner: so the array lives as long as any of them.
        self.base: Bytes = np.frombuffer(memoryview(memory.data), dtype=np.uint8)
        self.address: int = self.base.__array_interface__["data"][0]
        self.needed = 0  # bytes for everything that was asked for, also what did not fit

    def take(self, nbytes: int) -> Bytes | None:
        """Return the next `nbytes` of the slot, or None if they do not fit any more."""
        start = -(-self.needed // _ALIGNMENT) * _ALIGNMENT
        self.needed = start + nbytes
        return self.base[start : start + nbytes] if self.needed <= len(self.base) else None

    def offset_of(self, piece: Bytes) -> int | None:
        """Say where in the slot a piece of memory begins; None if it lies elsewhere."""
        offset = int(piece.__array_interface__["data"][0]) - self.address
        inside = offset >= 0 and offset + len(piece) <= len(self.base)
        return offset if inside else None


class Ring:
    """The slots of one worker, which takes them in turn.

    A slot is used again when the loader has returned it and nothing in this process refers to it
    any more: a dataset or `collate_fn` may keep a batch, too.

    Args:
        make: makes the memory of a slot; shared memory by default.
        may_watch: how many slots may be in use in this process before there are no more of them.
    """

    def __init__(
        self,
        make: Callable[[int], tuple[Bytes, Handle]] = create,
        may_watch: int | None = None,
    ) -> None:
        self._new = make
        self._may_watch = may_watch
        self._free: list[Slot] = []
        self._lent: dict[int, Slot] = {}  # sent to the loader, which returns them by number
        self._watched: dict[int, weakref.ref[Bytes]] = {}
        self._size = 0  # bytes that a slot must have for the largest batch so far
        self._made = 0
        self.retired: list[int] = []  # slots that the loader should forget, for they are too small

    def begin(self) -> tuple[Slot | None, Arena]:
        """Return a slot for the next batch; none before it is known how large one must be."""
        slot = self._free_slot()
        if slot is None and self._size and self._may_make():
            # Without room the batch is made all the same, and fails only then: otherwise a stream
            # would stand still, and its next batch fail for ever.
            with contextlib.suppress(MemoryError):
                slot = self._make(self._size)
        return slot, Arena(slot.memory if slot else np.empty(0, dtype=np.uint8))

    def grown(self, nbytes: int) -> Slot:
        """Return a slot that has room for `nbytes`."""
        self.want(nbytes)
        return self._free_slot() or self._make(self._size)

    def want(self, nbytes: int) -> None:
        """Remember that a batch takes so much."""
        if nbytes > self._size:
            # The first batch tells the size; if a later one is larger, lengths vary, and more
            # room saves growing for each new record.
            self._size = -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
            if self._made:
                self._size += self._size // 4

    def lend(self, slot: Slot) -> None:
        """Note that the slot now belongs to the loader."""
        self._lent[slot.number] = slot

    def take_back(self, numbers: list[int]) -> None:
        """Use slots again that the loader has returned."""
        for number in numbers:
            self._free.append(self._lent.pop(number))

    def give_up(self, slot: Slot | None, base: "weakref.ref[Bytes]") -> None:
        """Use a slot that was not sent again: at once, or when nothing here refers to it."""
        if slot is None:
            return
        living = base()  # asked once: another thread may free it at any moment
        if living is None:
            self._free.append(slot)
        else:
            self._watched[slot.number] = weakref.ref(living, self._freed(slot))

    def _freed(self, slot: Slot) -> Callable[[object], None]:
        def freed(_: object) -> None:
            self._watched.pop(slot.number, None)
            self._free.append(slot)

        return freed

    def _free_slot(self) -> Slot | None:
        while self._free:
            slot = self._free.pop()
            if len(slot.memory) >= self._size:
                return slot
            if slot.handle is None:
                self.retired.append(slot.number)
            elif isinstance(slot.handle, int):
                os.close(slot.handle)  # the loader has never got it
        return None

    def _may_make(self) -> bool:
        return self._may_watch is None or len(self._watched) < self._may_watch

    def _make(self, nbytes: int) -> Slot:
        memory, handle = self._new(nbytes)
        self._made += 1
        return Slot(self._made, memory, handle)


# ---- in the loader's process --------------------------------------------------------------------


class SlotViews:
    """The slots of one worker, as the loader sees them.

    Args:
        may_hold: how many batches the user may keep in slots; what is kept beyond that is copied
            into ordinary memory, so that shared memory stays bounded.
    """

    def __init__(self, may_hold: int) -> None:
        self._may_hold = may_hold
        self._memory: dict[int, memoryview] = {}
        self._used: dict[int, weakref.ref[Bytes]] = {}  # slots that hold a batch
        self._held: set[int] = set()  # those of them that the user has
        self._returned: deque[int] = deque()  # slots that the worker may use again
        self.largest = 0  # bytes

    def add(self, number: int, handle: Handle, nbytes: int) -> None:
        """Map a slot that the worker has made."""
        self.largest = max(self.largest, nbytes)
        try:
            self._memory[number] = memoryview(attach(handle, nbytes).data)
        finally:
            if isinstance(handle, int):
                os.close(handle)

    def forget(self, numbers: list[int]) -> None:
        """Drop slots that the worker does not use any more."""
        for number in numbers:
            del self._memory[number]

    def open(self, number: int) -> Bytes:
        """Return the memory of a slot, as an array that returns the slot when it is freed.

        Everything that lies over the array keeps it alive: tensors, their views and slices.
        """
        base: Bytes = np.frombuffer(self._memory[number], dtype=np.uint8)

        def freed(_: object) -> None:
            del self._used[number]
            self._held.discard(number)
            self._returned.append(number)

        self._used[number] = weakref.ref(base, freed)
        return base

    def hand_over(self, number: int, base: Bytes, spans: list[tuple[int, int]]) -> list[Bytes]:
        """Return the pieces of a slot that the user's tensors will lie over.

        Small ones are copies, so that keeping them keeps nothing else; and all of them are, each
        in memory of its own, while the user holds many slots.
        """
        may_hold = len(self._held) < self._may_hold
        if may_hold:
            self._held.add(number)
        pieces = ((base[start:end], may_hold and end - start >= LARGE) for start, end in spans)
        return [piece if stays else piece.copy() for piece, stays in pieces]

    def take_returned(self) -> list[int]:
        """Return the slots to give back to the worker, each once."""
        # One by one: another thread may free a tensor at any moment.
        return [self._returned.popleft() for _ in range(len(self._returned))]

    @property
    def nbytes(self) -> int:
        """Bytes of shared memory in all slots."""
        return sum(len(memory) for memory in self._memory.values())
