"""Where the records of a file begin: one pass over the headers, then any of them at once."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def index_records(blob: bytes) -> list[tuple[int, int]]:
    index, place = [], 0
    while place + 4 <= len(blob):
        length = int.from_bytes(blob[place : place + 4], "little")
        if place + 4 + length > len(blob):
            break
        index.append((place + 4, length))
        place += 4 + length
    return index


def _with_struct(blob: bytes) -> Any:
    places: list[list[int]] = []
    start = 0
    try:
        while True:
            (length,) = struct.unpack_from("<I", blob, start)
            start += 4
            if start + length > len(blob):
                return places
            places.append([start, length])
            start += length
    except struct.error:
        return places


def _by_recursion(blob: bytes) -> Any:
    def records(start: int) -> Iterator[tuple[int, int]]:
        header = blob[start : start + 4]
        if len(header) == 4:
            (length,) = struct.unpack("<I", header)
            if start + 4 + length <= len(blob):
                yield start + 4, length
                yield from records(start + 4 + length)

    return list(records(0))


def _reads_big_endian(blob: bytes) -> Any:
    index, place = [], 0
    while place + 4 <= len(blob):
        length = int.from_bytes(blob[place : place + 4], "big")
        if place + 4 + length > len(blob):
            break
        index.append((place + 4, length))
        place += 4 + length
    return index


def _points_at_the_header(blob: bytes) -> Any:
    return [(start - 4, length) for start, length in index_records(blob)]


def _forgets_to_skip_the_header(blob: bytes) -> Any:
    index, place = [], 0
    while place + 4 <= len(blob):
        length = int.from_bytes(blob[place : place + 4], "little")
        if place + 4 + length > len(blob):
            break
        index.append((place + 4, length))
        place += max(length, 1)
    return index


def _takes_half_a_record(blob: bytes) -> Any:
    index, place = [], 0
    while place + 4 <= len(blob):
        length = int.from_bytes(blob[place : place + 4], "little")
        index.append((place + 4, length))
        place += 4 + length
    return index


def _stops_at_an_empty_one(blob: bytes) -> Any:
    index = index_records(blob)
    empty = next((n for n, (_, length) in enumerate(index) if length == 0), len(index))
    return index[:empty]


def _gives_ends_for_lengths(blob: bytes) -> Any:
    return [(start, start + length) for start, length in index_records(blob)]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield (b"",)
    yield (_file([b"abc"]),)
    yield (_file([b""]),)
    yield (_file([b"a", b"bc"]),)
    yield (_file([b"a", b"", b"b"]),)
    yield (_file([b"abc"])[:-1],)
    yield (_file([b"abc", b"d"])[:-3],)
    for _ in range(15):
        records = [bytes(rng.randrange(12)) for _ in range(rng.randrange(5))]
        cut = rng.randrange(4)
        yield (_file(records)[: -cut or None],)
    yield (_file([b"x" * 300, b"y"]),)


def _file(records: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(record)) + record for record in records)


def _oracle(blob: bytes) -> Any:
    import io

    index, file = [], io.BytesIO(blob)
    while len(header := file.read(4)) == 4:
        (length,), start = struct.unpack("<I", header), file.tell()
        if len(file.read(length)) < length:
            break
        index.append((start, length))
    return index


EXERCISE = Exercise(
    level=1,
    reference=index_records,
    alternatives=(_with_struct, _by_recursion),
    mistakes=(
        _reads_big_endian,
        _points_at_the_header,
        _forgets_to_skip_the_header,
        _takes_half_a_record,
        _stops_at_an_empty_one,
        _gives_ends_for_lengths,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "inside": lambda case, got: all(start + length <= len(case[0]) for start, length in got),
        "headers": lambda case, got: all(
            struct.unpack("<I", case[0][start - 4 : start]) == (length,) for start, length in got
        ),
    },
)
