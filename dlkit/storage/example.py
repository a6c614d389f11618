"""`tf.train.Example`, the message in a TFRecord file, and as much of protocol buffers as it needs.

    Example   1: Features
    Features  1: map of name -> Feature, as entries of { 1: name, 2: Feature }
    Feature   1: BytesList { 1: bytes ... } | 2: FloatList { 1: floats } | 3: Int64List { 1: ints }

The wire format is Google's, "Protocol Buffers: Encoding"; TensorFlow and its protobuf are not
needed. Every length is compared with what is left of the record before it is used.
"""

import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

BYTES, FLOATS, INTS = 1, 2, 3  # number of the list in a Feature
VARINT, EIGHT, LENGTH, FOUR = 0, 1, 2, 5  # wire types
KNOWN_BYTES = 96  # of an entry that is worth remembering

Value = tuple[int, Any]  # which list, and a list of bytes or an array


class MessageError(ValueError):
    """Bytes that are no such message."""


def dump_example(features: Mapping[str, Value]) -> bytes:
    """Return an Example as bytes.

    Args:
        features: for each name which list, and its bytes, floats or integers.

    Example:
        >>> load_example(dump_example({"label": (INTS, [7, -1])}))
        {'label': (3, array([ 7, -1]))}
    """
    entries = []
    for name, (kind, values) in features.items():
        if kind == BYTES:
            content = b"".join(_block(1, value) for value in values)
        elif kind == FLOATS:
            content = _block(1, np.asarray(values, "<f4").tobytes())
        else:
            content = _block(1, b"".join(_varint(int(value) & (2**64 - 1)) for value in values))
        feature = _block(kind, content)
        entries.append(_block(1, _block(1, name.encode()) + _block(2, feature)))
    return _block(1, b"".join(entries))


def _varint(value: int) -> bytes:
    if value < 128:
        return bytes((value,))
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _block(number: int, content: bytes) -> bytes:
    return bytes((number << 3 | LENGTH,)) + _varint(len(content)) + content


def load_example(content: bytes) -> dict[str, Value]:
    """Parse an Example.

    Raises:
        MessageError: if the bytes are none.
    """
    found: dict[str, Value] = {}
    for number, features in _fields(content):
        for inner, entry in _fields(_bytes(features)) if number == 1 else ():
            if inner == 1 and entry:
                read = _known_entry if len(_bytes(entry)) <= KNOWN_BYTES else _entry
                name, value = read(entry)
                found[name] = value
    return found


def _entry(content: bytes) -> tuple[str, Value]:
    """Parse one feature with its name."""
    parts = dict(_fields(content))
    try:
        name = _bytes(parts.get(1, b"")).decode()
    except UnicodeDecodeError as error:
        raise MessageError(f"the name of a feature is no UTF-8: {error}") from None
    return name, _feature(_bytes(parts.get(2, b"")))


# Shapes, types and labels are the same bytes in many records; their arrays are only copied from.
_known_entry = lru_cache(maxsize=4096)(_entry)


def _feature(content: bytes) -> Value:
    kind = BYTES
    values: list[Any] = []
    for number, block in _fields(content):
        kind = number
        if kind not in (BYTES, FLOATS, INTS):
            raise MessageError(f"a feature holds a list of the unknown kind {kind}")
        for number, value in _fields(_bytes(block)):
            if number != 1:
                raise MessageError(f"a list has the unknown part {number}")
            if kind == BYTES:
                values.append(_bytes(value))
            elif kind == INTS:  # packed into one block, or one by one
                values += _varints(value) if isinstance(value, bytes) else [value]
            else:
                if len(_bytes(value)) % 4:
                    raise MessageError(f"floats take {len(value)} bytes, no multiple of 4")
                values += struct.unpack(f"<{len(value) // 4}f", value)
    if kind == BYTES:
        return kind, values
    if kind == FLOATS:
        return kind, np.array(values, np.float32)
    return kind, np.array([v - 2**64 if v >> 63 else v for v in values], np.int64)


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise MessageError("a number stands where bytes should")
    return value


def _read_varint(content: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(content) or shift > 63:
            raise MessageError("a number does not end")
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (2**64 - 1), place
        shift += 7


def _varints(content: bytes) -> Iterator[int]:
    place = 0
    while place < len(content):
        value, place = _read_varint(content, place)
        yield value


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of each field: an integer, or bytes."""
    place = 0
    while place < len(content):
        tag, place = _read_varint(content, place)
        kind = tag & 7
        if kind == VARINT:
            value, place = _read_varint(content, place)
            yield tag >> 3, value
            continue
        if kind == LENGTH:
            size, place = _read_varint(content, place)
        elif kind in (FOUR, EIGHT):
            size = 4 if kind == FOUR else 8
        else:
            raise MessageError(f"wire type {kind} is none of this message's")
        if size > len(content) - place:
            raise MessageError(f"a part takes {size} bytes, but {len(content) - place} are left")
        yield tag >> 3, content[place : place + size]
        place += size
