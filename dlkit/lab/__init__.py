"""What only a notebook needs: widgets over the package's own functions, and the notebook tool.

Nothing here holds an algorithm: a widget asks ``samplers``, ``collate`` or ``plots`` and shows
the answer.
"""

from dlkit.lab.batching import BatchingExplorer
from dlkit.lab.exercises import Progress, exercise
from dlkit.lab.exercises.parsons import ParsonsProblem
from dlkit.lab.explorer import Explorer
from dlkit.lab.mastery import ProgressView
from dlkit.lab.output import stderr_of_children
from dlkit.lab.shuffling import ShuffleExplorer
from dlkit.lab.workers import WorkersExplorer

__all__ = [
    "BatchingExplorer",
    "Explorer",
    "ParsonsProblem",
    "Progress",
    "ProgressView",
    "ShuffleExplorer",
    "WorkersExplorer",
    "exercise",
    "stderr_of_children",
]
