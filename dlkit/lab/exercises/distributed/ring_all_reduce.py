"""Sum arrays over all ranks, each talking to its neighbour alone."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def ring_all_reduce(
    rank: int, world_size: int, chunks: list[float]
) -> Generator[tuple[int, float], tuple[int, float], list[float]]:
    chunks = list(chunks)
    for step in range(world_size - 1):
        place = (rank - step) % world_size
        place, received = yield place, chunks[place]
        chunks[place] += received
    for step in range(world_size - 1):
        place = (rank + 1 - step) % world_size
        place, received = yield place, chunks[place]
        chunks[place] = received
    return chunks


def _in_one_loop(rank: int, world_size: int, chunks: list[float]) -> Any:
    held = dict(enumerate(chunks))
    for step in range(2 * (world_size - 1)):
        place = (rank - step) % world_size
        place, received = yield place, held[place]
        held[place] = held[place] + received if step < world_size - 1 else received
    return [held[i] for i in range(world_size)]


def _passing_on(rank: int, world_size: int, chunks: list[float]) -> Any:
    total, place = chunks[rank], rank
    for _ in range(world_size - 1):
        place, received = yield place, total
        total = received + chunks[place]
    sums = [0.0] * world_size
    sums[place] = total
    for _ in range(world_size - 1):
        place, total = yield place, total
        sums[place] = total
    return sums


def _only_scatters(rank: int, world_size: int, chunks: list[float]) -> Any:
    chunks = list(chunks)
    for step in range(world_size - 1):
        place = (rank - step) % world_size
        place, received = yield place, chunks[place]
        chunks[place] += received
    return chunks


def _adds_while_gathering(rank: int, world_size: int, chunks: list[float]) -> Any:
    chunks = list(chunks)
    for step in range(2 * (world_size - 1)):
        place = (rank - step) % world_size
        place, received = yield place, chunks[place]
        chunks[place] += received
    return chunks


def _gathers_from_the_wrong_place(rank: int, world_size: int, chunks: list[float]) -> Any:
    chunks = list(chunks)
    for turn in range(2):
        for step in range(world_size - 1):
            place = (rank - step) % world_size
            place, received = yield place, chunks[place]
            chunks[place] = received if turn else chunks[place] + received
    return chunks


def _always_sends_its_own(rank: int, world_size: int, chunks: list[float]) -> Any:
    chunks = list(chunks)
    for _ in range(2 * (world_size - 1)):
        place, received = yield rank, chunks[rank]
        chunks[place] += received
    return chunks


def _goes_once_too_often(rank: int, world_size: int, chunks: list[float]) -> Any:
    chunks = list(chunks)
    for step in range(world_size):
        place = (rank - step) % world_size
        place, received = yield place, chunks[place]
        chunks[place] += received
    for step in range(world_size - 1):
        place = (rank - step) % world_size
        place, received = yield place, chunks[place]
        chunks[place] = received
    return chunks


def _drive(answer: Any, values: list[list[float]]) -> Any:
    world_size = len(values)
    ranks = [answer(rank, world_size, list(chunks)) for rank, chunks in enumerate(values)]
    results: dict[int, Any] = {}
    messages: list[Any] = [None] * world_size
    steps = -1
    while len(results) < world_size and steps < 4 * world_size:
        sent: list[Any] = [None] * world_size
        for rank, generator in enumerate(ranks):
            if rank in results:
                continue
            try:
                sent[rank] = generator.send(messages[rank])
            except StopIteration as end:
                results[rank] = end.value
        messages = [sent[rank - 1] for rank in range(world_size)]
        steps += 1
    return {"sums on each rank": [results.get(r) for r in range(world_size)], "steps": steps}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield ([[5.0]],)
    yield ([[1.0, 2.0], [10.0, 20.0]],)
    yield ([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0], [100.0, 200.0, 300.0]],)
    for world_size in (2, 3, 4, 5, 8):
        yield ([[float(rng.randrange(100)) for _ in range(world_size)] for _ in range(world_size)],)


def _oracle(values: list[list[float]]) -> Any:
    sums = [sum(column) for column in zip(*values, strict=True)]
    return {"sums on each rank": [sums] * len(values), "steps": 2 * (len(values) - 1)}


EXERCISE = Exercise(
    level=3,
    reference=ring_all_reduce,
    alternatives=(_in_one_loop, _passing_on),
    mistakes=(
        _only_scatters,
        _adds_while_gathering,
        _gathers_from_the_wrong_place,
        _always_sends_its_own,
        _goes_once_too_often,
    ),
    cases=_cases,
    drive=_drive,
    oracle=_oracle,
    properties={"steps": lambda case, got: got["steps"] == 2 * (len(case[0]) - 1)},
)
