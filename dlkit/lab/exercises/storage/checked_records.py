"""Records with a checksum: what is damaged is noticed, not trained on."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise, Raises


def checked_records(blob: bytes) -> list[bytes]:
    records, place = [], 0
    while place < len(blob):
        header = blob[place : place + 8]
        if len(header) < 8:
            raise ValueError("cut off in a header")
        length, checksum = struct.unpack("<II", header)
        record = blob[place + 8 : place + 8 + length]
        if len(record) < length or zlib.crc32(record) != checksum:
            raise ValueError(f"the record at {place} is damaged")
        records.append(record)
        place += 8 + length
    return records


def _with_a_file(blob: bytes) -> Any:
    import io

    file, records = io.BytesIO(blob), []
    while header := file.read(8):
        if len(header) != 8:
            raise ValueError(header)
        record = file.read(int.from_bytes(header[:4], "little"))
        if zlib.crc32(header[:4] and record) != int.from_bytes(header[4:], "little"):
            raise ValueError(record)
        if len(record) != int.from_bytes(header[:4], "little"):
            raise ValueError(record)
        records.append(record)
    return records


def _from_a_view(blob: bytes) -> Any:
    class DamagedError(ValueError):
        pass

    rest, records = memoryview(blob), []
    while rest:
        try:
            length, checksum = struct.unpack_from("<II", rest)
        except struct.error as error:
            raise DamagedError from error
        record, rest = bytes(rest[8 : 8 + length]), rest[8 + length :]
        if (len(record), zlib.crc32(record)) != (length, checksum):
            raise DamagedError
        records.append(record)
    return tuple(records)


def _does_not_check(blob: bytes) -> Any:
    records, place = [], 0
    while place + 8 <= len(blob):
        (length,) = struct.unpack_from("<I", blob, place)
        records.append(blob[place + 8 : place + 8 + length])
        place += 8 + length
    return records


def _skips_what_is_damaged(blob: bytes) -> Any:
    records, place = [], 0
    while place + 8 <= len(blob):
        length, checksum = struct.unpack_from("<II", blob, place)
        record = blob[place + 8 : place + 8 + length]
        if zlib.crc32(record) == checksum:
            records.append(record)
        place += 8 + length
    return records


def _stops_without_a_word(blob: bytes) -> Any:
    records, place = [], 0
    while place + 8 <= len(blob):
        length, checksum = struct.unpack_from("<II", blob, place)
        record = blob[place + 8 : place + 8 + length]
        if zlib.crc32(record) != checksum:
            break
        records.append(record)
        place += 8 + length
    return records


def _overlooks_a_cut_header(blob: bytes) -> Any:
    records, place = [], 0
    while place + 8 <= len(blob):
        length, checksum = struct.unpack_from("<II", blob, place)
        record = blob[place + 8 : place + 8 + length]
        if len(record) < length or zlib.crc32(record) != checksum:
            raise ValueError(place)
        records.append(record)
        place += 8 + length
    return records


def _checks_the_header_too(blob: bytes) -> Any:
    records, place = [], 0
    while place < len(blob):
        length, checksum = struct.unpack_from("<II", blob, place)
        record = blob[place + 8 : place + 8 + length]
        if zlib.crc32(blob[place : place + 4] + record) != checksum:
            raise ValueError(place)
        records.append(record)
        place += 8 + length
    return records


def _file(records: list[bytes]) -> bytes:
    return b"".join(struct.pack("<II", len(r), zlib.crc32(r)) + r for r in records)


def _flipped(blob: bytes, place: int) -> bytes:
    return blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield (b"",)
    yield (_file([b"abc"]),)
    yield (_file([b"", b"x"]),)
    yield (_flipped(_file([b"abc"]), 9),)
    yield (_flipped(_file([b"abc", b"de"]), 9),)
    yield (_flipped(_file([b"abc", b"de"]), 20),)
    yield (_file([b"abc", b"de"])[:-1],)
    yield (_file([b"abc", b"de"])[:-5],)
    for _ in range(15):
        blob = _file([rng.randbytes(rng.randrange(6)) for _ in range(rng.randrange(1, 4))])
        yield (rng.choice([blob, blob[: rng.randrange(len(blob))], _flipped(blob, len(blob) - 1)]),)


def _oracle(blob: bytes) -> Any:
    """Cut at every place that a writer could have cut at."""
    if not blob:
        return []
    length = int.from_bytes(blob[:4], "little")
    record, rest = blob[8 : 8 + length], blob[8 + length :]
    if blob[: 8 + length] != _file([record]):
        return Raises(ValueError)
    others = _oracle(rest)
    return others if isinstance(others, Raises) else [record, *others]


EXERCISE = Exercise(
    level=2,
    reference=checked_records,
    alternatives=(_with_a_file, _from_a_view),
    mistakes=(
        _does_not_check,
        _skips_what_is_damaged,
        _stops_without_a_word,
        _overlooks_a_cut_header,
        _checks_the_header_too,
    ),
    cases=_cases,
    oracle=_oracle,
)
