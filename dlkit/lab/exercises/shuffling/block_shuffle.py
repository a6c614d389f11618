"""Shuffle data on a disk that is fast only for neighbours: blocks first, then inside."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import chain
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def block_shuffle(n: int, block_size: int, rng: random.Random) -> list[int]:
    blocks = [list(range(i, min(i + block_size, n))) for i in range(0, n, block_size)]
    rng.shuffle(blocks)
    for block in blocks:
        rng.shuffle(block)
    return [index for block in blocks for index in block]


def _with_sample(n: int, block_size: int, rng: random.Random) -> Any:
    order: list[int] = []
    starts = range(0, n, block_size)
    for start in rng.sample(starts, len(starts)):
        block = range(start, min(start + block_size, n))
        order += rng.sample(block, len(block))
    return order


def _with_sort_keys(n: int, block_size: int, rng: random.Random) -> Any:
    of_block = [rng.random() for _ in range(-(-n // block_size))]
    keys = [(of_block[i // block_size], i // block_size, rng.random()) for i in range(n)]
    return sorted(range(n), key=keys.__getitem__)


def _blocks_only(n: int, block_size: int, rng: random.Random) -> Any:
    blocks = [list(range(i, min(i + block_size, n))) for i in range(0, n, block_size)]
    rng.shuffle(blocks)
    return list(chain.from_iterable(blocks))


def _inside_only(n: int, block_size: int, rng: random.Random) -> Any:
    blocks = [list(range(i, min(i + block_size, n))) for i in range(0, n, block_size)]
    for block in blocks:
        rng.shuffle(block)
    return list(chain.from_iterable(blocks))


def _everything_at_once(n: int, block_size: int, rng: random.Random) -> Any:
    return rng.sample(range(n), n)


def _loses_the_short_block(n: int, block_size: int, rng: random.Random) -> Any:
    blocks = [list(range(i, i + block_size)) for i in range(0, n - n % block_size, block_size)]
    rng.shuffle(blocks)
    for block in blocks:
        rng.shuffle(block)
    return list(chain.from_iterable(blocks))


def _one_order_for_all_blocks(n: int, block_size: int, rng: random.Random) -> Any:
    inside = rng.sample(range(block_size), block_size)
    starts = rng.sample(range(0, n, block_size), -(-n // block_size))
    return [start + place for start in starts for place in inside if start + place < n]


def _drive(answer: Any, n: int, block_size: int) -> Any:
    return [answer(n, block_size, random.Random(seed)) for seed in range(12)]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield from ((0, 2), (1, 2), (2, 2), (3, 2), (8, 2), (12, 4), (10, 3), (40, 8), (45, 10))


def _in_blocks(case: Case, order: Any) -> list[list[int]]:
    """The order cut where the block changes."""
    cut: list[list[int]] = []
    for index in order:
        if not cut or cut[-1][-1] // case[1] != index // case[1]:
            cut.append([])
        cut[-1].append(index)
    return cut


def _inside_moves(case: Case, got: Any) -> bool:
    blocks = [b for order in got for b in _in_blocks(case, order)]
    return case[0] < 8 or any(block != sorted(block) for block in blocks)


def _inside_differs(case: Case, got: Any) -> bool:
    if case[0] < 12:
        return True
    inside = [
        {tuple(i % case[1] for i in b) for b in _in_blocks(case, o) if len(b) == case[1]}
        for o in got
    ]
    return any(len(orders) > 1 for orders in inside)


EXERCISE = Exercise(
    level=2,
    reference=block_shuffle,
    alternatives=(_with_sample, _with_sort_keys),
    mistakes=(
        _blocks_only,
        _inside_only,
        _everything_at_once,
        _loses_the_short_block,
        _one_order_for_all_blocks,
    ),
    cases=_cases,
    drive=_drive,
    properties={
        "permutation": lambda case, got: all(sorted(o) == list(range(case[0])) for o in got),
        "blocks_stay_whole": lambda case, got: all(
            len(_in_blocks(case, o)) == -(-case[0] // case[1]) for o in got
        ),
        "blocks_move": lambda case, got: (
            case[0] < 8 or len({_in_blocks(case, o)[0][0] // case[1] for o in got}) > 1
        ),
        "inside_moves": _inside_moves,
        "inside_differs": _inside_differs,
    },
)
