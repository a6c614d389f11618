"""A cache bounded by bytes, not by entries, that forgets what was used longest ago."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


class LruBytes:
    """Holds values of at most max_bytes in all."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.used = max_bytes, 0
        self.values: OrderedDict[str, bytes] = OrderedDict()

    def get(self, key: str) -> bytes | None:
        """Return the value, or None."""
        if key in self.values:
            self.values.move_to_end(key)
        return self.values.get(key)

    def put(self, key: str, value: bytes) -> None:
        """Store a value; one that is too large is not stored, and an old one under the key goes."""
        self.used -= len(self.values.pop(key, b""))
        if len(value) > self.max_bytes:
            return
        while self.used + len(value) > self.max_bytes:
            _, old = self.values.popitem(last=False)
            self.used -= len(old)
        self.values[key] = value
        self.used += len(value)


class _WithAPlainDict:
    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held: dict[str, bytes] = {}

    def get(self, key: str) -> Any:
        if key not in self.held:
            return None
        self.held[key] = self.held.pop(key)
        return self.held[key]

    def put(self, key: str, value: bytes) -> None:
        self.held.pop(key, None)
        if len(value) <= self.max_bytes:
            self.held[key] = value
            while sum(map(len, self.held.values())) > self.max_bytes:
                del self.held[next(iter(self.held))]


class _WithTimes:
    def __init__(self, max_bytes: int) -> None:
        self.room, self.now = max_bytes, 0
        self.entries: dict[str, list[Any]] = {}

    def get(self, key: str) -> Any:
        self.now += 1
        entry = self.entries.get(key)
        if entry is None:
            return None
        entry[0] = self.now
        return entry[1]

    def put(self, key: str, value: bytes) -> None:
        self.now += 1
        self.entries.pop(key, None)
        if len(value) > self.room:
            return
        self.entries[key] = [self.now, value]
        while sum(len(entry[1]) for entry in self.entries.values()) > self.room:
            del self.entries[min(self.entries, key=lambda k: self.entries[k][0])]


class _CountsEntries(_WithAPlainDict):
    def put(self, key: str, value: bytes) -> None:
        self.held.pop(key, None)
        self.held[key] = value
        while len(self.held) > self.max_bytes:
            del self.held[next(iter(self.held))]


class _ForgetsTheOldest(_WithAPlainDict):
    def get(self, key: str) -> Any:
        return self.held.get(key)


class _CountsAReplacedValue(LruBytes):
    def put(self, key: str, value: bytes) -> None:
        if len(value) > self.max_bytes:
            self.values.pop(key, None)
            return
        while self.used + len(value) > self.max_bytes and self.values:
            self.used -= len(self.values.popitem(last=False)[1])
        self.values[key] = value
        self.used += len(value)


class _MakesRoomOnlyOnce(_WithAPlainDict):
    def put(self, key: str, value: bytes) -> None:
        self.held.pop(key, None)
        if len(value) > self.max_bytes:
            return
        self.held[key] = value
        if sum(map(len, self.held.values())) > self.max_bytes:
            del self.held[next(iter(self.held))]


class _TooLargeEmptiesIt(_WithAPlainDict):
    def put(self, key: str, value: bytes) -> None:
        self.held.pop(key, None)
        self.held[key] = value
        while self.held and sum(map(len, self.held.values())) > self.max_bytes:
            del self.held[next(iter(self.held))]


def _drive(answer: Any, max_bytes: int, operations: list[Any]) -> Any:
    cache = answer(max_bytes)
    held, found = set(), []
    for operation, key, *size in operations:
        if operation == "put":
            cache.put(key, key.encode() * size[0])
            held.add(key)
        else:
            value = cache.get(key)
            found.append(f"get {key}: {'nothing' if value is None else f'{len(value)} bytes'}")
    at_the_end = {key: cache.get(key) for key in sorted(held)}
    sizes = {key: len(value) for key, value in at_the_end.items() if value is not None}
    return {"found": found, "bytes at the end": sizes}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 4, [("get", "a")]
    yield 4, [("put", "a", 2), ("get", "a")]
    yield 4, [("put", "a", 5), ("get", "a")]
    yield 4, [("put", "a", 2), ("put", "b", 3)]
    yield 4, [("put", "a", 2), ("put", "b", 5)]
    yield 4, [("put", "a", 2), ("put", "b", 2), ("get", "a"), ("put", "c", 2)]
    yield 4, [("put", "a", 2), ("put", "a", 2), ("put", "b", 2)]
    yield 4, [("put", "a", 1), ("put", "b", 1), ("put", "c", 1), ("put", "d", 4)]
    for _ in range(30):
        operations: list[Any] = []
        for _ in range(rng.randrange(4, 14)):
            key = rng.choice("abcd")
            is_put = rng.random() < 0.6
            operations.append(("put", key, rng.randrange(1, 6)) if is_put else ("get", key))
        yield rng.randrange(4, 9), operations


def _oracle(max_bytes: int, operations: list[Any]) -> Any:
    """Keep the whole history, and ask it who is there."""
    order: list[tuple[str, int]] = []  # the one used last at the end
    found, keys = [], set()
    for operation, key, *size in operations:
        old = next((n for k, n in order if k == key), None)
        if operation == "get":
            found.append(f"get {key}: {'nothing' if old is None else f'{old} bytes'}")
            if old is not None:
                order = [(k, n) for k, n in order if k != key] + [(key, old)]
            continue
        keys.add(key)
        order = [(k, n) for k, n in order if k != key]
        if size[0] <= max_bytes:
            order.append((key, size[0]))
            while sum(n for _, n in order) > max_bytes:
                order.pop(0)
    return {"found": found, "bytes at the end": dict(sorted(order))}


EXERCISE = Exercise(
    level=2,
    reference=LruBytes,
    alternatives=(_WithAPlainDict, _WithTimes),
    mistakes=(
        _CountsEntries,
        _ForgetsTheOldest,
        _CountsAReplacedValue,
        _MakesRoomOnlyOnce,
        _TooLargeEmptiesIt,
    ),
    cases=_cases,
    drive=_drive,
    oracle=_oracle,
    properties={"bounded": lambda case, got: sum(got["bytes at the end"].values()) <= case[0]},
)
