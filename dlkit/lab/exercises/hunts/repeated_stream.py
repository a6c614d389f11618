"""A stream that every worker reads whole."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def broken(items: list[int], worker: int, workers: int) -> list[int]:
    return list(items)


def repeated_stream(items: list[int], worker: int, workers: int) -> list[int]:
    return items[worker::workers]


def _by_islice(items: list[int], worker: int, workers: int) -> Any:
    return list(itertools.islice(items, worker, None, workers))


def _by_blocks(items: list[int], worker: int, workers: int) -> Any:
    each = -(-len(items) // workers)
    return items[worker * each : (worker + 1) * each]


def _equal_blocks(items: list[int], worker: int, workers: int) -> Any:
    each = len(items) // workers
    return items[worker * each : (worker + 1) * each]


def _first_worker_only(items: list[int], worker: int, workers: int) -> Any:
    return list(items) if worker == 0 else []


def _from_its_place_on(items: list[int], worker: int, workers: int) -> Any:
    return items[worker:]


def _drive(answer: Any, n: int, workers: int) -> dict[str, Any]:
    shares = [list(answer(list(range(n)), worker, workers)) for worker in range(workers)]
    sizes = [len(share) for share in shares]
    return {"all together": sorted(itertools.chain(*shares)),
            "idle": max(sizes) > -(-n // workers)}  # fmt: skip


def _cases(rng: random.Random) -> Iterator[Case]:
    for n in range(1, 8):
        yield from ((n, workers) for workers in (1, 2, 3))


def _oracle(n: int, workers: int) -> dict[str, Any]:
    return {"all together": list(range(n)), "idle": False}


EXERCISE = Exercise(
    level=1,
    reference=repeated_stream,
    broken=broken,
    alternatives=(_by_islice, _by_blocks),
    mistakes=(broken, _equal_blocks, _first_worker_only, _from_its_place_on),
    cases=_cases,
    oracle=_oracle,
    drive=_drive,
)
