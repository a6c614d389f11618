"""A mock interview: questions by level, subject and past weakness, against a visible clock.

    draw ──> ask ──> answer, run, time ──> follow-up on what failed ──> ... ──> report

An ``Interview`` is a plain object with an injected clock; ``MockInterview`` shows one in a
notebook. Its ``Record`` is written whole to the learner's data folder after every event, so that a
restarted kernel goes on where the last one stopped. ``draw`` looks at the learner's progress and
prefers what went wrong before.

>>> sorted(subjects())[:3]
['batching', 'deep-learning', 'distributed']
"""

from dlkit.lab.interview.interview import Interview
from dlkit.lab.interview.judging import Feedback
from dlkit.lab.interview.past import Past, history
from dlkit.lab.interview.questions import Question, draw, subjects, weakness
from dlkit.lab.interview.record import Answer, Record

__all__ = [
    "Answer",
    "Feedback",
    "Interview",
    "Past",
    "Question",
    "Record",
    "draw",
    "history",
    "subjects",
    "weakness",
]
