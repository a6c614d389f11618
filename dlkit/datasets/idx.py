"""The IDX format, in which MNIST is published: a header of big-endian numbers, then the bytes.

    00 00 08 03 | 00 00 ea 60 | 00 00 00 1c | 00 00 00 1c | pixels ...
    uint8, 3-d  | 60,000      | 28          | 28          |

The header says how long the file has to be, so a truncated copy is told from a whole one.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from dlkit.datasets.errors import DatasetCorruptError

UINT8 = 0x08
GZIP_MAGIC = b"\x1f\x8b"
CHUNK = 1 << 20


def read_idx(path: str | Path, *, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read an IDX file of bytes, plain or gzip-compressed (told by its content, not by its name).

    Args:
        path: the file.
        dimensions: how many dimensions the array must have (3 for images, 1 for labels).

    Returns:
        A writable array of uint8 that owns its memory.

    Raises:
        DatasetCorruptError: if the file is not IDX, not of bytes, of other dimensions, or shorter
            or longer than its header says.
        OSError: if the file cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "labels")
        ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        ...     read_idx(file, dimensions=1).tolist()
        [7, 2, 1]
    """
    path = Path(path)
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not compressed:
            return _parse(path, file, dimensions)
        with gzip.open(file) as unpacked:
            return _parse(path, unpacked, dimensions)


def _parse(path: Path, stream: BinaryIO | gzip.GzipFile, dimensions: int) -> npt.NDArray[np.uint8]:
    header_size = 4 + 4 * dimensions
    header = _read(path, stream, header_size)
    if len(header) < header_size:
        raise DatasetCorruptError(
            f"{path} is truncated: its header alone takes {header_size} bytes, "
            f"but it holds {len(header)}"
        )
    magic = bytes(header[:4])
    if magic != bytes([0, 0, UINT8, dimensions]):
        raise DatasetCorruptError(
            f"{path} is no IDX file of bytes with {dimensions} dimension(s): it should begin with "
            f"{bytes([0, 0, UINT8, dimensions]).hex(' ')}, but begins with {magic.hex(' ')}"
        )
    shape = struct.unpack(f">{dimensions}I", header[4:])
    expected = math.prod(shape)
    # One byte more than expected shows a file that is too long without reading all of it.
    content = _read(path, stream, expected + 1)
    if len(content) != expected:
        found = f"holds {header_size + len(content)}"
        if len(content) > expected:
            found = "is longer"
        raise DatasetCorruptError(
            f"{path} is {'truncated' if len(content) < expected else 'too long'}: its header "
            f"announces {'x'.join(map(str, shape))} bytes, which makes {header_size + expected} "
            f"with the header, but it {found}"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _read(path: Path, stream: BinaryIO | gzip.GzipFile, limit: int) -> bytearray:
    """Read up to `limit` bytes, fewer where the stream ends before."""
    content = bytearray()
    try:
        while len(content) < limit:
            chunk = stream.read(min(limit - len(content), CHUNK))
            if not chunk:
                break
            content += chunk
    except EOFError:
        pass  # a gzip stream that was cut off: the caller compares the length
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DatasetCorruptError(f"{path} is a damaged gzip file: {error}") from error
    return content
