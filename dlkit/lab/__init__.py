"""What only a notebook needs: widgets, exercises, questions, and the tool that runs notebooks.

    explorer; batching, shuffling, workers, sharding, storage   a picture that controls move
    live_timeline, live_plot; live_system, live                 pictures of what is running
    exercises/, mastery     exercises, bug hunts and Parsons problems that grade themselves
    cards/, interview/      questions whose answers run, and a mock interview made of all
    demos/, clinic          what is shown in the notebooks 16 and 14
    text, build             the two forms of a notebook, and how one is made from the other

A widget holds no algorithm of data loading: it asks ``samplers``, ``collate`` or ``plots`` and
shows the answer.
"""

from dlkit.lab.batching import BatchingExplorer
from dlkit.lab.cards import Deck, Quiz
from dlkit.lab.cards.widget import CardsWidget
from dlkit.lab.exercises import Progress, exercise, hunt
from dlkit.lab.exercises.parsons import ParsonsProblem
from dlkit.lab.explorer import Explorer
from dlkit.lab.interview import Interview
from dlkit.lab.interview.widget import MockInterview
from dlkit.lab.live import LiveDigitsWidget, LiveDrivingWidget
from dlkit.lab.live_timeline import LiveTimeline
from dlkit.lab.mastery import ProgressView
from dlkit.lab.output import stderr_of_children
from dlkit.lab.sharding import ShardingExplorer
from dlkit.lab.shuffling import ShuffleExplorer
from dlkit.lab.storage import StorageExplorer
from dlkit.lab.workers import WorkersExplorer

__all__ = [
    "BatchingExplorer",
    "CardsWidget",
    "Deck",
    "Explorer",
    "Interview",
    "LiveDigitsWidget",
    "LiveDrivingWidget",
    "LiveTimeline",
    "MockInterview",
    "ParsonsProblem",
    "Progress",
    "ProgressView",
    "Quiz",
    "ShardingExplorer",
    "ShuffleExplorer",
    "StorageExplorer",
    "WorkersExplorer",
    "exercise",
    "hunt",
    "stderr_of_children",
]
