"""The process that learners' code is forked from: ``python -m dlkit.lab.exercises.zygote FD``.

It has imported what answers need and has one thread, so a child is ready in milliseconds, and
nothing that the kernel did reaches it: threads that hold locks, OpenMP, CUDA, patched modules. It
ends when the kernel's end of the socket closes, and takes its children with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import select
import signal
import socket
import sys
from multiprocessing.connection import Connection

MEMORY_BYTES = 1 << 30
HARD_CPU_SECONDS = 120
PR_SET_PDEATHSIG = 1


def main(descriptor: int) -> None:
    """Fork a child for every socket that arrives, until the other end closes."""
    import torch

    from dlkit.lab.exercises import child

    torch.set_num_threads(1)
    gc.freeze()  # what was imported stays shared between all children
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended children are not kept as zombies
    control = socket.socket(fileno=descriptor)
    warm = False
    while True:
        if not warm and not select.select([control], [], [], 0)[0]:
            _warm_up()
            warm = True
        data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            return
        if os.fork() == 0:
            control.close()
            _isolate()
            try:
                child.serve(Connection(descriptors[0]))
            finally:
                os._exit(0)
        os.close(descriptors[0])


def _warm_up() -> None:
    """Import what torch imports at the first step of an optimizer; a child would take seconds."""
    import torch

    weight = torch.zeros(1, requires_grad=True)
    # Not by backward: autograd's threads for a GPU would be missing in every child.
    weight.grad = torch.zeros(1)
    torch.optim.SGD([weight], lr=0.1, momentum=0.9).step()
    gc.freeze()


def _isolate() -> None:
    """Give a child its own group, to be killed as one, and limits that it cannot raise."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with open("/proc/self/statm", encoding="ascii") as statm:
            held = int(statm.read().split()[0]) * resource.getpagesize()
        _limit(resource.RLIMIT_AS, held + MEMORY_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, HARD_CPU_SECONDS)


def _limit(kind: int, value: int) -> None:
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value))


if __name__ == "__main__":
    main(int(sys.argv[1]))
