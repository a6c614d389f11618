"""Reinforcement learning: a walk along a cliff, learned from rewards alone.

    . . . . . . . . . . . .
    . . . . . . . . . . . .
    . . . . . . . . . . . .
    S C C C C C C C C C C G      each step -1, the cliff -100 and back to S

Nobody says which way is right. Q-learning keeps a value for every action in every field, and after
each step moves it towards the reward and the best value of the field it came to. Value iteration,
which is told the rules, says what those values should be.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from dlkit.lab.demos.result import Result
from dlkit.plots.demos import walked_grid
from dlkit.plots.style import Picture

ROWS, COLUMNS = 4, 12
START, GOAL = (3, 0), (3, 11)
ACTIONS = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left
EPISODES = 500
RATE, GREED = 0.5, 0.9  # the learning rate; how often the best known action is taken
FALL = -100

Field = tuple[int, int]


@dataclass(frozen=True, eq=False, repr=False)
class Walked(Result):
    """What was learned on the grid.

    Attributes:
        values: ``[ROWS][COLUMNS]``, the value of the best action in each field.
        actions: ``[ROWS][COLUMNS]``, the place of that action in `ACTIONS`.
        path: The fields from start to goal when the best action is always taken; cut after as
            many steps as there are fields.
        returns: The sum of the rewards of each episode.
        error: The largest difference along the path between a learned value and the exact one.
    """

    values: list[list[float]]
    actions: list[list[int]]
    path: list[Field]
    returns: list[float]
    error: float

    @property
    def reaches_goal(self) -> bool:
        """Whether the path ends at the goal."""
        return self.path[-1] == GOAL

    @property
    def summary(self) -> str:
        """The path, and the returns of the first and the last fifty episodes."""
        first, last = (sum(part) / 50 for part in (self.returns[:50], self.returns[-50:]))
        end = "reaches the goal" if self.reaches_goal else "does not reach the goal"
        return (
            f"the learned path {end} in {len(self.path) - 1} steps; mean return of the first 50 "
            f"episodes {first:.0f}, of the last 50 {last:.0f}"
        )

    def picture(self) -> Picture:
        """Draw values, actions and path on the grid, and the returns over the episodes."""
        cliff = [(r, c) for r in range(ROWS) for c in range(COLUMNS) if is_cliff((r, c))]
        return walked_grid(self.values, self.actions, self.path, cliff, self.returns)


def walk_the_cliff(seed: int = 0, episodes: int = EPISODES) -> Walked:
    """Learn to walk along the cliff by Q-learning.

    Source: Watkins and Dayan (1992), "Q-learning"; the cliff is example 6.6 of Sutton and Barto,
    "Reinforcement Learning: An Introduction".

    Args:
        seed: Of the actions that are tried.
        episodes: Walks from the start to the goal.

    Returns:
        Values, path and returns.

    >>> seen = walk_the_cliff()
    >>> seen.reaches_goal, len(seen.path) - 1
    (True, 13)
    """
    chance = random.Random(seed)
    q = {(r, c): [0.0] * 4 for r in range(ROWS) for c in range(COLUMNS)}
    returns = [_episode(q, chance) for _ in range(episodes)]
    path = _path(q)
    exact = exact_values()
    return Walked(
        values=[[max(q[r, c]) for c in range(COLUMNS)] for r in range(ROWS)],
        actions=[[_best(q[r, c]) for c in range(COLUMNS)] for r in range(ROWS)],
        path=path,
        returns=returns,
        error=max(abs(max(q[field]) - exact[field]) for field in path[:-1]),
    )


def _episode(q: dict[Field, list[float]], chance: random.Random) -> float:
    """Walk once from start to goal and learn on the way; returns the sum of the rewards."""
    field, total = START, 0.0
    while field != GOAL:
        greedy = chance.random() < GREED
        action = _best(q[field]) if greedy else chance.randrange(len(ACTIONS))
        reward, following = step(field, action)
        q[field][action] += RATE * (reward + max(q[following]) - q[field][action])
        field, total = following, total + reward
    return total


def step(field: Field, action: int) -> tuple[float, Field]:
    """Take an action in a field: the reward, and the field that it leads to.

    >>> step(START, 1)
    (-100, (3, 0))
    """
    down, right = ACTIONS[action]
    to = (
        min(max(field[0] + down, 0), ROWS - 1),
        min(max(field[1] + right, 0), COLUMNS - 1),
    )
    return (FALL, START) if is_cliff(to) else (-1, to)


def is_cliff(field: Field) -> bool:
    """Whether a field is one to fall from."""
    return field[0] == START[0] and START[1] < field[1] < GOAL[1]


def exact_values() -> dict[Field, float]:
    """Compute the value of every field from the rules: value iteration (Bellman 1957)."""
    values = {(r, c): 0.0 for r in range(ROWS) for c in range(COLUMNS)}
    while True:
        new = {
            field: 0.0 if field == GOAL else max(_worth(values, field, a) for a in range(4))
            for field in values
        }
        if new == values:
            return values
        values = new


def _worth(values: dict[Field, float], field: Field, action: int) -> float:
    reward, following = step(field, action)
    return reward + values[following]


def _path(q: dict[Field, list[float]]) -> list[Field]:
    path = [START]
    while path[-1] != GOAL and len(path) <= ROWS * COLUMNS:
        path.append(step(path[-1], _best(q[path[-1]]))[1])
    return path


def _best(worths: list[float]) -> int:
    return max(range(len(worths)), key=worths.__getitem__)
