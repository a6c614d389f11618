"""A queue for live data: when it is full, the oldest goes."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


class DropOldest:
    """A queue with room for a fixed number of items."""

    def __init__(self, capacity: int) -> None:
        self.items: deque[Any] = deque(maxlen=capacity)
        self.dropped = 0

    def put(self, item: Any) -> None:
        """Add an item; when the queue is full, the oldest goes and is counted."""
        self.dropped += len(self.items) == self.items.maxlen
        self.items.append(item)

    def get(self) -> Any:
        """Take the oldest item, or None."""
        return self.items.popleft() if self.items else None


class _WithAList:
    def __init__(self, capacity: int) -> None:
        self.capacity, self.dropped = capacity, 0
        self.held: list[Any] = []

    def put(self, item: Any) -> None:
        self.held.append(item)
        if len(self.held) > self.capacity:
            del self.held[0]
            self.dropped += 1

    def get(self) -> Any:
        return self.held.pop(0) if self.held else None


class _WithARing:
    def __init__(self, capacity: int) -> None:
        self.ring: list[Any] = [None] * capacity
        self.first = self.count = self.dropped = 0

    def put(self, item: Any) -> None:
        size = len(self.ring)
        if self.count == size:
            self.first, self.count = (self.first + 1) % size, self.count - 1
            self.dropped += 1
        self.ring[(self.first + self.count) % size] = item
        self.count += 1

    def get(self) -> Any:
        if not self.count:
            return None
        item = self.ring[self.first]
        self.first, self.count = (self.first + 1) % len(self.ring), self.count - 1
        return item


class _DropsTheNewest(_WithAList):
    def put(self, item: Any) -> None:
        if len(self.held) < self.capacity:
            self.held.append(item)
        else:
            self.dropped += 1


class _HasNoBound(_WithAList):
    def put(self, item: Any) -> None:
        self.held.append(item)


class _CountsNothing(_WithAList):
    def put(self, item: Any) -> None:
        self.held = [*self.held, item][-self.capacity :]


class _GivesTheNewest(_WithAList):
    def get(self) -> Any:
        return self.held.pop() if self.held else None


class _DropsOneTooEarly(_WithAList):
    def put(self, item: Any) -> None:
        self.held.append(item)
        if len(self.held) >= self.capacity:
            del self.held[0]
            self.dropped += 1


def _drive(answer: Any, capacity: int, operations: list[Any]) -> Any:
    queue = answer(capacity)
    got = []
    for operation in operations:
        if operation == "get":
            got.append(queue.get())
        else:
            queue.put(operation)
    rest = []
    for _ in range(len(operations)):
        if (item := queue.get()) is None:
            break
        rest.append(item)
    return {"got": got, "left at the end": rest, "dropped": queue.dropped}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 1, ["get"]
    yield 2, [1, "get"]
    yield 2, [1, 2, "get"]
    yield 2, [1, 2, 3]
    yield 2, [1, 2, 3, "get", 4]
    for _ in range(20):
        operations = [rng.choice([n, n, "get"]) for n in range(rng.randrange(3, 12))]
        yield rng.randrange(1, 4), operations


def _oracle(capacity: int, operations: list[Any]) -> Any:
    got: list[Any] = []
    there: list[Any] = []
    dropped = 0
    for operation in operations:
        if operation == "get":
            got.append(there[0] if there else None)
            there = there[1:]
        else:
            dropped += len([*there, operation]) > capacity
            there = [*there, operation][-capacity:]
    return {"got": got, "left at the end": there, "dropped": dropped}


EXERCISE = Exercise(
    level=1,
    reference=DropOldest,
    alternatives=(_WithAList, _WithARing),
    mistakes=(
        _DropsTheNewest,
        _HasNoBound,
        _CountsNothing,
        _GivesTheNewest,
        _DropsOneTooEarly,
    ),
    cases=_cases,
    drive=_drive,
    oracle=_oracle,
    properties={
        "bounded": lambda case, got: len(got["left at the end"]) <= case[0],
        "counted": lambda case, got: (
            got["dropped"]
            == len([o for o in case[1] if o != "get"])
            - len([g for g in got["got"] if g is not None])
            - len(got["left at the end"])
        ),
    },
)
