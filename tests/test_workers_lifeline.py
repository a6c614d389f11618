"""A process ends with the one that holds the other end of its lifeline."""

import signal
import sys
import threading
from multiprocessing import get_context

import pytest

from dlkit.workers.lifeline import die_with, end_watcher, socket_pair

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGIO, and no fork")


def wait_for_ever(lifeline):
    die_with(lifeline)
    lifeline.send(b"!")
    threading.Event().wait()


@pytest.mark.parametrize("early", [True, False])
def test_a_process_ends_when_its_lifeline_is_let_go_also_before_it_began(early):
    ours, theirs = socket_pair()
    process = get_context("fork").Process(target=wait_for_ever, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    if not early:
        assert ours.recv(1) == b"!"  # it waits by now
    ours.close()
    process.join(60)
    assert process.exitcode == -signal.SIGIO


def test_the_end_of_a_connection_is_seen_though_messages_are_left():
    ours, theirs = socket_pair()
    ended = end_watcher(theirs)
    ours.send(b"left")
    assert not ended()
    ours.close()
    assert ended()
    assert theirs.recv(4) == b"left"
    theirs.close()
