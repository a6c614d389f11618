"""What happened when, in which worker, to which batch.

Every process and thread that handles batches notes spans: a stage's name with its start and end on
one clock. A ring holds the newest of them, so memory is bounded however long a run is.

    recorder --spans--> ring, of each thread or worker process --> Trace --> table, JSON, Chrome

Read `spans` (what is recorded), `recorder` (how a stage is wrapped), `rings` and `chain` (where it
lies), then `trace` (all of them together), and `summary` and `export` for what can be made of them.
"""

from dlkit.trace.recorder import UNTRACED, Recorder, Untraced
from dlkit.trace.spans import EXCHANGE, LOOP, PIN, STAGES, Span, row_name
from dlkit.trace.summary import StageTotal, TraceSummary
from dlkit.trace.trace import Trace

__all__ = [
    "EXCHANGE",
    "LOOP",
    "PIN",
    "STAGES",
    "UNTRACED",
    "Recorder",
    "Span",
    "StageTotal",
    "Trace",
    "TraceSummary",
    "Untraced",
    "row_name",
]
