"""A dataset whose rows stay on the disk until they are asked for."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dlkit.lab.exercises.contract import Case, Exercise


class MemmapDataset:
    """Rows of one shape and type in a raw file."""

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: str) -> None:
        self.path, self.row_shape, self.dtype = path, row_shape, np.dtype(dtype)
        row_bytes = int(np.prod(row_shape)) * self.dtype.itemsize
        self.length = path.stat().st_size // row_bytes

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < self.length:
            raise IndexError(index)
        rows = np.memmap(self.path, self.dtype, "r", shape=(self.length, *self.row_shape))
        return np.array(rows[index])


class _WithSeek:
    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: str) -> None:
        self.path, self.shape, self.dtype = path, row_shape, dtype
        self.row_bytes = int(np.prod(row_shape)) * np.dtype(dtype).itemsize

    def __len__(self) -> int:
        return self.path.stat().st_size // self.row_bytes

    def __getitem__(self, index: int) -> Any:
        if index >= len(self):
            raise IndexError
        with open(self.path, "rb") as file:
            file.seek(index * self.row_bytes)
            row = np.frombuffer(file.read(self.row_bytes), self.dtype)
        return row.reshape(self.shape).copy()


class _OpensLate(MemmapDataset):
    rows: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "rows"}

    def __getitem__(self, index: int) -> Any:
        if self.rows is None:
            shape = (self.length, *self.row_shape)
            self.rows = np.memmap(self.path, self.dtype, "r", shape=shape)
        return self.rows[index].copy()


class _ReadsEverything(MemmapDataset):
    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: str) -> None:
        self.rows = np.fromfile(path, dtype).reshape(-1, *row_shape)
        self.length = len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


class _CountsNumbers(MemmapDataset):
    def __len__(self) -> int:
        return self.path.stat().st_size // self.dtype.itemsize


class _CountsBytes(MemmapDataset):
    def __len__(self) -> int:
        return self.path.stat().st_size // int(np.prod(self.row_shape))


class _HasNoEnd(_WithSeek):
    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(index % len(self))


class _ReadsFloats(MemmapDataset):
    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: str) -> None:
        super().__init__(path, row_shape, "float32")


class _FlatRows(MemmapDataset):
    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(index).ravel()


def _drive(answer: Any, rows: int, row_shape: tuple[int, ...], dtype: str) -> Any:
    import pickle
    import tempfile

    values = _values(rows, row_shape, dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.bin"
        values.tofile(path)
        data = answer(path, row_shape, dtype)
        seen: dict[str, Any] = {"length": len(data)}
        if rows < 10:
            seen["rows"] = [np.asarray(data[i]) for i in range(rows)]
        else:
            seen["rows"] = [np.asarray(data[i]) for i in (0, rows // 2, rows - 1)]
        try:
            data[rows]
        except IndexError:
            seen["past the end"] = "IndexError"
        answer.__module__ = "__main__"  # only what an instance holds is to be counted
        state = data.__getstate__() if hasattr(data, "__getstate__") else vars(data)
        seen["KiB to pickle"] = len(pickle.dumps(state)) >> 10
    return seen


def _values(rows: int, row_shape: tuple[int, ...], dtype: str) -> Any:
    size = rows * int(np.prod(row_shape))
    return (np.arange(size) % 250).astype(dtype).reshape(rows, *row_shape)


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 1, (1,), "uint8"
    yield 2, (3,), "uint8"
    yield 3, (2, 2), "float32"
    yield 4, (2,), "int64"
    yield 5, (3, 1, 2), "int16"
    yield 20_000, (10,), "float32"


def _oracle(rows: int, row_shape: tuple[int, ...], dtype: str) -> Any:
    values = _values(rows, row_shape, dtype)
    chosen = range(rows) if rows < 10 else (0, rows // 2, rows - 1)
    return {"length": rows, "rows": [values[i] for i in chosen], "past the end": "IndexError"}


def _shapes(case: Case, got: Any) -> bool:
    return all(np.shape(row) == case[1] for row in got["rows"])


EXERCISE = Exercise(
    level=1,
    reference=MemmapDataset,
    alternatives=(_WithSeek, _OpensLate),
    mistakes=(
        _ReadsEverything,
        _CountsNumbers,
        _CountsBytes,
        _HasNoEnd,
        _ReadsFloats,
        _FlatRows,
    ),
    cases=_cases,
    drive=_drive,
    oracle=_oracle,
    same=lambda expected, got: all(
        np.array_equal(a, b) for a, b in zip(expected["rows"], got["rows"], strict=True)
    ),
    properties={
        "length": lambda case, got: got["length"] == case[0],
        "end": lambda case, got: got.get("past the end") == "IndexError",
        "shape": _shapes,
        "small": lambda case, got: got["KiB to pickle"] < 20,
    },
)
