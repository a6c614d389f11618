"""What tests of workers share: ways of working, gates to hold workers at, what is left over."""

import gc
import os
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path

import psutil

# How a loader may work, as its arguments; `inline` is the one without workers.
WAYS = {
    "inline": {},
    "thread": {"num_workers": 2, "worker_method": "thread"},
    "fork": {"num_workers": 2, "multiprocessing_context": "fork"},
    "forkserver": {"num_workers": 2, "multiprocessing_context": "forkserver"},
    "spawn": {"num_workers": 2, "multiprocessing_context": "spawn"},
}
PATIENCE = 20.0  # seconds; a limit for what happens at once, also where others use the machine


def eventually(condition, what="the condition"):
    """Wait until a condition holds, and return its value."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(0.005)
    return value


class Gate:
    """Stops workers, threads and forked processes alike, until it is opened for so many of them."""

    def __init__(self):
        self._reading, self._writing = os.pipe()
        self._arrivals, self._arriving = os.pipe()

    def wait(self):
        """In a worker: say that it is here, and wait to be let through."""
        os.write(self._arriving, b"x")
        os.read(self._reading, 1)

    def open(self, times=1):
        """Let so many pass."""
        os.write(self._writing, b"x" * times)

    def await_arrivals(self, times=1):
        """Wait until so many have come to the gate."""
        for _ in range(times):
            os.read(self._arrivals, 1)

    def close(self):
        for descriptor in (self._reading, self._writing, self._arrivals, self._arriving):
            with suppress(OSError):
                os.close(descriptor)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# ---- what is left over --------------------------------------------------------------------------


SERVERS = ("forkserver", "resource_tracker", "dlkit.lab.exercises.zygote")


def children():
    """The processes below this one, without the servers that are there to stay."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            command = " ".join(process.cmdline())
            if not any(server in command for server in SERVERS):
                found[process.pid] = process.status()
    return found


def descriptors():
    """What the open descriptors of this process refer to, each with how often."""
    found = Counter()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found[os.readlink(f"/proc/self/fd/{name}")] += 1
    return found


def slots_mapped():
    """How many slots are in this process's address space."""
    return Path("/proc/self/maps").read_text().count("memfd:dlkit")


def held_by_this_process():
    """Everything that workers could leave behind, by kind."""
    return {
        "processes": set(children()),
        "threads": set(threading.enumerate()),
        "descriptors": descriptors(),
        "slots": slots_mapped(),
        "segments": set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set(),
    }


def more_than(before):
    """What there is now and was not there before, by kind; empty if there is nothing."""
    more = {}
    for kind, now in held_by_this_process().items():
        extra = now - before[kind]
        if kind == "slots":
            extra = max(extra, 0)
        if kind == "segments":  # other processes of the machine come and go
            extra = {name for name in extra if "dlkit" in name or f"torch_{os.getpid()}" in name}
        if extra:
            more[kind] = extra
    return more


@contextmanager
def nothing_left():
    """Check that what is done inside leaves nothing: asks once at once, then for a while."""
    resource_tracker.ensure_running()  # the first process that is spawned starts it, and it stays
    gc.collect()
    before = held_by_this_process()
    yield
    gc.collect()
    deadline = time.monotonic() + PATIENCE
    while more := more_than(before):
        assert time.monotonic() < deadline, f"left behind: {more}"
        time.sleep(0.02)


def runs(pid):
    """Whether a process is there and not a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
