"""The exact distribution of a random result, found by following every sequence of draws.

An answer that takes its randomness from ``draw(k)`` alone has finitely many paths. All of them are
followed, so a bias is seen as what it is, a wrong probability, and no test depends on luck.

>>> distribution(lambda draw: [draw(2)])
{'0': 0.5, '1': 0.5}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

MOST_PATHS = 20_000


def distribution(attempt: Callable[[Callable[[int], int]], Iterable[Any]]) -> dict[str, float]:
    """Return the probability of every result.

    Args:
        attempt: Called with ``draw`` once for every path; returns a sequence of items.

    Returns:
        The items of each result, joined by spaces, to its probability.

    Raises:
        ValueError: If ``draw`` is called with something else than a positive integer, or if there
            are more than 20,000 paths.
    """
    shares: dict[str, float] = {}
    script: list[tuple[int, int]] = []  # (drawn, of how many), the path that is followed now
    for _ in range(MOST_PATHS):
        place = 0

        def draw(k: int) -> int:
            nonlocal place
            if not isinstance(k, int) or k < 1:
                raise ValueError(f"draw(k) needs a positive integer, but got draw({k!r})")
            if place == len(script):
                script.append((0, k))
            place += 1
            return script[place - 1][0]

        key = " ".join(map(str, attempt(draw)))
        share = 1.0
        for _, choices in script:
            share /= choices
        shares[key] = shares.get(key, 0.0) + share
        # The next path differs in the last draw that has another value left.
        while script and script[-1][0] + 1 == script[-1][1]:
            script.pop()
        if not script:
            return shares
        script[-1] = (script[-1][0] + 1, script[-1][1])
    raise ValueError(f"more than {MOST_PATHS} sequences of draws: too many draws for so few items")
