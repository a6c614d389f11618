"""One step of a long short-term memory."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch

from dlkit.lab.exercises.contract import Case, Exercise

Tensor = torch.Tensor
State = tuple[Tensor, Tensor]


def lstm_cell(
    x: torch.Tensor, h: torch.Tensor, c: torch.Tensor, w_x: torch.Tensor, w_h: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    i, f, g, o = (x @ w_x.T + h @ w_h.T).chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _gate_by_gate(x: Tensor, h: Tensor, c: Tensor, w_x: Tensor, w_h: Tensor) -> Any:
    n = h.shape[1]

    def gate(k: int) -> Tensor:
        part = slice(k * n, (k + 1) * n)
        return x @ w_x[part].T + h @ w_h[part].T

    forget, write = gate(1).sigmoid(), gate(0).sigmoid()
    c = forget * c + write * gate(2).tanh()
    return gate(3).sigmoid() * c.tanh(), c


def _with_einsum(x: Tensor, h: Tensor, c: Tensor, w_x: Tensor, w_h: Tensor) -> Any:
    both = torch.cat([x, h], 1)
    weights = torch.cat([w_x, w_h], 1).unflatten(0, (4, -1))
    i, f, g, o = torch.einsum("bi,khi->kbh", both, weights)
    c = torch.addcmul(f.sigmoid() * c, i.sigmoid(), g.tanh())
    return [o.sigmoid() * c.tanh(), c]


def _gates(x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor) -> tuple[Tensor, ...]:
    return (x @ w_x.T + h @ w_h.T).chunk(4, dim=1)


def _swaps_input_and_forget(x: Tensor, h: Tensor, c: Tensor, w_x: Tensor, w_h: Tensor) -> Any:
    f, i, g, o = _gates(x, h, w_x, w_h)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gates_in_another_order(x: Tensor, h: Tensor, c: Tensor, w_x: Tensor, w_h: Tensor) -> Any:
    i, f, o, g = _gates(x, h, w_x, w_h)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _output_without_tanh(x: Tensor, h: Tensor, c: Tensor, w_x: Tensor, w_h: Tensor) -> Any:
    i, f, g, o = _gates(x, h, w_x, w_h)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c, c


def _candidate_through_sigmoid(x: Tensor, h: Tensor, c: Tensor, w_x: Tensor, w_h: Tensor) -> Any:
    i, f, g, o = _gates(x, h, w_x, w_h)
    c = f.sigmoid() * c + i.sigmoid() * g.sigmoid()
    return o.sigmoid() * c.tanh(), c


def _forgets_everything(x: Tensor, h: Tensor, c: Tensor, w_x: Tensor, w_h: Tensor) -> Any:
    i, _, g, o = _gates(x, h, w_x, w_h)
    c = i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _returns_the_cell_first(x: Tensor, h: Tensor, c: Tensor, w_x: Tensor, w_h: Tensor) -> Any:
    return lstm_cell(x, h, c, w_x, w_h)[::-1]


def _data(batch: int, inputs: int, hidden: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((batch, inputs), (batch, hidden), (batch, hidden))
    weights = ((4 * hidden, inputs), (4 * hidden, hidden))
    return [torch.randn(shape, generator=generator) for shape in shapes + weights]


def _drive(answer: Any, batch: int, inputs: int, hidden: int, seed: int) -> Any:
    return answer(*_data(batch, inputs, hidden, seed))


def _oracle(batch: int, inputs: int, hidden: int, seed: int) -> Any:
    x, h, c, w_x, w_h = _data(batch, inputs, hidden, seed)
    cell = torch.nn.LSTMCell(inputs, hidden, bias=False)
    cell.load_state_dict({"weight_ih": w_x, "weight_hh": w_h})
    return [state.detach() for state in cell(x, (h, c))]


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 1, 1, 1, 0
    yield 1, 2, 2, 1
    yield from (
        (rng.randrange(1, 4), rng.randrange(1, 4), rng.randrange(1, 4), s) for s in range(8)
    )


EXERCISE = Exercise(
    level=2,
    reference=lstm_cell,
    alternatives=(_gate_by_gate, _with_einsum),
    mistakes=(
        _swaps_input_and_forget,
        _gates_in_another_order,
        _output_without_tanh,
        _candidate_through_sigmoid,
        _forgets_everything,
        _returns_the_cell_first,
    ),
    cases=_cases,
    drive=_drive,
    oracle=_oracle,
    properties={
        "shapes": lambda case, got: all(part.shape == (case[0], case[2]) for part in got),
        "bounded": lambda case, got: bool((abs(got[0]) <= 1).all()),
    },
)
