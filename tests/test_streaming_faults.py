"""What can go wrong around a stream: who leaves, what interrupts, and stamps that are no times."""

import contextlib
import itertools
import math
import signal
import socket
import subprocess
import sys
from collections import deque

import pytest
import torch
from streaming_cases import WAIT, Gated, nothing_is_left_behind  # noqa: F401

import dlkit
from dlkit.streaming import (
    ClockOffset,
    Pipeline,
    Replay,
    Sender,
    SimulatedClock,
    Stamped,
    StreamError,
    TcpSource,
    Windower,
    align,
    merge,
    window,
)

# ---- who leaves ---------------------------------------------------------------------------------


def leaves_the_loop(pipeline):
    for _ in pipeline:
        break


def raises(pipeline):
    with contextlib.suppress(ZeroDivisionError):
        for batch in pipeline:
            len(batch) / 0


def stops(pipeline):
    pipeline.get(WAIT)
    pipeline.stop()


def lets_go(pipeline):
    pipeline.get(WAIT)


@pytest.mark.parametrize("leave", [leaves_the_loop, raises, stops, lets_go])
def test_a_consumer_that_leaves_closes_the_sockets_and_the_sender_is_told(leave):
    source = TcpSource()
    address = source.address
    with Sender(address, timeout=WAIT) as sender:
        sender.send_all([b"frame"] * 10)
        leave(Pipeline(source, max_batch=4))
        del source
        endless = itertools.repeat(bytes(1 << 16))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            deque(map(sender.send, endless), maxlen=0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=WAIT).close()


def test_a_stream_that_was_abandoned_has_counted_all_and_cannot_be_taken_up_again():
    source = Gated()
    source.lists.put(list(range(10)))
    pipeline = Pipeline(source, max_batch=4)
    leaves_the_loop(pipeline)
    counts = pipeline.counts()
    assert (counts.produced, counts.delivered, counts.dropped) == (10, 4, {"stopped": 6})
    with pytest.raises(StreamError, match="the pipeline was stopped"):
        list(pipeline)


def test_an_interrupt_ends_the_stream_its_threads_and_its_sockets(project):
    program = """
import asyncio, threading
import psutil
from dlkit.streaming import Pipeline, Sender, TcpSource

def stream():
    source = TcpSource()
    sender = Sender(source.address)
    sender.send_all([b"frame"])  # and then it is silent, so that the consumer waits for ever
    return sender, Pipeline(source, lambda frame: frame, workers=2, max_delay=0.0)

def report(kind, pipeline, sender, before):
    sender.close()
    left = [t.name for t in threading.enumerate() if t.name.startswith("dlkit")]
    print(kind, left, psutil.Process().num_fds() - before, pipeline.counts().exact, flush=True)

before = psutil.Process().num_fds()
sender, pipeline = stream()
try:
    for batch in pipeline:
        print("running", flush=True)
except KeyboardInterrupt:
    report("interrupted", pipeline, sender, before)

async def consume():
    async for batch in pipeline:
        print("awaiting", flush=True)

sender, pipeline = stream()
try:
    asyncio.run(consume())
except KeyboardInterrupt:
    report("interrupted on a loop", pipeline, sender, before)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=project,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        for words in ("", " on a loop"):
            assert process.stdout.readline() == ("awaiting\n" if words else "running\n")
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == f"interrupted{words} [] 0 True\n"
    assert process.returncode == 0


# ---- stamps that are no times -------------------------------------------------------------------


@pytest.mark.parametrize("stamp", [math.nan, math.inf])
@pytest.mark.parametrize(
    "reads",
    [
        lambda stamp: Windower(1.0, by="time").offer([Stamped(stamp, 0)]),
        lambda stamp: ClockOffset().seen(stamp, 0.0),
        lambda stamp: Replay([Stamped(stamp, 0)]).due(0.0),
    ],
)
def test_whoever_reads_a_stamp_refuses_one_that_is_no_time(reads, stamp):
    with pytest.raises(ValueError, match=f"gave {stamp}"):
        reads(stamp)


@pytest.mark.parametrize(
    ("stream", "name"),
    [
        (lambda items: align({"camera": items, "radar": [Stamped(0.0, 0)]}, 0.1), "camera"),
        (lambda items: merge({"camera": items}, policy="timestamp"), "camera"),
        (lambda items: window(items, 1.0, by="time"), "window"),
    ],
)
def test_a_stamp_that_is_no_time_ends_a_running_stream_and_says_whose_it_was(stream, name):
    pipeline = Pipeline(stream([Stamped(0.0, 0), Stamped(math.nan, 1)]))
    with pytest.raises(ValueError, match=f"{name}.* gave nan"):
        list(pipeline)
    assert pipeline.counts().exact


def test_a_stored_dataset_is_played_back_with_time_stamps_of_its_own():
    dataset = dlkit.TensorDataset(torch.arange(4))
    clock = SimulatedClock()
    replay = Replay(dataset, stamps=[7.0, 7.5, 7.5, 9.0], clock=clock)
    seen = []
    for _ in range(9):
        seen.append([int(item[0]) for item in replay.due(clock.now())])
        clock.advance(0.25)
    assert seen == [[0], [], [1, 2], [], [], [], [], [], [3]]
