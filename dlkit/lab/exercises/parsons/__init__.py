"""Parsons problems: put the lines of a short program into order, and leave out the wrong one.

Each is one file beside this one, ``reorder_buffer.en.toml``: the lines in a right order, one
distractor with the reason why it is wrong, and code that checks a program. The check runs in a
child with limits, so every order that works is right, not only the one in the file.

>>> names()[0], len(find("accumulate_gradients").lines)
('accumulate_gradients', 6)
"""

from dlkit.lab.exercises.parsons.problem import Arrangement, Parsons, check, find, names
from dlkit.lab.exercises.parsons.widget import ParsonsProblem

__all__ = ["Arrangement", "Parsons", "ParsonsProblem", "check", "find", "names"]
