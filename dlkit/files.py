"""A file that takes the place of another one: it is there whole, or as it was before.

    write beside it, under another name --> (fsync) --> os.replace, which is one step

A process that is killed at any moment, or a disk that is full, leaves the old file or none.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` when the block has ended without an error.

    Args:
        path: in a folder that is there.
        durable: whether the new file is to outlast a power cut right after the block, too.

    Raises:
        OSError: if the folder cannot be written, or there is no room; nothing new is left.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "figures.json")
        >>> with replacing(path) as file:
        ...     _ = file.write(b"[1, 2")
        ...     path.exists()
        False
        >>> path.read_text()
        '[1, 2'
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb") as file:
            yield file
            if durable:
                # Without this, a power cut after the renaming could leave a file of the right name
                # whose bytes never reached the disk.
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # Windows cannot open a folder, and its renaming is durable by itself
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
