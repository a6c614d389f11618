"""A batch of TFRecord's records at once, where their bytes lie in the same places.

    length crc ... "image" 784 | pixels ... | "image/shape" 28 28 ... "label" | 7     | crc
    the same in all records    | values     | the same in all records         | value | of its own

Samples of one shape make records that differ in little but their values. One of them is parsed, and
the bytes outside its values are compared with those of the others, all records in one step; equal
bytes are parsed equally, so the values are where they were in the first. A record that differs, or
fails its checksum, goes the long way by itself, where it is read or refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlkit.memory import prepared_array
from dlkit.storage.columns import Column, DamagedRecordError, IndexArray, Pieces, Rows, Table
from dlkit.storage.dataset import RecordReader
from dlkit.storage.example import INTS, decode_varints, find_features
from dlkit.storage.files import Bytes, Header
from dlkit.storage.grouping import joined
from dlkit.storage.schema import Field, Schema
from dlkit.storage.tabulate import fitted
from dlkit.storage.tfrecord_frames import AFTER, BEFORE

FEW = 4  # records that are as quickly read one by one
LAYOUTS, SIZES = 4, 64  # layouts to remember of each size of record, and sizes
LONG = 4096  # bytes of a value that are worth a copy of their own


@dataclass(frozen=True)
class Values:
    """Where the values of one field are in a record.

    Attributes:
        field: whose they are.
        kind: which list holds them: `BYTES`, `FLOATS` or `INTS`.
        start: their first byte.
        stop: the end of their last one.
        shape: of a tensor.
    """

    field: Field
    kind: int
    start: int
    stop: int
    shape: tuple[int, ...]

    def gather(self, mapped: Bytes, places: IndexArray) -> Column:
        """Copy the values of records that begin at `places`."""
        count, width = len(places), self.stop - self.start
        if self.kind == INTS:
            block = windows(mapped, width)[places + self.start]
            return Rows(decode_varints(block).reshape(count, *self.shape))
        out = prepared_array((count, width), np.dtype(np.uint8)) if self.field.dtype else None
        if out is None:
            out = np.empty((count, width), np.uint8)
        if width < LONG:
            out[:] = windows(mapped, width)[places + self.start]
        else:
            for row, start in zip(out, (places + self.start).tolist(), strict=True):
                row[:] = mapped[start : start + width]
        if self.field.kind != "tensor":
            return Pieces(out.reshape(-1), np.arange(count + 1, dtype=np.int64) * width)
        return Rows(out.view(self.field.stored).reshape(count, *self.shape))


@dataclass(frozen=True)
class RecordLayout:
    """Which bytes records of one size have in common, and where their values are.

    Attributes:
        size: bytes of a record.
        common: beginnings of runs of bytes, with the bits that count and what they must be.
        values: of all fields.
    """

    size: int
    common: tuple[tuple[int, Bytes, Bytes], ...]
    values: tuple[Values, ...]

    def fits(
        self, mapped: Bytes, places: IndexArray, crc: Callable[[Any], int]
    ) -> npt.NDArray[np.bool_]:
        """Say which of the records at `places` are whole and laid out like this."""
        good: npt.NDArray[np.bool_] = np.ones(len(places), bool)
        for start, mask, expected in self.common:
            found = windows(mapped, len(mask))[places + start]
            found &= mask
            good &= (found == expected).all(1)
        starts = (places + BEFORE).tolist()
        length = self.size - BEFORE - AFTER
        sums = np.array([crc(mapped[start : start + length]) for start in starts], np.uint32)
        sums = (sums >> np.uint32(15) | sums << np.uint32(17)) + np.uint32(0xA282EAD8)
        stored = windows(mapped, AFTER)[places + (self.size - AFTER)].view("<u4")[:, 0]
        good &= sums == stored
        return good

    def read(self, schema: Schema, mapped: Bytes, places: IndexArray) -> Table:
        """Return the samples of records that fit."""
        columns = tuple(values.gather(mapped, places) for values in self.values)
        return fitted(Table(schema, columns, len(places)), schema)


def windows(mapped: Bytes, width: int) -> Bytes:
    """Return every run of `width` bytes as a row, without copying anything."""
    return np.ndarray((len(mapped) - width + 1, width), np.uint8, mapped, 0, (1, 1))


def layout_of(
    record: bytes, fields: tuple[Field, ...], kinds: list[int], sample: list[Any]
) -> RecordLayout | None:
    """Return the layout of a record that was read, or None if its values are not in one piece.

    Args:
        record: its bytes, which are known to be whole.
        fields: of the sample in it.
        kinds: which list holds the values of each.
        sample: its values: arrays, and bytes.
    """
    features = find_features(record[BEFORE:-AFTER])
    mask = np.full(len(record), 255, np.uint8)
    mask[-AFTER:] = 0
    values = []
    for field, kind, value in zip(fields, kinds, sample, strict=True):
        found, spans = features[field.name]
        if found != kind or len(spans) != 1:
            return None
        start, stop = (BEFORE + place for place in spans[0])
        # The uppermost bit of a byte says whether an integer goes on in the next one.
        mask[start:stop] = 128 if kind == INTS else 0
        values.append(Values(field, kind, start, stop, getattr(value, "shape", ())))
    edges = np.flatnonzero(np.diff(mask != 0, prepend=False, append=False)).reshape(-1, 2)
    content = np.frombuffer(record, np.uint8)
    runs = [slice(start, stop) for start, stop in edges.tolist()]
    common = tuple((run.start, mask[run], content[run] & mask[run]) for run in runs)
    return RecordLayout(len(record), common, tuple(values))


class TFRecordReader(RecordReader):
    """Reads the records of a batch together where they are alike.

    Args:
        header: schema and number of samples.
        mapped: the file.
        index: place and size of each record, all of them inside the file.
        record: reads one record, the long way.
        kind_of: which list holds the values of a field.
        crc: CRC-32C of bytes.
    """

    def __init__(
        self,
        path: Any,
        header: Header,
        mapped: Bytes,
        index: IndexArray,
        record: Callable[[int], list[Any]],
        kind_of: Callable[[Field], int],
        crc: Callable[[Any], int],
    ) -> None:
        super().__init__(path, header, record)
        self._mapped, self._index, self._crc = mapped, index, crc
        self._kinds = [kind_of(field) for field in header.schema.fields]
        self._layouts: dict[int, list[RecordLayout]] = {}

    def read(self, indices: IndexArray) -> Table:
        """Read the records at `indices`, those of one size and layout in one go."""
        if len(indices) < FEW:
            return super().read(indices)
        places, sizes = self._index[indices].T
        schema, parts, others = self.header.schema, [], []
        for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
            waiting = np.flatnonzero(sizes == size) if count < len(sizes) else np.arange(count)
            for turn in range(LAYOUTS):
                layout = None
                if len(waiting) >= FEW:
                    layout = self._layout(int(size), turn, int(indices[waiting[0]]))
                if layout is None:
                    break
                good = layout.fits(self._mapped, places[waiting], self._crc)
                if good.any():
                    table = layout.read(schema, self._mapped, places[waiting[good]])
                    parts.append((waiting[good], table))
                    waiting = waiting[~good]
            others.append(waiting)
        rest = np.sort(np.concatenate(others))
        if len(rest):
            parts.append((rest, self._one_by_one(indices, rest)))
        if len(parts) == 1:
            return parts[0][1]
        back = np.empty(len(indices), np.int64)
        back[np.concatenate([positions for positions, _ in parts])] = np.arange(len(indices))
        return joined(schema, [table for _, table in parts]).gather(back)

    def _layout(self, size: int, turn: int, number: int) -> RecordLayout | None:
        """Return one of the layouts of a size; a new one is that of the record `number`."""
        if size not in self._layouts and len(self._layouts) >= SIZES:
            self._layouts.clear()
        layouts = self._layouts.setdefault(size, [])
        if turn < len(layouts):
            return layouts[turn]
        try:
            sample = self.record(number)
        except DamagedRecordError:
            return None
        place = int(self._index[number, 0])
        record = self._mapped[place : place + size].tobytes()
        layout = layout_of(record, self.header.schema.fields, self._kinds, sample)
        if layout is not None:
            layouts.append(layout)
        return layout

    def _one_by_one(self, indices: IndexArray, positions: IndexArray) -> Table:
        try:
            return super().read(indices[positions])
        except DamagedRecordError as error:
            raise DamagedRecordError(int(positions[error.place]), error.reason) from None
