"""Live streams: answers under a deadline, several sensors, and memory that does not grow.

The order in which it reads well, from machines without a clock to the threads around them:

    clock, checks           what time it is; errors
    buffer, latency         a queue with a policy at its door; percentiles in constant memory
    adaptive, batcher       how large a batch may be, how long it may wait; when it leaves
    flow                    the way of an item through all of it, and exact counters
    merge, nearest, align, offset, window    several streams into one; one into windows
    sources, timed, images, network, asynchronous, several    where items come from
    restart, watch, pool, stats       failing sources, memory, arrays that are lent, statistics
    shared, reading, preprocess, working, engine    the threads, in the order of an item's way
    consumer, pipeline      how batches are taken; what a user holds
    bridge, simulated       a stream as a dataset; a stream on a clock that jumps
"""

from dlkit.streaming.adaptive import Adaptive, Fixed
from dlkit.streaming.align import Aligner, Sample, align
from dlkit.streaming.asynchronous import AsyncSource
from dlkit.streaming.batcher import Batch, Batcher
from dlkit.streaming.bridge import StreamDataset
from dlkit.streaming.buffer import POLICIES, Buffer, Counts
from dlkit.streaming.checks import EndOfStream, StalledError, StreamError, StreamTimeoutError
from dlkit.streaming.clock import Clock, RealClock, SimulatedClock, Steady
from dlkit.streaming.flow import Flow
from dlkit.streaming.images import FilmSource, FolderSource
from dlkit.streaming.latency import Latencies
from dlkit.streaming.merge import Merger, merge
from dlkit.streaming.network import Sender, TcpSource, array_from_bytes, array_to_bytes
from dlkit.streaming.offset import ClockOffset
from dlkit.streaming.pipeline import MicroBatcher, Pipeline
from dlkit.streaming.pool import BufferPool
from dlkit.streaming.restart import Backoff, Restarting, Watchdog
from dlkit.streaming.sources import (
    CallableSource,
    IterableSource,
    QueueSource,
    Source,
    as_source,
)
from dlkit.streaming.stats import Stats
from dlkit.streaming.timed import Camera, Replay, Stamped
from dlkit.streaming.watch import Memory, MemoryGuard, read_memory
from dlkit.streaming.window import Windower, window

__all__ = [
    "POLICIES",
    "Adaptive",
    "Aligner",
    "AsyncSource",
    "Backoff",
    "Batch",
    "Batcher",
    "Buffer",
    "BufferPool",
    "CallableSource",
    "Camera",
    "Clock",
    "ClockOffset",
    "Counts",
    "EndOfStream",
    "FilmSource",
    "Fixed",
    "Flow",
    "FolderSource",
    "IterableSource",
    "Latencies",
    "Memory",
    "MemoryGuard",
    "Merger",
    "MicroBatcher",
    "Pipeline",
    "QueueSource",
    "RealClock",
    "Replay",
    "Restarting",
    "Sample",
    "Sender",
    "SimulatedClock",
    "Source",
    "StalledError",
    "Stamped",
    "Stats",
    "Steady",
    "StreamDataset",
    "StreamError",
    "StreamTimeoutError",
    "TcpSource",
    "Watchdog",
    "Windower",
    "align",
    "array_from_bytes",
    "array_to_bytes",
    "as_source",
    "merge",
    "read_memory",
    "window",
]
