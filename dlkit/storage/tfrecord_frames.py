"""The frames of a TFRecord file: where its records are, and whether each is whole.

    length (8) | masked CRC-32C of it (4) | content | masked CRC-32C of it (4) | next ...

The index beside a file says where they are; without one, every length is followed once.
"""

import functools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dlkit.storage.columns import DamagedRecordError, IndexArray
from dlkit.storage.files import Bytes, corrupt, library

LENGTH, CRC = struct.Struct("<Q"), struct.Struct("<I")
BEFORE, AFTER = LENGTH.size + CRC.size, CRC.size  # bytes of a record around its content
AROUND = BEFORE + AFTER


def masked_crc(content: bytes) -> int:
    """Return the CRC-32C of bytes, masked as TensorFlow masks it.

    A checksum over bytes that contain their own checksum would be worthless, hence the mask.

    Example:
        >>> hex(masked_crc(b"123456789"))
        '0xc78ab0e5'
    """
    crc: int = crc32c()(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@functools.cache
def crc32c() -> Callable[[Any], int]:
    """Return the function that takes the CRC-32C of bytes."""
    function: Callable[[Any], int] = library("google_crc32c").value
    return function


def index_path(path: Path) -> Path:
    """Return where the index of a file is."""
    return path.with_suffix(".tfindex")


def read_index(path: Path) -> IndexArray | None:
    """Return the places of the records, if there is an index that can be true.

    It may be of a file that has just been replaced, or will be: whether it fits is for the file
    to say.
    """
    try:
        places = np.array(index_path(path).read_bytes().split(), np.int64).reshape(-1, 2)
    except (OSError, ValueError, OverflowError):
        return None
    starts, sizes = places[:, 0], places[:, 1]
    if (sizes < AROUND).any() or not np.array_equal(starts, np.cumsum(sizes) - sizes):
        return None
    return places


def end_of(index: IndexArray) -> int:
    """Return where the last record ends."""
    return int(index[-1].sum()) if len(index) else 0


def scan(path: Path, mapped: Bytes) -> IndexArray:
    """Go from length to length through a file; the checksum of each length is compared."""
    places: list[tuple[int, int]] = []
    place = 0
    while place < len(mapped):
        head = mapped[place : place + BEFORE].tobytes()
        if len(head) < BEFORE:
            raise corrupt(path, f"its last {len(head)} bytes are no record", len(places))
        if masked_crc(head[:8]) != CRC.unpack_from(head, 8)[0]:
            raise corrupt(path, "its length fails its checksum", len(places))
        size = LENGTH.unpack_from(head)[0] + AROUND
        if size > len(mapped) - place:
            raise corrupt(
                path,
                f"it takes {size} bytes, but {len(mapped) - place} are left in the file",
                len(places),
            )
        places.append((place, size))
        place += size
    return np.array(places, np.int64).reshape(-1, 2)


def content_of(mapped: Bytes, index: IndexArray, number: int) -> bytes:
    """Return the content of a record after comparing both of its checksums."""
    place, size = index[number].tolist()
    record = mapped[place : place + size].tobytes()
    if LENGTH.unpack_from(record)[0] != size - AROUND:
        raise DamagedRecordError(
            0, f"its length is {LENGTH.unpack_from(record)[0]}, but the index says {size - AROUND}"
        )
    content = record[BEFORE:-AFTER]
    if (
        masked_crc(record[:8]) != CRC.unpack_from(record, 8)[0]
        or masked_crc(content) != CRC.unpack(record[-AFTER:])[0]
    ):
        raise DamagedRecordError(0, "its content fails its checksum")
    return content
