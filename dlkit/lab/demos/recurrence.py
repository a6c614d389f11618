"""Recurrent networks: remember one bit over a distance, and why a plain net forgets it.

    input: +1 or -1, then 0, 0, ..., 0     wanted at the end: was it +1?

The state carries the bit from step to step. In a plain net every step multiplies its gradient by
the same matrix and a slope below one: after sixty steps nothing of it is left to learn from. An
LSTM's state passes each step through a gate that can stand open.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlkit.lab.demos.fitting import repeatable
from dlkit.lab.demos.result import Result
from dlkit.plots.demos import memory_over_distance
from dlkit.plots.style import Picture

DISTANCES = (5, 20, 60)
HIDDEN = 8
STEPS = 80
BATCH = 32
OPEN = 5.0  # sigmoid(5) is 0.993: what a gate that starts open keeps of the state at each step


@dataclass(frozen=True, eq=False, repr=False)
class Remembered(Result):
    """How far three recurrent nets remember a bit.

    Attributes:
        distances: Steps between the bit and the question.
        accuracy: Of each net at each distance, after training at that distance.
        gradients: Of each net before training, the gradient's norm of the answer by the input
            at each step of the longest sequence, divided by that at the last step.
    """

    distances: tuple[int, ...]
    accuracy: dict[str, list[float]]
    gradients: dict[str, list[float]]

    @property
    def summary(self) -> str:
        """The accuracies at the longest distance."""
        parts = ", ".join(f"{name} {values[-1]:.0%}" for name, values in self.accuracy.items())
        return f"share of bits remembered over {self.distances[-1]} steps: {parts}"

    def picture(self) -> Picture:
        """Draw accuracy over distance, and gradients over steps."""
        return memory_over_distance(self.distances, self.accuracy, self.gradients)


class Reader(nn.Module):
    """Reads a sequence and says at its end which bit came first.

    Args:
        cell: "plain", "LSTM" or "LSTM, gate open".

    >>> Reader("plain")(torch.zeros(2, 5, 1)).shape
    torch.Size([2])
    """

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.body = (nn.RNN if cell == "plain" else nn.LSTM)(1, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 1)
        if cell == "LSTM, gate open":
            with torch.no_grad():
                # Other biases would add to a state that forgets nothing, step after step.
                biases = [self.body.get_parameter(name) for name in ("bias_ih_l0", "bias_hh_l0")]
                for bias in biases:
                    bias.zero_()
                # PyTorch's order of the gates: input, forget, cell, output.
                biases[0][HIDDEN : 2 * HIDDEN] = OPEN

    def forward(self, sequences: Tensor) -> Tensor:
        """Map sequences ``[n, steps, 1]`` to logits ``[n]``."""
        states, _ = self.body(sequences)
        logits: Tensor = self.head(states[:, -1])[:, 0]
        return logits


CELLS = ("plain", "LSTM", "LSTM, gate open")


def remember_a_bit(seed: int = 0) -> Remembered:
    """Train three recurrent nets to remember one bit over several distances.

    Source: Bengio, Simard and Frasconi (1994), "Learning long-term dependencies with gradient
    descent is difficult"; Hochreiter and Schmidhuber (1997), "Long short-term memory"; Gers,
    Schmidhuber and Cummins (2000), "Learning to forget", for the forget gate.

    Args:
        seed: Of weights and sequences.

    Returns:
        Accuracy by distance, and gradients by step.
    """
    with repeatable(seed):
        gradients = {cell: _gradients(Reader(cell), DISTANCES[-1]) for cell in CELLS}
        accuracy = {cell: [_learn(cell, steps) for steps in DISTANCES] for cell in CELLS}
    return Remembered(DISTANCES, accuracy, gradients)


def bits(n: int, steps: int) -> tuple[Tensor, Tensor]:
    """Draw sequences ``[n, steps + 1, 1]`` that begin with a bit, and the bits ``[n]``."""
    wanted = torch.randint(0, 2, (n,))
    sequences = F.pad(2.0 * wanted[:, None] - 1, (0, steps))
    return sequences[:, :, None], wanted.float()


def _learn(cell: str, steps: int) -> float:
    reader = Reader(cell)
    optimizer = torch.optim.Adam(reader.parameters(), lr=0.01)
    for _ in range(STEPS):
        sequences, wanted = bits(BATCH, steps)
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(reader(sequences), wanted).backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        sequences, wanted = bits(1000, steps)
        right: Tensor = (reader(sequences) > 0) == wanted.bool()
        return right.double().mean().item()


def _gradients(reader: Reader, steps: int) -> list[float]:
    sequences = bits(BATCH, steps)[0].requires_grad_()
    (gradient,) = torch.autograd.grad(reader(sequences).sum(), [sequences])
    norms = gradient[:, :, 0].norm(dim=0)
    relative: list[float] = (norms / norms[-1]).tolist()
    return relative
