"""Batches from a live source: full, or no older than a deadline."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise

Arrival = tuple[float, str]


def micro_batches(
    arrivals: list[tuple[float, str]], max_size: int, max_wait: float
) -> list[tuple[float, list[str]]]:
    batches: list[tuple[float, list[str]]] = []
    waiting: list[str] = []
    deadline = 0.0
    for time, item in arrivals:
        if waiting and time >= deadline:
            batches.append((deadline, waiting))
            waiting = []
        if not waiting:
            deadline = time + max_wait
        waiting.append(item)
        if len(waiting) == max_size:
            batches.append((time, waiting))
            waiting = []
    if waiting:
        batches.append((deadline, waiting))
    return batches


def _by_groups(arrivals: list[Arrival], max_size: int, max_wait: float) -> Any:
    batches, start = [], 0
    while start < len(arrivals):
        deadline = arrivals[start][0] + max_wait
        group = [a for a in arrivals[start : start + max_size] if a[0] < deadline]
        group = group or [arrivals[start]]
        end = group[-1][0] if len(group) == max_size else deadline
        batches.append((end, [item for _, item in group]))
        start += len(group)
    return batches


def _as_a_machine(arrivals: list[Arrival], max_size: int, max_wait: float) -> Any:
    batches: list[Any] = []
    open_batch: dict[str, Any] = {}

    def close(time: float) -> None:
        batches.append([time, open_batch.pop("items")])

    for time, item in [*arrivals, (float("inf"), "")]:
        if "items" in open_batch and open_batch["deadline"] <= time:
            close(open_batch["deadline"])
        if time == float("inf"):
            break
        if "items" not in open_batch:
            open_batch.update(items=[], deadline=time + max_wait)
        open_batch["items"].append(item)
        if len(open_batch["items"]) >= max_size:
            close(time)
    return batches


def _waits_since_the_last_item(arrivals: list[Arrival], max_size: int, max_wait: float) -> Any:
    batches: list[Any] = []
    waiting: list[str] = []
    deadline = 0.0
    for time, item in arrivals:
        if waiting and time >= deadline:
            batches.append((deadline, waiting))
            waiting = []
        deadline = time + max_wait
        waiting.append(item)
        if len(waiting) == max_size:
            batches.append((time, waiting))
            waiting = []
    return [*batches, (deadline, waiting)] if waiting else batches


def _looks_at_the_clock_only_when_items_come(
    arrivals: list[Arrival], max_size: int, max_wait: float
) -> Any:
    batches: list[Any] = []
    waiting: list[str] = []
    first = 0.0
    for time, item in arrivals:
        if not waiting:
            first = time
        waiting.append(item)
        if len(waiting) == max_size or time >= first + max_wait:
            batches.append((time, waiting))
            waiting = []
    return [*batches, (first + max_wait, waiting)] if waiting else batches


def _forgets_the_rest(arrivals: list[Arrival], max_size: int, max_wait: float) -> Any:
    batches: list[Any] = []
    waiting: list[str] = []
    deadline = 0.0
    for time, item in arrivals:
        if waiting and time >= deadline:
            batches.append((deadline, waiting))
            waiting = []
        if not waiting:
            deadline = time + max_wait
        waiting.append(item)
        if len(waiting) == max_size:
            batches.append((time, waiting))
            waiting = []
    return batches


def _never_waits_less(arrivals: list[Arrival], max_size: int, max_wait: float) -> Any:
    return [
        (arrivals[start][0] + max_wait, [item for _, item in arrivals[start : start + max_size]])
        for start in range(0, len(arrivals), max_size)
    ]


def _ignores_the_deadline(arrivals: list[Arrival], max_size: int, max_wait: float) -> Any:
    groups = [arrivals[i : i + max_size] for i in range(0, len(arrivals), max_size)]
    return [(group[-1][0], [item for _, item in group]) for group in groups]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [], 2, 10.0
    yield [(1.0, "a")], 2, 10.0
    yield [(1.0, "a"), (2.0, "b")], 2, 10.0
    yield [(1.0, "a"), (9.0, "b")], 3, 10.0
    yield [(1.0, "a"), (20.0, "b")], 3, 10.0
    yield [(1.0, "a"), (11.0, "b")], 3, 10.0
    yield [(1.0, "a"), (8.0, "b"), (15.0, "c")], 4, 10.0
    for _ in range(30):
        times = sorted(float(rng.randrange(60)) for _ in range(rng.randrange(8)))
        items = [(time, chr(97 + n)) for n, time in enumerate(times)]
        yield items, rng.randrange(1, 4), float(rng.randrange(1, 15))


def _oracle(arrivals: list[Arrival], max_size: int, max_wait: float) -> Any:
    """Let the clock tick: every time is a whole second."""
    batches: list[Any] = []
    waiting: list[Arrival] = []
    for now in range(100):
        if waiting and now == waiting[0][0] + max_wait:
            batches.append((now, [item for _, item in waiting]))
            waiting = []
        for arrival in arrivals:
            if arrival[0] == now:
                waiting.append(arrival)
                if len(waiting) == max_size:
                    batches.append((now, [item for _, item in waiting]))
                    waiting = []
    return batches


EXERCISE = Exercise(
    level=2,
    reference=micro_batches,
    alternatives=(_by_groups, _as_a_machine),
    mistakes=(
        _waits_since_the_last_item,
        _looks_at_the_clock_only_when_items_come,
        _forgets_the_rest,
        _never_waits_less,
        _ignores_the_deadline,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "all": lambda case, got: sum(len(b) for _, b in got) == len(case[0]),
        "sizes": lambda case, got: all(1 <= len(b) <= case[1] for _, b in got),
        "patience": lambda case, got: all(
            end <= time + case[2] for end, b in got for time, item in case[0] if item in b
        ),
    },
)
