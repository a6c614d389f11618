"""`tf.train.Example`, the message in a TFRecord file, and as much of protocol buffers as it needs.

    Example   1: Features
    Features  1: map of name -> Feature, as entries of { 1: name, 2: Feature }
    Feature   1: BytesList { 1: bytes ... } | 2: FloatList { 1: floats } | 3: Int64List { 1: ints }

The wire format is Google's, "Protocol Buffers: Encoding"; TensorFlow and its protobuf are not
needed. Every length is compared with what is left of the record before it is used.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

BYTES, FLOATS, INTS = 1, 2, 3  # number of the list in a Feature
VARINT, EIGHT, LENGTH, FOUR = 0, 1, 2, 5  # wire types
KNOWN_BYTES = 96  # of an entry that is worth remembering

Value = tuple[int, Any]  # which list, and a list of bytes or an array
Span = tuple[int, int]  # begin and end


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
        MessageError: if the bytes are no Example.
    """
    found: dict[str, Value] = {}
    for start, end in _entries(content):
        if end - start <= KNOWN_BYTES:
            name, value = _known_entry(content[start:end])
        else:
            name, value = _entry(content, start, end)
        found[name] = value
    return found


def find_features(content: bytes) -> dict[str, tuple[int, list[Span]]]:
    """Say where the values of an Example are, instead of what they are.

    Returns:
        For each name which list, and begin and end of its parts: of each byte string, or of blocks
        of floats or of varints.

    Raises:
        MessageError: if the bytes are no Example.

    Example:
        >>> find_features(dump_example({"a": (BYTES, [b"xyz"])}))
        {'a': (1, [(13, 16)])}
    """
    return dict(_named_spans(content, start, end) for start, end in _entries(content))


def decode_varints(blocks: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Decode packed integers of many records at once.

    Args:
        blocks: of shape `[n, bytes]`; the integers end at the same bytes in all rows.

    Returns:
        An array of shape `[n, integers]`.

    Raises:
        MessageError: if the last integer does not end, or one is longer than ten bytes.

    Example:
        >>> decode_varints(np.array([[7, 172, 2], [8, 128, 1]], np.uint8))
        array([[  7, 300],
               [  8, 128]])
    """
    count, width = blocks.shape
    if not width:
        return np.empty((count, 0), np.int64)
    ends = np.flatnonzero(blocks[0] < 128)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if not len(ends) or ends[-1] != width - 1 or (ends - starts).max() > 9:
        raise MessageError("a number does not end")
    shifts = 7 * (np.arange(width) - np.repeat(starts, ends - starts + 1))
    parts = (blocks & 127).astype(np.uint64) << shifts.astype(np.uint64)
    whole: npt.NDArray[np.int64] = np.bitwise_or.reduceat(parts, starts, axis=1).view(np.int64)
    return whole


def _entries(content: bytes) -> Iterator[Span]:
    """Yield where each feature with its name is."""
    for number, wire, start, end in _fields(content, 0, len(content)):
        if number == 1:
            _check_bytes(wire)
            for inner, inner_wire, first, last in _fields(content, start, end):
                if inner == 1 and first < last:
                    _check_bytes(inner_wire)
                    yield first, last


def _entry(content: bytes, start: int, end: int) -> tuple[str, Value]:
    """Parse one feature with its name."""
    name, (kind, spans) = _named_spans(content, start, end)
    if kind == BYTES:
        return name, (kind, [content[first:last] for first, last in spans])
    block = b"".join([content[first:last] for first, last in spans])
    if kind == FLOATS:
        return name, (kind, np.frombuffer(block, "<f4").astype(np.float32))
    return name, (kind, decode_varints(np.frombuffer(block, np.uint8)[None])[0])


@lru_cache(maxsize=4096)
def _known_entry(entry: bytes) -> tuple[str, Value]:
    # Shapes, types and labels are the same bytes in many records; their arrays are only copied
    # from.
    return _entry(entry, 0, len(entry))


def _named_spans(content: bytes, start: int, end: int) -> tuple[str, tuple[int, list[Span]]]:
    name, feature = b"", (end, end)
    for number, wire, first, last in _fields(content, start, end):
        if number in (1, 2):
            _check_bytes(wire)
            if number == 1:
                name = content[first:last]
            else:
                feature = first, last
    try:
        return name.decode(), _value_spans(content, *feature)
    except UnicodeDecodeError as error:
        raise MessageError(f"the name of a feature is no UTF-8: {error}") from None


def _value_spans(content: bytes, start: int, end: int) -> tuple[int, list[Span]]:
    kind = BYTES
    spans: list[Span] = []
    for list_number, list_wire, first, last in _fields(content, start, end):
        if list_number not in (BYTES, FLOATS, INTS) or (spans and list_number != kind):
            raise MessageError(f"a feature holds a list of the unexpected kind {list_number}")
        kind = list_number
        _check_bytes(list_wire)
        for number, wire, here, there in _fields(content, first, last):
            if number != 1:
                raise MessageError(f"a list has the unknown part {number}")
            if kind != INTS:  # which may be packed into one block, or come one by one
                _check_bytes(wire)
            if kind == FLOATS and (there - here) % 4:
                raise MessageError(f"floats take {there - here} bytes, no multiple of 4")
            if kind == INTS and content[there - 1 : there] > b"\x7f":
                raise MessageError("a number does not end")
            spans.append((here, there))
    return kind, spans


def _check_bytes(wire: int) -> None:
    if wire == VARINT:
        raise MessageError("a number stands where bytes should")


def _read_varint(content: bytes, place: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= end or shift > 63:
            raise MessageError("a number does not end")
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (2**64 - 1), place
        shift += 7


def _fields(content: bytes, place: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number and wire type of each field of a message, and where its value is."""
    while place < end:
        tag = content[place]
        if tag < 128:
            place += 1
        else:
            tag, place = _read_varint(content, place, end)
        wire = tag & 7
        if wire == LENGTH:
            size = content[place] if place < end else 128
            if size < 128:  # as most are, and a call would take as long as the rest
                place += 1
            else:
                size, place = _read_varint(content, place, end)
        elif wire == VARINT:
            size = _read_varint(content, place, end)[1] - place
        elif wire in (FOUR, EIGHT):
            size = 4 if wire == FOUR else 8
        else:
            raise MessageError(f"a part has the unknown wire type {wire}")
        if size > end - place:
            raise MessageError(f"a part takes {size} bytes, but {end - place} are left")
        yield tag >> 3, wire, place, place + size
        place += size
