"""Let through so many per second on average, and a burst now and then."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise


class TokenBucket:
    """Holds up to capacity tokens; rate tokens are added in each second."""

    def __init__(self, rate: float, capacity: float) -> None:
        self.rate, self.capacity = rate, capacity
        self.tokens, self.last = capacity, 0.0

    def allow(self, now: float, cost: float = 1.0) -> bool:
        """Take the tokens and say yes, or take nothing and say no."""
        self.tokens = min(self.capacity, self.tokens + (now - self.last) * self.rate)
        self.last = now
        if cost > self.tokens:
            return False
        self.tokens -= cost
        return True


class _ByTheTimeWhenFull:
    def __init__(self, rate: float, capacity: float) -> None:
        self.rate, self.capacity, self.full_at = rate, capacity, 0.0

    def allow(self, now: float, cost: float = 1.0) -> bool:
        full_at = max(self.full_at, now) + cost / self.rate
        if full_at > now + self.capacity / self.rate + 1e-9:
            return False
        self.full_at = full_at
        return True


class _ByLevel:
    def __init__(self, rate: float, capacity: float) -> None:
        self.rate, self.capacity, self.level, self.then = rate, capacity, 0.0, 0.0

    def allow(self, now: float, cost: float = 1.0) -> bool:
        level = max(0.0, self.level - self.rate * (now - self.then))
        fits = level + cost <= self.capacity
        self.level, self.then = level + cost * fits, now
        return fits


class _NeverFull(TokenBucket):
    def allow(self, now: float, cost: float = 1.0) -> bool:
        self.tokens += (now - self.last) * self.rate
        self.last = now
        if cost > self.tokens:
            return False
        self.tokens -= cost
        return True


class _StartsEmpty(TokenBucket):
    def __init__(self, rate: float, capacity: float) -> None:
        super().__init__(rate, capacity)
        self.tokens = 0.0


class _PaysWhenRefused(TokenBucket):
    def allow(self, now: float, cost: float = 1.0) -> bool:
        self.tokens = min(self.capacity, self.tokens + (now - self.last) * self.rate) - cost
        self.last = now
        return self.tokens >= 0


class _AddsWholeTokens(TokenBucket):
    def allow(self, now: float, cost: float = 1.0) -> bool:
        self.tokens = min(self.capacity, self.tokens + int((now - self.last) * self.rate))
        self.last = now
        if cost > self.tokens:
            return False
        self.tokens -= cost
        return True


class _AddsTheSameTimeTwice(TokenBucket):
    def allow(self, now: float, cost: float = 1.0) -> bool:
        self.tokens = min(self.capacity, self.tokens + (now - self.last) * self.rate)
        if cost > self.tokens:
            return False
        self.last = now
        self.tokens -= cost
        return True


def _drive(answer: Any, rate: float, capacity: float, requests: list[tuple[float, float]]) -> Any:
    bucket = answer(rate, capacity)
    return [bool(bucket.allow(now, cost)) for now, cost in requests]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 1.0, 2.0, [(0.0, 1.0)]
    yield 1.0, 2.0, [(0.0, 2.0), (0.0, 1.0)]
    yield 1.0, 2.0, [(0.0, 2.0), (1.0, 1.0)]
    yield 1.0, 2.0, [(0.0, 3.0), (0.0, 1.0)]
    yield 1.0, 2.0, [(0.0, 2.0), (0.5, 0.5)]
    yield 1.0, 2.0, [(9.0, 2.0), (9.0, 1.0)]
    yield 1.0, 2.0, [(0.0, 2.0), (1.0, 2.0), (1.5, 2.0), (2.0, 2.0)]
    yield 1.0, 4.0, [(0.0, 4.0), (1.0, 2.0), (1.0, 2.0), (1.0, 2.0)]
    for _ in range(20):
        times = sorted(rng.randrange(40) / 4 for _ in range(rng.randrange(2, 9)))
        requests = [(time, float(rng.randrange(1, 4))) for time in times]
        yield rng.choice([0.5, 1.0, 2.0]), float(rng.randrange(2, 5)), requests


def _oracle(rate: float, capacity: float, requests: list[tuple[float, float]]) -> Any:
    """Tick in quarters of a second, in exact quarters of a token."""
    tokens, clock, answers = capacity, 0.0, []
    for now, cost in requests:
        while clock < now:
            clock += 0.25
            tokens = min(capacity, tokens + rate * 0.25)
        answers.append(cost <= tokens)
        tokens -= cost if cost <= tokens else 0
    return answers


EXERCISE = Exercise(
    level=2,
    reference=TokenBucket,
    alternatives=(_ByTheTimeWhenFull, _ByLevel),
    mistakes=(
        _NeverFull,
        _StartsEmpty,
        _PaysWhenRefused,
        _AddsWholeTokens,
        _AddsTheSameTimeTwice,
    ),
    cases=_cases,
    drive=_drive,
    oracle=_oracle,
    properties={"answers": lambda case, got: len(got) == len(case[2])},
)
