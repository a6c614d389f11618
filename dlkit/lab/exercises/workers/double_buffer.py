"""Load the next batch while the present one is computed, with two buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def double_buffer(
    start_load: Callable[[int], Callable[[], Any]], compute: Callable[[Any], Any], n: int
) -> list[Any]:
    results: list[Any] = []
    if n == 0:
        return results
    wait = start_load(0)
    for number in range(n):
        batch = wait()
        if number + 1 < n:
            wait = start_load(number + 1)
        results.append(compute(batch))
    return results


def _with_a_queue(start_load: Any, compute: Any, n: int) -> Any:
    from collections import deque

    pending: deque[Any] = deque()
    results = []
    for number in range(n + 1):
        if number < n:
            pending.append(start_load(number))
        if number > 0:
            results.append(compute(pending.popleft()()))
    return results


def _as_a_generator(start_load: Any, compute: Any, n: int) -> Any:
    def batches() -> Iterator[Any]:
        following: Any = start_load(0) if n else None
        for number in range(1, n + 1):
            present, following = following, start_load(number) if number < n else None
            yield present()

    return [compute(batch) for batch in batches()]


def _one_after_another(start_load: Any, compute: Any, n: int) -> Any:
    return [compute(start_load(number)()) for number in range(n)]


def _starts_everything(start_load: Any, compute: Any, n: int) -> Any:
    waits = [start_load(number) for number in range(n)]
    return [compute(wait()) for wait in waits]


def _keeps_three(start_load: Any, compute: Any, n: int) -> Any:
    waits = [start_load(number) for number in range(min(n, 2))]
    results = []
    for number in range(n):
        batch = waits[number]()
        if number + 2 < n:
            waits.append(start_load(number + 2))
        results.append(compute(batch))
    return results


def _loads_one_too_many(start_load: Any, compute: Any, n: int) -> Any:
    results = []
    wait = start_load(0)
    for number in range(n):
        batch, wait = wait(), start_load(number + 1)
        results.append(compute(batch))
    return results


def _forgets_the_last(start_load: Any, compute: Any, n: int) -> Any:
    results = []
    wait: Any = start_load(0) if n else None
    for number in range(1, n):
        batch, wait = wait(), start_load(number)
        results.append(compute(batch))
    return results


def _computes_before_it_is_there(start_load: Any, compute: Any, n: int) -> Any:
    results = []
    wait: Any = start_load(0) if n else None
    for number in range(n):
        following = start_load(number + 1) if number + 1 < n else None
        results.append(compute(number))
        wait = following
    return results if wait is None else []


def _drive(answer: Any, n: int) -> Any:
    events: list[str] = []

    def start_load(number: int) -> Callable[[], str]:
        events.append(f"start {number}")

        def wait() -> str:
            events.append(f"ready {number}")
            return f"batch {number}"

        return wait

    def compute(batch: Any) -> str:
        events.append(f"compute {str(batch).removeprefix('batch ')}")
        return f"result of {batch}"

    return {"results": answer(start_load, compute, n), "events": events}


def _most_open(events: list[str]) -> int:
    most = now = 0
    for event in events:
        now += event.startswith("start") - event.startswith("compute")
        most = max(most, now)
    return most


def _overlaps(case: Case, got: Any) -> bool:
    place = {event: n for n, event in enumerate(got["events"])}
    return all(place[f"start {i + 1}"] < place[f"compute {i}"] for i in range(case[0] - 1))


EXERCISE = Exercise(
    level=2,
    reference=double_buffer,
    alternatives=(_with_a_queue, _as_a_generator),
    mistakes=(
        _one_after_another,
        _starts_everything,
        _keeps_three,
        _loads_one_too_many,
        _forgets_the_last,
        _computes_before_it_is_there,
    ),
    cases=lambda rng: ((n,) for n in range(6)),
    drive=_drive,
    oracle=lambda n: {"results": [f"result of batch {i}" for i in range(n)]},
    same=lambda expected, got: bool(expected["results"] == got["results"]),
    properties={
        "only_these": lambda case, got: (
            sorted(e for e in got["events"] if e[0] == "s")
            == [f"start {i}" for i in range(case[0])]
        ),
        "ready_first": lambda case, got: all(
            f"ready {e[8:]}" in got["events"][:n]
            for n, e in enumerate(got["events"])
            if e.startswith("compute")
        ),
        "overlap": _overlaps,
        "two_buffers": lambda case, got: _most_open(got["events"]) <= 2,
    },
)
