"""A file that is open before the workers start."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from typing import Any

import cloudpickle

from dlkit.lab.exercises.contract import Case, Exercise


class Broken:
    def __init__(self, path: str) -> None:
        self.file = open(path, "rb")  # noqa: SIM115

    def __getitem__(self, index: int) -> int:
        self.file.seek(index)
        return self.file.read(1)[0]


class HandleOverFork:
    def __init__(self, path: str) -> None:
        self.path = path
        self._file: Any = None
        self._owner = 0

    def __getitem__(self, index: int) -> int:
        if self._file is None or self._owner != os.getpid():
            self._file, self._owner = open(self.path, "rb"), os.getpid()  # noqa: SIM115
        self._file.seek(index)
        byte: int = self._file.read(1)[0]
        return byte

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_file": None, "_owner": 0}


class _OpensEachTime:
    def __init__(self, path: str) -> None:
        self.path = path

    def __getitem__(self, index: int) -> int:
        with open(self.path, "rb") as file:
            file.seek(index)
            return file.read(1)[0]


class _ReadsAll:
    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            self.content = file.read()

    def __getitem__(self, index: int) -> int:
        return self.content[index]


class _OpensLateButKeepsIt:
    def __init__(self, path: str) -> None:
        self.path = path
        self.file: Any = None

    def __getitem__(self, index: int) -> int:
        if self.file is None:
            self.file = open(self.path, "rb")  # noqa: SIM115
        self.file.seek(index)
        byte: int = self.file.read(1)[0]
        return byte


class _ForgetsToSeek:
    def __init__(self, path: str) -> None:
        self.path = path

    def __getitem__(self, index: int) -> int:
        with open(self.path, "rb") as file:
            return file.read(1)[0]


class _BytesNotNumbers:
    def __init__(self, path: str) -> None:
        self.path = path

    def __getitem__(self, index: int) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(index)
            return file.read(1)


def _drive(answer: Any, content: list[int], indices: list[int]) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(content))
        file.flush()
        dataset = answer(file.name)
        read = []
        for time in ("before it is read", "after it was read"):
            try:
                copied = cloudpickle.loads(cloudpickle.dumps(dataset))
                read.append([copied[index] for index in indices])
            except TypeError as error:
                return {"cannot be sent to a worker": time, "because": type(error).__name__}
            dataset[indices[0]]
    return {"a worker reads": read}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [5], [0]
    yield [5, 6, 7], [2, 0, 1]
    yield [rng.randrange(256) for _ in range(40)], [39, 0, 17]


def _oracle(content: list[int], indices: list[int]) -> dict[str, Any]:
    return {"a worker reads": 2 * [[content[index] for index in indices]]}


EXERCISE = Exercise(
    level=2,
    reference=HandleOverFork,
    broken=Broken,
    alternatives=(_OpensEachTime, _ReadsAll),
    mistakes=(Broken, _OpensLateButKeepsIt, _ForgetsToSeek, _BytesNotNumbers),
    cases=_cases,
    oracle=_oracle,
    drive=_drive,
)
