"""Shuffle a stream through a buffer, tested by the exact probability of every order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise
from dlkit.lab.exercises.draws import distribution
from dlkit.lab.exercises.values import same


def shuffle_buffer(stream: Iterable[Any], size: int, draw: Callable[[int], int]) -> Iterator[Any]:
    buffer: list[Any] = []
    for item in stream:
        if len(buffer) < size:
            buffer.append(item)
            continue
        chosen = draw(size)
        yield buffer[chosen]
        buffer[chosen] = item
    while buffer:
        yield buffer.pop(draw(len(buffer)))


def _refills_before_it_draws(stream: Iterable[Any], size: int, draw: Any) -> Any:
    items, buffer = iter(stream), []
    for item in items:
        buffer.append(item)
        if len(buffer) == size:
            yield buffer.pop(draw(size))
    while buffer:
        yield buffer.pop(draw(len(buffer)))


def _swaps_to_the_end(stream: Iterable[Any], size: int, draw: Any) -> Any:
    buffer: list[Any] = []
    done, items = object(), iter(stream)
    while True:
        while len(buffer) < size and (item := next(items, done)) is not done:
            buffer.append(item)
        if not buffer:
            return
        chosen = draw(len(buffer))
        buffer[chosen], buffer[-1] = buffer[-1], buffer[chosen]
        yield buffer.pop()


def _loses_the_end(stream: Iterable[Any], size: int, draw: Any) -> Any:
    buffer: list[Any] = []
    for item in stream:
        if len(buffer) < size:
            buffer.append(item)
            continue
        chosen = draw(size)
        yield buffer[chosen]
        buffer[chosen] = item


def _end_stays_in_order(stream: Iterable[Any], size: int, draw: Any) -> Any:
    buffer: list[Any] = []
    for item in stream:
        if len(buffer) < size:
            buffer.append(item)
            continue
        chosen = draw(size)
        yield buffer[chosen]
        buffer[chosen] = item
    yield from buffer


def _shuffles_in_blocks(stream: Iterable[Any], size: int, draw: Any) -> Any:
    buffer: list[Any] = []
    for item in stream:
        buffer.append(item)
        if len(buffer) == size:
            while buffer:
                yield buffer.pop(draw(len(buffer)))
    while buffer:
        yield buffer.pop(draw(len(buffer)))


def _holds_everything(stream: Iterable[Any], size: int, draw: Any) -> Any:
    buffer = list(stream)
    while buffer:
        yield buffer.pop(draw(len(buffer)))


def _never_draws_the_last_place(stream: Iterable[Any], size: int, draw: Any) -> Any:
    buffer: list[Any] = []
    for item in stream:
        if len(buffer) < size:
            buffer.append(item)
            continue
        chosen = draw(max(1, size - 1))
        yield buffer[chosen]
        buffer[chosen] = item
    while buffer:
        yield buffer.pop(draw(len(buffer)))


def _drive(answer: Any, n: int, size: int) -> Any:
    held = 0

    def attempt(draw: Any) -> list[int]:
        nonlocal held
        read = 0
        given: list[int] = []

        def stream() -> Iterator[int]:
            nonlocal read, held
            for item in range(n):
                read += 1
                held = max(held, read - len(given))
                yield item

        for item in answer(stream(), size, draw):
            given.append(item)
            if len(given) > n:
                break
        return given

    orders = distribution(attempt)
    return {"orders": orders, "most items held": held}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield from ((n, size) for n in range(5) for size in (1, 2, 3))


def _oracle(n: int, size: int) -> Any:
    orders: dict[str, float] = {}

    def follow(held: list[int], nxt: int, given: list[int], share: float) -> None:
        while nxt < n and len(held) < size:
            held, nxt = [*held, nxt], nxt + 1
        if not held:
            key = " ".join(map(str, given))
            orders[key] = orders.get(key, 0.0) + share
        for item in held:
            follow([h for h in held if h != item], nxt, [*given, item], share / len(held))

    follow([], 0, [], 1.0)
    return {"orders": orders, "most items held": min(n, size)}


EXERCISE = Exercise(
    level=2,
    reference=shuffle_buffer,
    alternatives=(_refills_before_it_draws, _swaps_to_the_end),
    mistakes=(
        _loses_the_end,
        _end_stays_in_order,
        _shuffles_in_blocks,
        _holds_everything,
        _never_draws_the_last_place,
    ),
    cases=_cases,
    drive=_drive,
    oracle=_oracle,
    same=lambda expected, got: same(expected["orders"], got["orders"]),
    properties={
        "all": lambda case, got: all(
            sorted(order.split()) == [str(i) for i in range(case[0])] for order in got["orders"]
        ),
        # One item more may be in hand: the one that is about to replace another.
        "bounded": lambda case, got: got["most items held"] <= case[1] + 1,
    },
)
