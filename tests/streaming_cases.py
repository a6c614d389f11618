"""What tests of running streams share: a source that the test opens, and a look at what is left."""

import gc
import queue
import threading

import psutil
import pytest

from dlkit.streaming import EndOfStream, Source

WAIT = 30.0  # seconds after which a test that hangs fails


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """After any stream, whatever happened to it: no thread of ours and no descriptor."""
    descriptors = psutil.Process().num_fds()
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("dlkit"):
            thread.join(WAIT)
    assert [t.name for t in threading.enumerate() if t.name.startswith("dlkit")] == []
    if psutil.Process().num_fds() > descriptors:
        gc.collect()  # a loader of PyTorch's that failed is freed only so
    assert psutil.Process().num_fds() <= descriptors


class Gated(Source):
    """Hands over lists as the test releases them."""

    def __init__(self):
        self.lists = queue.SimpleQueue()
        self.closed = threading.Event()

    def read(self, most, timeout=None):
        while not self.closed.is_set():
            try:
                found = self.lists.get(timeout=0.02)
            except queue.Empty:
                return []
            if isinstance(found, BaseException):
                raise found
            return found
        raise EndOfStream

    def close(self):
        self.closed.set()
