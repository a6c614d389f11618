"""A list of strings that grows in every worker."""

from __future__ import annotations

import itertools
import random
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlkit.lab.exercises.contract import Case, Exercise


class Broken:
    def __init__(self, words: list[str]) -> None:
        self.words: Sequence[str] = list(words)

    def __getitem__(self, index: int) -> str:
        return self.words[index]


class MillionStrings:
    def __init__(self, words: list[str]) -> None:
        encoded = [word.encode() for word in words]
        self.content = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self.ends = np.cumsum([len(word) for word in encoded], dtype=np.int64)

    def __getitem__(self, index: int) -> str:
        start = self.ends[index - 1] if index else 0
        return self.content[start : self.ends[index]].tobytes().decode()


class _OneString:
    def __init__(self, words: list[str]) -> None:
        self.text = "".join(words)
        self.ends = array("q", itertools.accumulate(map(len, words)))

    def __getitem__(self, index: int) -> str:
        return self.text[self.ends[index - 1] if index else 0 : self.ends[index]]


class _NumpyStrings:
    def __init__(self, words: list[str]) -> None:
        self.words = np.array(words, dtype=np.str_)

    def __getitem__(self, index: int) -> str:
        return str(self.words[index])


class _Tuple(Broken):
    def __init__(self, words: list[str]) -> None:
        self.words = tuple(words)


class _BytesForCharacters(_OneString):
    def __init__(self, words: list[str]) -> None:
        self.text = "".join(words)
        self.ends = array("q", itertools.accumulate(len(word.encode()) for word in words))


class _Separated:
    def __init__(self, words: list[str]) -> None:
        self.text = " ".join(words)

    def __getitem__(self, index: int) -> str:
        return self.text.split(" ")[index]


def _drive(answer: Any, words: list[str]) -> dict[str, Any]:
    dataset = answer(words)
    containers = [
        type(part).__name__
        for part in vars(dataset).values()
        if isinstance(part, list | tuple | set | dict) and len(part) > max(10, len(words) / 2)
    ]
    read = [dataset[index] for index in range(len(words))]
    return {"words": read, "containers with an object for each word": containers}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield (["a", "bc"],)
    yield (["", "a b", "\u00fc\u4e2d"],)
    yield (["word"] * 40,)
    yield (["".join(rng.choices("abc\u00e9 ", k=rng.randrange(6))) for _ in range(60)],)


def _oracle(words: list[str]) -> dict[str, Any]:
    return {"words": words, "containers with an object for each word": []}


EXERCISE = Exercise(
    level=2,
    reference=MillionStrings,
    broken=Broken,
    alternatives=(_OneString, _NumpyStrings),
    mistakes=(Broken, _Tuple, _BytesForCharacters, _Separated),
    cases=_cases,
    oracle=_oracle,
    drive=_drive,
)
