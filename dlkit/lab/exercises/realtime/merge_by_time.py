"""Several streams, each in order of time, into one."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise

Record = tuple[float, Any]


def merge_by_time(streams: list[Iterable[tuple[float, Any]]]) -> Iterator[tuple[float, Any]]:
    heap = []
    for number, stream in enumerate(map(iter, streams)):
        for time, item in stream:
            heap.append((time, number, item, stream))
            break
    heapq.heapify(heap)
    while heap:
        time, number, item, stream = heap[0]
        yield time, item
        for time, item in stream:
            heapq.heapreplace(heap, (time, number, item, stream))
            break
        else:
            heapq.heappop(heap)


def _with_heapq_merge(streams: list[Iterable[Record]]) -> Any:
    return heapq.merge(*streams, key=lambda record: record[0])


def _by_looking_at_all(streams: list[Iterable[Record]]) -> Any:
    sources = [iter(stream) for stream in streams]
    fronts = [next(source, None) for source in sources]
    while any(front is not None for front in fronts):
        number = min(
            (n for n, front in enumerate(fronts) if front is not None),
            key=lambda n: fronts[n][0],  # type: ignore[index]
        )
        yield fronts[number]
        fronts[number] = next(sources[number], None)


def _one_after_another(streams: list[Iterable[Record]]) -> Any:
    for stream in streams:
        yield from stream


def _takes_turns(streams: list[Iterable[Record]]) -> Any:
    sources = [iter(stream) for stream in streams]
    while sources:
        for source in list(sources):
            for record in source:
                yield record
                break
            else:
                sources.remove(source)


def _compares_the_items(streams: list[Iterable[Record]]) -> Any:
    return heapq.merge(*streams)


def _reads_everything_first(streams: list[Iterable[Record]]) -> Any:
    records = [record for stream in streams for record in stream]
    yield from sorted(records, key=lambda record: record[0])


def _ends_with_the_shortest(streams: list[Iterable[Record]]) -> Any:
    sources = [iter(stream) for stream in streams]
    fronts: list[Any] = [next(source, None) for source in sources]
    while fronts and all(front is not None for front in fronts):
        number = min(range(len(fronts)), key=lambda n: fronts[n][0])
        yield fronts[number]
        fronts[number] = next(sources[number], None)


def _drive(answer: Any, streams: list[list[Record]]) -> Any:
    read = given = most = 0

    def reading(records: list[Record]) -> Iterator[Record]:
        nonlocal read, most
        for record in records:
            read += 1
            most = max(most, read - given)
            yield record

    merged = []
    for record in answer([reading(records) for records in streams]):
        merged.append(record)
        given += 1
    return {"merged": merged, "most read ahead": most}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield ([],)
    yield ([[(1.0, "a")]],)
    yield ([[(2.0, "a")], [(1.0, "b")]],)
    yield ([[(1.0, "b")], [(1.0, "a")]],)
    yield ([[(1.0, "a"), (2.0, "b")], []],)
    yield ([[(1.0, "a"), (2.0, "b"), (3.0, "c")], [(5.0, "d"), (6.0, "e")]],)
    for _ in range(20):
        streams = []
        for name in "xyz"[: rng.randrange(1, 4)]:
            times = sorted(float(rng.randrange(8)) for _ in range(rng.randrange(5)))
            streams.append([(t, name + str(rng.randrange(9))) for t in times])
        yield (streams,)


def _oracle(streams: list[list[Record]]) -> Any:
    records = [(t, n, p, item) for n, s in enumerate(streams) for p, (t, item) in enumerate(s)]
    return {"merged": [(time, item) for time, _, _, item in sorted(records)]}


EXERCISE = Exercise(
    level=2,
    reference=merge_by_time,
    alternatives=(_with_heapq_merge, _by_looking_at_all),
    mistakes=(
        _one_after_another,
        _takes_turns,
        _compares_the_items,
        _reads_everything_first,
        _ends_with_the_shortest,
    ),
    cases=_cases,
    drive=_drive,
    oracle=_oracle,
    same=lambda expected, got: expected["merged"] == [tuple(r) for r in got["merged"]],
    properties={
        "all": lambda case, got: len(got["merged"]) == sum(map(len, case[0])),
        "ordered": lambda case, got: all(
            a[0] <= b[0] for a, b in zip(got["merged"], got["merged"][1:], strict=False)
        ),
        # One record of each stream in hand, and the one that is being given.
        "lazy": lambda case, got: got["most read ahead"] <= len(case[0]) + 1,
    },
)
