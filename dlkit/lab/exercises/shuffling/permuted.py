"""The i-th element of a random permutation, without storing the permutation."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def permuted(i: int, n: int, seed: int) -> int:
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = i >> half, i & mask
        for turn in range(4):
            key = f"{seed} {turn} {right}".encode()
            mixed = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
            left, right = right, left ^ (mixed & mask)
        i = left << half | right
        if i < n:
            return i


def _affine(i: int, n: int, seed: int) -> Any:
    import math

    rng = random.Random(seed)
    step = rng.randrange(1, n + 1)
    while math.gcd(step, n) != 1:
        step += 1
    return (i * step + rng.randrange(n)) % n


def _two_affine_turns(i: int, n: int, seed: int) -> Any:
    return _affine(n - 1 - _affine(i, n, seed), n, seed + 1)


def _step_shares_a_factor(i: int, n: int, seed: int) -> Any:
    return (i * (2 * seed + 3) + seed) % n


def _cuts_with_a_remainder(i: int, n: int, seed: int) -> Any:
    key = f"{seed} {i}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") % n


def _stores_the_order(i: int, n: int, seed: int) -> Any:
    order = list(range(n))
    random.Random(seed).shuffle(order)
    return order[i]


def _flips_bits(i: int, n: int, seed: int) -> Any:
    return i ^ (seed % n)


def _forgets_the_seed(i: int, n: int, seed: int) -> Any:
    return permuted(i, n, 0)


def _drive(answer: Any, n: int, seeds: list[int]) -> Any:
    import tracemalloc

    tracemalloc.start()
    few = range(min(n, 50)) if n > 100 else range(n)
    orders = {f"seed {seed}": [int(answer(i, n, seed)) for i in few] for seed in seeds}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"orders": orders, "KiB of memory": peak >> 10}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield from ((n, [3]) for n in range(1, 18))
    yield 40, [0, 1, 2, 3]
    yield 97, [5, 8]
    yield 300_000, [1, 2]


EXERCISE = Exercise(
    level=3,
    reference=permuted,
    alternatives=(_affine, _two_affine_turns),
    mistakes=(
        _step_shares_a_factor,
        _cuts_with_a_remainder,
        _stores_the_order,
        _flips_bits,
        _forgets_the_seed,
    ),
    cases=_cases,
    drive=_drive,
    properties={
        "in_range": lambda case, got: all(
            0 <= i < case[0] for order in got["orders"].values() for i in order
        ),
        "once": lambda case, got: all(
            len(set(order)) == len(order) for order in got["orders"].values()
        ),
        "small": lambda case, got: got["KiB of memory"] < 1000,
        "seeded": lambda case, got: (
            case[0] < 30 or len({tuple(o) for o in got["orders"].values()}) > 1
        ),
    },
    seconds=6.0,
)
