"""Share samples of different lengths among ranks so that none waits long for another."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from itertools import product
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def balanced_buckets(lengths: list[int], num_buckets: int) -> list[list[int]]:
    buckets: list[list[int]] = [[] for _ in range(num_buckets)]
    loads = [0] * num_buckets
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        lightest = loads.index(min(loads))
        buckets[lightest].append(index)
        loads[lightest] += lengths[index]
    return buckets


def _with_a_heap(lengths: list[int], num_buckets: int) -> Any:
    import heapq

    heap = [(0, number) for number in range(num_buckets)]
    buckets: list[list[int]] = [[] for _ in range(num_buckets)]
    for length, index in sorted(((n, i) for i, n in enumerate(lengths)), reverse=True):
        load, number = heapq.heappop(heap)
        buckets[number].append(index)
        heapq.heappush(heap, (load + length, number))
    return buckets


def _by_differences(lengths: list[int], num_buckets: int) -> Any:
    """Karmarkar and Karp's differencing: join the two most uneven partial solutions."""
    import heapq

    empty: list[list[int]] = [[] for _ in range(num_buckets - 1)]
    heap = [(-n, i, [[i], *empty], [n] + [0] * (num_buckets - 1)) for i, n in enumerate(lengths)]
    heapq.heapify(heap)
    while len(heap) > 1:
        (_, tie, first, loads), (_, _, second, others) = heapq.heappop(heap), heapq.heappop(heap)
        joined = sorted(
            (
                (a + b, x + y)
                for a, x, b, y in zip(loads, first, others[::-1], second[::-1], strict=True)
            ),
            reverse=True,
        )
        sums = [load for load, _ in joined]
        heapq.heappush(heap, (sums[-1] - sums[0], tie, [items for _, items in joined], sums))
    return heap[0][2] if heap else [[] for _ in range(num_buckets)]


def _takes_turns(lengths: list[int], num_buckets: int) -> Any:
    return [list(range(number, len(lengths), num_buckets)) for number in range(num_buckets)]


def _takes_turns_by_length(lengths: list[int], num_buckets: int) -> Any:
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [order[number::num_buckets] for number in range(num_buckets)]


def _starts_with_the_short_ones(lengths: list[int], num_buckets: int) -> Any:
    buckets: list[list[int]] = [[] for _ in range(num_buckets)]
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        min(buckets, key=lambda bucket: sum(lengths[i] for i in bucket)).append(index)
    return buckets


def _does_not_sort(lengths: list[int], num_buckets: int) -> Any:
    buckets: list[list[int]] = [[] for _ in range(num_buckets)]
    for index in range(len(lengths)):
        min(buckets, key=lambda bucket: sum(lengths[i] for i in bucket)).append(index)
    return buckets


def _counts_samples(lengths: list[int], num_buckets: int) -> Any:
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    each = -(-len(lengths) // num_buckets)
    return [order[number * each : (number + 1) * each] for number in range(num_buckets)]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [], 2
    yield [3], 1
    yield [3, 1], 2
    yield [5, 1, 5, 1], 2
    yield [1, 1, 2], 2
    yield [9, 8, 2, 1, 1, 1], 2
    yield [1, 1, 1, 1, 4], 2
    yield [6, 3, 3, 2, 2, 2], 3
    for _ in range(25):
        size = rng.randrange(4, 8)
        yield [rng.choice([1, 2, 3, 5, 9, 12]) for _ in range(size)], rng.randrange(2, 4)


@functools.cache
def _best_load(lengths: tuple[int, ...], num_buckets: int) -> int:
    """The smallest possible largest load, by trying everything."""
    best = sum(lengths)
    for places in product(range(num_buckets), repeat=len(lengths)):
        loads = [0] * num_buckets
        for place, length in zip(places, lengths, strict=True):
            loads[place] += length
        best = min(best, max(loads))
    return best


def _is_balanced(case: Case, got: Any) -> bool:
    lengths, count = case
    largest = max(sum(lengths[i] for i in bucket) for bucket in got)
    return bool(largest <= (4 / 3 - 1 / (3 * count)) * _best_load(tuple(lengths), count) + 1e-9)


EXERCISE = Exercise(
    level=3,
    reference=balanced_buckets,
    alternatives=(_with_a_heap, _by_differences),
    mistakes=(
        _takes_turns,
        _takes_turns_by_length,
        _starts_with_the_short_ones,
        _does_not_sort,
        _counts_samples,
    ),
    cases=_cases,
    properties={
        "buckets": lambda case, got: len(got) == case[1],
        "once": lambda case, got: sorted(i for b in got for i in b) == list(range(len(case[0]))),
        "balanced": _is_balanced,
    },
)
