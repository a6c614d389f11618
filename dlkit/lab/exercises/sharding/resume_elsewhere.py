"""Go on in the middle of an epoch with another number of ranks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


def resume_elsewhere(
    order: list[int], batch_size: int, steps: int, old_world_size: int, new_world_size: int
) -> list[list[int]]:
    rest = order[steps * batch_size * old_world_size :]
    return [rest[rank::new_world_size] for rank in range(new_world_size)]


def _by_looking_up_who_had_what(
    order: list[int], batch_size: int, steps: int, old_world_size: int, new_world_size: int
) -> Any:
    seen: set[int] = set()
    for rank in range(old_world_size):
        seen.update(order[rank::old_world_size][: steps * batch_size])
    shards: list[list[int]] = [[] for _ in range(new_world_size)]
    for place, index in enumerate(i for i in order if i not in seen):
        shards[place % new_world_size].append(index)
    return shards


def _with_islice(
    order: list[int], batch_size: int, steps: int, old_world_size: int, new_world_size: int
) -> Any:
    from itertools import islice

    start = steps * batch_size * old_world_size
    return tuple(
        tuple(islice(order, start + rank, None, new_world_size)) for rank in range(new_world_size)
    )


def _counts_one_rank_only(
    order: list[int], batch_size: int, steps: int, old_world_size: int, new_world_size: int
) -> Any:
    rest = order[steps * batch_size :]
    return [rest[rank::new_world_size] for rank in range(new_world_size)]


def _counts_the_new_ranks(
    order: list[int], batch_size: int, steps: int, old_world_size: int, new_world_size: int
) -> Any:
    rest = order[steps * batch_size * new_world_size :]
    return [rest[rank::new_world_size] for rank in range(new_world_size)]


def _counts_steps_for_samples(
    order: list[int], batch_size: int, steps: int, old_world_size: int, new_world_size: int
) -> Any:
    rest = order[steps * old_world_size :]
    return [rest[rank::new_world_size] for rank in range(new_world_size)]


def _starts_over(
    order: list[int], batch_size: int, steps: int, old_world_size: int, new_world_size: int
) -> Any:
    return [order[rank::new_world_size] for rank in range(new_world_size)]


def _cuts_into_blocks(
    order: list[int], batch_size: int, steps: int, old_world_size: int, new_world_size: int
) -> Any:
    rest = order[steps * batch_size * old_world_size :]
    each = -(-len(rest) // new_world_size)
    return [rest[rank * each : (rank + 1) * each] for rank in range(new_world_size)]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [0, 1, 2, 3], 1, 0, 1, 2
    yield [0, 1, 2, 3], 1, 1, 1, 2
    yield [0, 1, 2, 3], 1, 1, 2, 1
    yield [0, 1, 2, 3, 4, 5, 6, 7], 2, 1, 2, 1
    for _ in range(25):
        order = rng.sample(range(40), rng.randrange(20, 41))
        yield order, rng.randrange(1, 4), rng.randrange(3), rng.randrange(1, 4), rng.randrange(1, 5)


def _oracle(
    order: list[int], batch_size: int, steps: int, old_world_size: int, new_world_size: int
) -> Any:
    """Deal the cards one by one, and take away those that a rank has played."""
    left, hands = list(order), [0] * old_world_size
    for place, index in enumerate(order):
        if hands[place % old_world_size] < steps * batch_size:
            hands[place % old_world_size] += 1
            left.remove(index)
    return [
        [i for p, i in enumerate(left) if p % new_world_size == r] for r in range(new_world_size)
    ]


EXERCISE = Exercise(
    level=2,
    reference=resume_elsewhere,
    alternatives=(_by_looking_up_who_had_what, _with_islice),
    mistakes=(
        _counts_one_rank_only,
        _counts_the_new_ranks,
        _counts_steps_for_samples,
        _starts_over,
        _cuts_into_blocks,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "ranks": lambda case, got: len(got) == case[4],
        "once": lambda case, got: len({i for s in got for i in s}) == sum(map(len, got)),
        "count": lambda case, got: (
            sum(map(len, got)) == max(0, len(case[0]) - case[1] * case[2] * case[3])
        ),
    },
    picture="strip",
)
