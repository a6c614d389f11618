"""The value of each state of a small world whose rules are known."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlkit.lab.exercises.contract import Case, Exercise

World = list[list[list[float]]]


def value_iteration(
    chances: list[list[list[float]]], rewards: list[list[float]], gamma: float
) -> list[float]:
    states = range(len(rewards))
    values = [0.0] * len(rewards)
    change = 1.0
    while change > 1e-9:
        better = [
            max(
                reward + gamma * sum(p * v for p, v in zip(chance, values, strict=True))
                for reward, chance in zip(rewards[s], chances[s], strict=True)
            )
            for s in states
        ]
        change = max(abs(a - b) for a, b in zip(better, values, strict=True))
        values = better
    return values


def _with_numpy(chances: World, rewards: list[list[float]], gamma: float) -> Any:
    p, r = np.array(chances), np.array(rewards)
    values = np.zeros(len(r))
    for _ in range(600):
        values = (r + gamma * p @ values).max(axis=1)
    return values


def _policy_iteration(chances: World, rewards: list[list[float]], gamma: float) -> Any:
    p, r = np.array(chances), np.array(rewards)
    rows, policy = np.arange(len(r)), np.zeros(len(r), dtype=int)
    while True:
        values = np.linalg.solve(np.eye(len(r)) - gamma * p[rows, policy], r[rows, policy])
        scores = r + gamma * p @ values
        better = np.where(scores.max(1) > scores[rows, policy] + 1e-9, scores.argmax(1), policy)
        if (better == policy).all():
            return values
        policy = better


def _averages_the_actions(chances: World, rewards: list[list[float]], gamma: float) -> Any:
    p, r = np.array(chances), np.array(rewards)
    values = np.zeros(len(r))
    for _ in range(600):
        values = (r + gamma * p @ values).mean(axis=1)
    return values


def _one_sweep(chances: World, rewards: list[list[float]], gamma: float) -> Any:
    return np.array(rewards).max(axis=1)


def _hopes_for_the_best_state(chances: World, rewards: list[list[float]], gamma: float) -> Any:
    p, r = np.array(chances), np.array(rewards)
    values = np.zeros(len(r))
    for _ in range(600):
        values = (r + gamma * np.where(p > 0, values, -np.inf).max(axis=2)).max(axis=1)
    return values


def _discounts_the_reward_too(chances: World, rewards: list[list[float]], gamma: float) -> Any:
    p, r = np.array(chances), np.array(rewards)
    values = np.zeros(len(r))
    for _ in range(600):
        values = (gamma * (r + p @ values)).max(axis=1)
    return values


def _greedy_for_the_next_reward(chances: World, rewards: list[list[float]], gamma: float) -> Any:
    p, r = np.array(chances), np.array(rewards)
    rows, policy = np.arange(len(r)), r.argmax(axis=1)
    return np.linalg.solve(np.eye(len(r)) - gamma * p[rows, policy], r[rows, policy])


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [[[1.0]]], [[1.0]], 0.5
    yield [[[1.0], [1.0]]], [[1.0, 0.0]], 0.5
    yield [[[0.0, 1.0]], [[0.0, 1.0]]], [[0.0], [1.0]], 0.5
    yield [[[0.5, 0.5]], [[0.0, 1.0]]], [[0.0], [1.0]], 0.5
    yield [[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0]] * 2], [[1.0, 0.0], [3.0, 3.0]], 0.8
    for _ in range(12):
        states, actions = rng.randrange(2, 4), rng.randrange(1, 4)
        yield (
            [[_shares(rng, states) for _ in range(actions)] for _ in range(states)],
            [[float(rng.randrange(-3, 4)) for _ in range(actions)] for _ in range(states)],
            rng.choice([0.0, 0.5, 0.9]),
        )


def _shares(rng: random.Random, states: int) -> list[float]:
    weights = [rng.randrange(3) for _ in range(states)]
    weights[rng.randrange(states)] += 1
    return [weight / sum(weights) for weight in weights]


def _oracle(chances: World, rewards: list[list[float]], gamma: float) -> Any:
    """Solve every policy exactly; the best value of each state is among them."""
    from itertools import product

    p, r = np.array(chances), np.array(rewards)
    rows, best = np.arange(len(r)), np.full(len(r), -np.inf)
    for choice in product(range(r.shape[1]), repeat=len(r)):
        policy = np.array(choice)
        values = np.linalg.solve(np.eye(len(r)) - gamma * p[rows, policy], r[rows, policy])
        best = np.maximum(best, values)
    return best


def _is_stable(case: Case, got: Any) -> bool:
    p, r, values = np.array(case[0]), np.array(case[1]), np.array(got)
    return bool(np.allclose((r + case[2] * p @ values).max(axis=1), values, atol=1e-3))


EXERCISE = Exercise(
    level=2,
    reference=value_iteration,
    alternatives=(_with_numpy, _policy_iteration),
    mistakes=(
        _averages_the_actions,
        _one_sweep,
        _hopes_for_the_best_state,
        _discounts_the_reward_too,
        _greedy_for_the_next_reward,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "length": lambda case, got: len(got) == len(case[1]),
        "stable": _is_stable,
    },
)
