"""Exercises that grade themselves: they run an answer and show the smallest input that breaks it.

An exercise is one small module in the folder of its topic, ``batching/index_batches.py`` say, with
its texts in a data file beside it, ``index_batches.en.toml``; another language is another file.

The module holds the reference (a function named like the exercise, or a class), other right
answers, wrong answers that are one plausible bug each, the cases from smallest to larger, and an
``Exercise`` named ``EXERCISE`` that says which is which:

- ``cases`` yields tuples of plain data. ``drive(answer, *case)``, where there is one, calls the
  answer and returns what can be observed as plain data; otherwise ``answer(*case)`` is called.
- ``oracle(*case)`` gives the expected result: PyTorch or brute force. ``properties`` are facts that
  ``(case, got)`` must satisfy; the first that fails is named, each has a text ``[properties]``.
- ``mistakes`` are the wrong answers. Each has a text ``[mistakes]`` under its function's name
  without leading underscores. An answer that fails as a known wrong answer does is told that text.

The answer and ``drive`` run in a child process with limits (``zygote``, ``runner``); ``oracle`` and
``properties`` run here, where the answer cannot reach them (``grading``). What comes back is plain
data (``values``), and right by value: a list, tuple, array or tensor with equal numbers are equal.

>>> exercise("index_batches").name
'index_batches'
"""

from dlkit.lab.exercises.contract import Exercise, Raises, find, names
from dlkit.lab.exercises.grading import Counterexample, Verdict
from dlkit.lab.exercises.hunt import Hunt, hunt
from dlkit.lab.exercises.progress import Progress
from dlkit.lab.exercises.task import Task, exercise

__all__ = [
    "Counterexample",
    "Exercise",
    "Hunt",
    "Progress",
    "Raises",
    "Task",
    "Verdict",
    "exercise",
    "find",
    "hunt",
    "names",
]
