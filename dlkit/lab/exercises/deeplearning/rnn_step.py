"""One step of a recurrent network."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch

from dlkit.lab.exercises.contract import Case, Exercise

Tensor = torch.Tensor


def rnn_step(
    x: torch.Tensor, h: torch.Tensor, w_x: torch.Tensor, w_h: torch.Tensor, b: torch.Tensor
) -> torch.Tensor:
    return torch.tanh(x @ w_x.T + h @ w_h.T + b)


def _joined(x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor) -> Any:
    return torch.addmm(b, torch.cat([x, h], 1), torch.cat([w_x, w_h], 1).T).tanh()


def _row_by_row(x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor) -> Any:
    return [(w_x @ row + w_h @ old + b).tanh() for row, old in zip(x, h, strict=True)]


def _forgets_tanh(x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor) -> Any:
    return x @ w_x.T + h @ w_h.T + b


def _forgets_the_past(x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor) -> Any:
    return torch.tanh(x @ w_x.T + b)


def _does_not_transpose(x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor) -> Any:
    return torch.tanh(x @ w_x.T + h @ w_h + b)


def _uses_a_sigmoid(x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor) -> Any:
    return torch.sigmoid(x @ w_x.T + h @ w_h.T + b)


def _squashes_the_input_only(x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor) -> Any:
    return torch.tanh(x @ w_x.T + b) + h @ w_h.T


def _data(batch: int, inputs: int, hidden: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((batch, inputs), (batch, hidden), (hidden, inputs), (hidden, hidden), (hidden,))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def _drive(answer: Any, batch: int, inputs: int, hidden: int, seed: int) -> Any:
    return answer(*_data(batch, inputs, hidden, seed))


def _oracle(batch: int, inputs: int, hidden: int, seed: int) -> Any:
    x, h, w_x, w_h, b = _data(batch, inputs, hidden, seed)
    cell = torch.nn.RNNCell(inputs, hidden)
    weights = {"weight_ih": w_x, "weight_hh": w_h, "bias_ih": b, "bias_hh": torch.zeros_like(b)}
    cell.load_state_dict(weights)
    return cell(x, h).detach()


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 1, 1, 1, 0
    yield 1, 1, 2, 0
    yield 1, 2, 2, 1
    yield from (
        (rng.randrange(1, 4), rng.randrange(1, 4), rng.randrange(1, 4), s) for s in range(10)
    )


EXERCISE = Exercise(
    level=1,
    reference=rnn_step,
    alternatives=(_joined, _row_by_row),
    mistakes=(
        _forgets_tanh,
        _forgets_the_past,
        _does_not_transpose,
        _uses_a_sigmoid,
        _squashes_the_input_only,
    ),
    cases=_cases,
    drive=_drive,
    oracle=_oracle,
    properties={
        "shape": lambda case, got: [len(got), len(got[0])] == [case[0], case[2]],
        "bounded": lambda case, got: all(abs(value) <= 1 for row in got for value in row),
    },
    picture="target",
)
