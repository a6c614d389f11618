"""Records on disk: one file that only grows, and an index that says where each record is.

    index      header | entry of record 0 | entry of record 1 | ...      entry: offset, length, CRCs
    records    bytes of record 7 | bytes of record 0 | ...

A record is appended, then its entry is written. A writer that is killed in between leaves bytes
that no entry names; an entry that is torn has a wrong checksum and counts as missing; a record
whose bytes have changed has one too, and counts as damaged. So nobody waits for anybody: each
process appends with one call, to which the system gives a place of its own.
"""

import contextlib
import os
import secrets
import struct
import sys
import threading
import zlib
from pathlib import Path

import numpy as np

_HEADER = struct.Struct("<8s I I Q I")  # magic, version, zero, records, checksum of the rest
_MAGIC, _VERSION = b"dlkcache", 1
_HEADER_BYTES = 64
ENTRY = np.dtype([("offset", "<u8"), ("length", "<u8"), ("data_crc", "<u4"), ("crc", "<u4")])
_ENTRY = struct.Struct("<Q Q I I")


class NotOursError(PermissionError):
    """The files belong to others, or can be written by them: their pickles must not be read."""


class RecordFile:
    """Records by number, for many processes at once; closed when nobody uses it any more.

    Args:
        folder: holds the two files; made if it is not there.
        count: records that there may be, numbered from 0.

    Raises:
        OSError: if the files cannot be made.
        NotOursError: if they belong to another user, or others can write to them.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     records = RecordFile(Path(folder), 3)
        ...     records.append(1, b"one")
        ...     found = records.read(1), records.read(2)
        ...     records.close()
        >>> found
        (b'one', None)
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.count = count
        self.replaced = False  # whether files that were there could not be read
        self._appending = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._index = self._open_index()
        try:
            self._data = self._open("records", os.O_RDWR | os.O_CREAT | os.O_APPEND)
            self._entries = self._read_entries()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the files go."""
        for name in ("_index", "_data"):
            descriptor = getattr(self, name, -1)
            setattr(self, name, -1)
            if descriptor >= 0:
                os.close(descriptor)

    def __del__(self) -> None:
        self.close()

    def _open(self, name: str, flags: int) -> int:
        more = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        more |= getattr(os, "O_BINARY", 0)
        descriptor = os.open(self.folder / name, flags | more, 0o600)
        if hasattr(os, "geteuid"):
            about = os.fstat(descriptor)
            if about.st_uid != os.geteuid() or about.st_mode & 0o022:
                os.close(descriptor)
                raise NotOursError(
                    f"{self.folder / name} can be written by others, and records are pickles, "
                    "which may run code when they are read: use a folder of your own"
                )
        return descriptor

    def _open_index(self) -> int:
        """Open the index; make a new one if there is none, or none of this form."""
        for _ in range(3):
            with contextlib.suppress(FileNotFoundError):
                descriptor = self._open("index", os.O_RDWR)
                if self._is_whole(descriptor):
                    os.utime(descriptor if os.utime in os.supports_fd else self.folder / "index")
                    return descriptor
                os.close(descriptor)
                self.replaced = True
                for name in ("index", "records"):
                    (self.folder / name).unlink(missing_ok=True)
            self._make_index()
        raise OSError(f"{self.folder / 'index'} is exchanged by somebody again and again")

    def _is_whole(self, descriptor: int) -> bool:
        size = _HEADER_BYTES + self.count * ENTRY.itemsize
        header = _pread(descriptor, _HEADER.size, 0)
        return os.fstat(descriptor).st_size == size and header == self._header()

    def _header(self) -> bytes:
        head = _HEADER.pack(_MAGIC, _VERSION, 0, self.count, 0)[:-4]
        return head + struct.pack("<I", zlib.crc32(head))

    def _make_index(self) -> None:
        """Make an empty index under another name, and give it its own when it is whole."""
        target, draft = self.folder / "index", self.folder / f"index-{secrets.token_hex(8)}"
        try:
            with open(draft, "xb") as file:
                os.chmod(draft, 0o600)
                file.write(self._header().ljust(_HEADER_BYTES, b"\0"))
                file.truncate(_HEADER_BYTES + self.count * ENTRY.itemsize)
            try:
                os.link(draft, target)  # unlike a renaming, it keeps one that is there already
            except FileExistsError:
                pass
            except OSError:  # a file system without links
                os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)

    def _read_entries(self) -> "np.ndarray[tuple[int], np.dtype[np.void]]":
        data = _pread(self._index, self.count * ENTRY.itemsize, _HEADER_BYTES)
        whole = data.ljust(self.count * ENTRY.itemsize, b"\0")
        return np.frombuffer(bytearray(whole), dtype=ENTRY)

    # ---- records --------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """Bytes of all records."""
        return os.fstat(self._data).st_size

    def present(self) -> int:
        """Return how many records there are, those that other processes have written included."""
        self._entries = self._read_entries()
        return int((self._entries["length"] > 0).sum())

    def read(self, number: int) -> bytes | None:
        """Return a record; None if there is none.

        Raises:
            ValueError: if it is not what was written, or not there where it should be.
        """
        offset, length, data_crc, crc = self._entries[number].item()
        if not length:  # another process may have written it since
            entry = _pread(self._index, ENTRY.itemsize, _HEADER_BYTES + number * ENTRY.itemsize)
            if len(entry) < ENTRY.itemsize:
                return None
            offset, length, data_crc, crc = _ENTRY.unpack(entry)
            if not length:
                return None
        if crc != _entry_crc(number, offset, length, data_crc):
            raise ValueError(f"the entry of record {number} in {self.folder / 'index'} is damaged")
        # Not before looking how much there is: a wrong length must not make us reserve memory.
        data = _pread(self._data, length, offset) if offset + length <= self.nbytes else b""
        if len(data) != length or zlib.crc32(data) != data_crc:
            raise ValueError(f"record {number} in {self.folder / 'records'} is damaged")
        self._entries[number] = (offset, length, data_crc, crc)
        return data

    def append(self, number: int, data: bytes) -> None:
        """Write a record, in place of an earlier one of its number.

        Raises:
            OSError: if it cannot be written; then the earlier one is still there.
        """
        with self._appending:
            written = os.write(self._data, data)
            if written < len(data):  # the disk is full, or there is a limit for one call
                raise OSError(f"only {written} of {len(data)} bytes could be written")
            # The position belongs to this process alone: a forked one opens the files anew.
            offset = os.lseek(self._data, 0, os.SEEK_CUR) - len(data)
        data_crc = zlib.crc32(data)
        entry = (offset, len(data), data_crc, _entry_crc(number, offset, len(data), data_crc))
        _pwrite(self._index, _ENTRY.pack(*entry), _HEADER_BYTES + number * ENTRY.itemsize)
        self._entries[number] = entry


def _entry_crc(number: int, offset: int, length: int, data_crc: int) -> int:
    return zlib.crc32(struct.pack("<Q Q Q I", number, offset, length, data_crc))


if sys.platform == "win32":
    _seeking = threading.Lock()

    def _pread(descriptor: int, length: int, offset: int) -> bytes:
        with _seeking:
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.read(descriptor, length)

    def _pwrite(descriptor: int, data: bytes, offset: int) -> None:
        with _seeking:
            os.lseek(descriptor, offset, os.SEEK_SET)
            os.write(descriptor, data)

else:

    def _pread(descriptor: int, length: int, offset: int) -> bytes:
        return os.pread(descriptor, length, offset)

    def _pwrite(descriptor: int, data: bytes, offset: int) -> None:
        if os.pwrite(descriptor, data, offset) != len(data):
            raise OSError("an entry of the index could not be written")
