"""One step of Q-learning."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise

Table = list[list[float]]
Step = tuple[int, int, float, int, bool]


def q_update(
    q: list[list[float]], step: tuple[int, int, float, int, bool], alpha: float, gamma: float
) -> list[list[float]]:
    state, action, reward, following, done = step
    target = reward if done else reward + gamma * max(q[following])
    table = [list(row) for row in q]
    table[state][action] += alpha * (target - table[state][action])
    return table


def _as_a_mixture(q: Table, step: Step, alpha: float, gamma: float) -> Any:
    state, action, reward, following, done = step
    target = reward + gamma * max(q[following]) * (not done)
    return [
        [
            (1 - alpha) * value + alpha * target if (s, a) == (state, action) else value
            for a, value in enumerate(row)
        ]
        for s, row in enumerate(q)
    ]


def _with_tensors(q: Table, step: Step, alpha: float, gamma: float) -> Any:
    import torch

    table = torch.tensor(q)
    state, action, reward, following, done = step
    future = torch.zeros(()) if done else table[following].max()
    table[state, action].lerp_(reward + gamma * future, alpha)
    return table


def _goes_on_after_the_end(q: Table, step: Step, alpha: float, gamma: float) -> Any:
    return q_update(q, (*step[:4], False), alpha, gamma)


def _takes_the_same_action(q: Table, step: Step, alpha: float, gamma: float) -> Any:
    state, action, reward, following, done = step
    target = reward if done else reward + gamma * q[following][action]
    table = [list(row) for row in q]
    table[state][action] += alpha * (target - table[state][action])
    return table


def _looks_at_this_state(q: Table, step: Step, alpha: float, gamma: float) -> Any:
    state, action, reward, _, done = step
    return q_update(q, (state, action, reward, state, done), alpha, gamma)


def _forgets_the_old_value(q: Table, step: Step, alpha: float, gamma: float) -> Any:
    state, action, reward, following, done = step
    target = reward if done else reward + gamma * max(q[following])
    table = [list(row) for row in q]
    table[state][action] += alpha * target
    return table


def _jumps_to_the_target(q: Table, step: Step, alpha: float, gamma: float) -> Any:
    return q_update(q, step, 1.0, gamma)


def _changes_the_table(q: Table, step: Step, alpha: float, gamma: float) -> Any:
    state, action, reward, following, done = step
    target = reward if done else reward + gamma * max(q[following])
    q[state][action] += alpha * (target - q[state][action])
    return q


def _cases(rng: random.Random) -> Iterator[Case]:
    yield [[0.0]], (0, 0, 1.0, 0, True), 0.5, 0.9
    yield [[0.0, 2.0], [4.0, 6.0]], (0, 0, 1.0, 1, False), 0.5, 0.5
    yield [[2.0, 2.0], [4.0, 6.0]], (0, 1, 1.0, 1, True), 0.5, 0.5
    for _ in range(15):
        states, actions = rng.randrange(1, 4), rng.randrange(1, 4)
        q = [[float(rng.randrange(-4, 5)) for _ in range(actions)] for _ in range(states)]
        s, a, t = rng.randrange(states), rng.randrange(actions), rng.randrange(states)
        yield q, (s, a, float(rng.randrange(-2, 3)), t, rng.random() < 0.3), 0.25, 0.9


def _oracle(q: Table, step: Step, alpha: float, gamma: float) -> Any:
    """Watkins (1989): Q(s, a) becomes (1 - alpha) Q(s, a) + alpha (r + gamma max Q(s', .))."""
    import numpy as np

    table = np.array(q)
    state, action, reward, following, done = step
    future = 0.0 if done else np.max(np.array(q)[following])
    table[state, action] = (1 - alpha) * table[state, action] + alpha * (reward + gamma * future)
    return table


EXERCISE = Exercise(
    level=1,
    reference=q_update,
    alternatives=(_as_a_mixture, _with_tensors),
    mistakes=(
        _goes_on_after_the_end,
        _takes_the_same_action,
        _looks_at_this_state,
        _forgets_the_old_value,
        _jumps_to_the_target,
        _changes_the_table,
    ),
    cases=_cases,
    oracle=_oracle,
    properties={
        "others": lambda case, got: all(
            abs(got[s][a] - value) < 1e-6
            for s, row in enumerate(case[0])
            for a, value in enumerate(row)
            if (s, a) != case[1][:2]
        ),
    },
    picture="target",
)
