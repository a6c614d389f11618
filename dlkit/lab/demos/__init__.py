"""Eight demonstrations, one for each general question of deep learning, a few seconds each.

Each is a plain function that trains or computes something small from a seed and returns a
`Result`: numbers as attributes, ``summary`` in a sentence, ``picture()`` as a figure.

    separate_spirals    what deep learning is    a net against a line
    shift_digits        CNNs                     filters, maps, and shifted digits
    gradients_by_hand   back-propagation         by hand, by autograd, by differences
    remember_a_bit      RNNs                     a plain net and an LSTM over a distance
    forge_points        GANs                     a generator and what the discriminator sees
    walk_the_cliff      reinforcement learning   Q-learning on a grid
    reuse_features      transfer learning        digits 0 to 4, then 5 to 9 from few labels
    teach_a_student     distillation             a teacher's probabilities against labels

>>> from dlkit.lab import demos
>>> seen = demos.demo("gradients_by_hand")()
>>> seen.autograd_error < 1e-12
True
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from dlkit.lab.demos.adversarial import forge_points
from dlkit.lab.demos.back_propagation import gradients_by_hand
from dlkit.lab.demos.convolution import shift_digits
from dlkit.lab.demos.deep_learning import separate_spirals
from dlkit.lab.demos.distillation import teach_a_student
from dlkit.lab.demos.recurrence import remember_a_bit
from dlkit.lab.demos.reinforcement import walk_the_cliff
from dlkit.lab.demos.result import Result
from dlkit.lab.demos.transfer import reuse_features

__all__ = [
    "DEMOS",
    "Result",
    "demo",
    "forge_points",
    "gradients_by_hand",
    "remember_a_bit",
    "reuse_features",
    "separate_spirals",
    "shift_digits",
    "teach_a_student",
    "walk_the_cliff",
]

DEMOS: MappingProxyType[str, Callable[[], Result]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            separate_spirals,
            shift_digits,
            gradients_by_hand,
            remember_a_bit,
            forge_points,
            walk_the_cliff,
            reuse_features,
            teach_a_student,
        )
    }
)


def demo(name: str) -> Callable[[], Result]:
    """Return a demonstration by its name.

    Raises:
        ValueError: If there is none.

    >>> demo("walk_the_cliff")().summary[:35]
    'the learned path reaches the goal i'
    """
    if name not in DEMOS:
        raise ValueError(f"name must be one of {', '.join(DEMOS)}, but got {name!r}")
    return DEMOS[name]
